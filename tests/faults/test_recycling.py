"""Promise 16: children are replaced after a number of tasks, or when they have grown; nothing is lost."""

from __future__ import annotations

import pytest

from tests.faults.ledger import TASKS, Ledger, send


@pytest.fixture
def ledger(project):
    project.write("tasks.py", TASKS)
    return Ledger(project)


@pytest.mark.parametrize("name", ["early", "late"])
@pytest.mark.parametrize("repeat", range(3))
def test_one_task_a_child(project, ledger, name, repeat):
    with project.worker("--max-tasks-per-child", "1"):
        ids = send(project, f"print(*[{name}.delay().id for _ in range(60)])")
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}
    pids = [line[2] for line in ledger.lines() if line[0] == "begin"]
    assert len(set(pids)) == 60


def test_a_number_of_tasks_a_child(project, ledger):
    with project.worker("--max-tasks-per-child", "20", "-c", "2"):
        ids = send(project, "print(*[early.delay().id for _ in range(400)])")
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}
    pids = [line[2] for line in ledger.lines() if line[0] == "begin"]
    assert max(pids.count(pid) for pid in set(pids)) <= 20


def test_a_child_that_has_grown_is_replaced(project, ledger):
    with project.worker("--max-memory-per-child", "120000", "-c", "1"):
        ids = send(
            project,
            "print(*[hungry.delay(200).id for _ in range(6)], *[early.delay().id for _ in range(20)])",
        )
        ledger.wait_for(ids)
    assert set(ledger.begun.values()) == {1}
    grown = {line[2] for line in ledger.lines() if line[1] in ids[:6]}
    assert len(grown) > 1
