"""Memory stays flat: after a warm-up, neither core nor children grow with the tasks they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import wait_until

TASKS = """
    from celery import Celery

    app = Celery("tasks")
    app.conf.result_expires = 60

    @app.task
    def stored(number):
        return number

    @app.task(ignore_result=True)
    def plain(number):
        pass

    @app.task(ignore_result=True, acks_late=True)
    def late(number):
        pass

    @app.task
    def failing(number):
        raise ValueError(number)

    @app.task(ignore_result=True)
    def mark(path):
        open(path, "w").close()
"""
#: KB that a process may grow by over a round: allocators round up, caches fill.
SLACK = 3000


def family(pid: int) -> list[int]:
    """The worker's core, its spawner and its children."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def resident(pid: int) -> int:
    """KB that are this process's own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1])
    raise AssertionError(pid)


def run_round(project, name: str, count: int, mark: Path) -> None:
    """Run `count` tasks to the last."""
    project.python(f"""
        from tasks import {name}, mark, app
        app.send_many({name}, ([number] for number in range({count})))
        mark.delay({str(mark)!r})
    """)
    wait_until(mark.exists, timeout=600)
    mark.unlink()


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "count"), [("plain", 50_000), ("late", 50_000), ("stored", 50_000), ("failing", 20_000)]
)
def test_memory_does_not_grow_with_the_tasks_run(project, name, count, tmp_path):
    project.write("tasks.py", TASKS)
    mark = tmp_path / "mark"
    with project.worker("-l", "CRITICAL", "-c", "2", ready=False) as worker:
        run_round(project, name, count // 2, mark)  # warm-up
        members = family(worker.pid)
        figures = [[resident(member) for member in members]]
        for _ in range(2):
            run_round(project, name, count, mark)
            figures.append([resident(member) for member in members])
        assert family(worker.pid) == members
    print(f"{name}, KB after {count // 2}, {count}, {count} more: {figures}")
    grown = [last - first for first, last in zip(figures[1], figures[2], strict=True)]
    assert max(grown) < SLACK, f"KB of core, spawner, children after each round: {figures}"
