"""What is measured. Each function makes one run of one contender and returns named figures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import servers
from .contenders import ROOT
from .processes import cpu_seconds, pss_mb, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .contenders import Contender

PATIENCE = 180.0
#: Seconds that a task of `naps` sleeps.
NAP = 0.05


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A fresh folder for one run."""
    base = ROOT / ".cache" / "bench"
    base.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def produce(
    contender: Contender,
    folder: Path,
    count: int,
    countdown: float | None = None,
    *,
    many: bool = False,
    nap: bool = False,
    threads: bool = False,
) -> dict[str, float]:
    """Send `count` no-op tasks between two marks.

    Args:
        many: with one call where there is one.
        nap: they sleep.
        threads: from twenty threads.
    """
    command = [contender.python, ROOT / "benchmarks" / "produce.py", contender.app, str(count), str(folder)]
    if countdown is not None:
        command.append(str(countdown))
    if many or nap or threads:
        command.append("many" if many else "nap" if nap else "threads")
    return _figures_of(command, contender, folder)


def _figures_of(command: list[Any], contender: Contender, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=contender.environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    # A worker in that process may say something too.
    figures = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(figures[-1]) if figures else {}


@contextlib.contextmanager
def worker(
    contender: Contender, folder: Path, processes: int = 2, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The contender's worker, ended by TERM and if need be by KILL."""
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            contender.worker_command(processes, *options),
            cwd=folder,
            env=contender.environment(folder),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            family = tree(process.pid)
            process.send_signal(signal.SIGINT if "huey" in contender.name else signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pid in family[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def await_file(path: Path, process: subprocess.Popen[bytes]) -> float:
    """Wait for a mark; return the time written in it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(
                f"worker ended with {process.returncode}: {(path.parent / 'worker.log').read_text()}"
            )
        with contextlib.suppress(OSError, ValueError):
            return float(path.read_text())
        time.sleep(0.002)
    raise TimeoutError(path)


def enqueue_and_drain(
    contender: Contender, count: int, *options: str, processes: int = 2, many: bool = False
) -> dict[str, float]:
    """Rows 1-5 and 10: `delay()` one by one (or one bulk call), then a worker empties the queue."""
    count = int(count * contender.scale)
    servers.clear(contender.server)
    with home() as folder:
        broker_before = servers.cpu(contender.server)
        sent = produce(contender, folder, count, many=many)
        broker_between = servers.cpu(contender.server)
        with worker(contender, folder, processes, *options) as process:
            first = await_file(folder / "first", process)
            core_before, children_before = _cpu(process.pid)
            last = await_file(folder / "last", process)
            core_after, children_after = _cpu(process.pid)
        broker_after = servers.cpu(contender.server)
    figures = {
        "enqueue/s": count / sent["seconds"],
        "enqueue us": sent["cpu"] / count * 1e6,
        "drain/s": count / (last - first),
        "core us": (core_after - core_before) / count * 1e6,
        "children us": (children_after - children_before) / count * 1e6,
    }
    if contender.server:
        figures["broker us, in"] = (broker_between - broker_before) / count * 1e6
        figures["broker us, out"] = (broker_after - broker_between) / count * 1e6
    return figures


def _cpu(pid: int) -> tuple[float, float]:
    family = tree(pid)
    return cpu_seconds(pid), sum(cpu_seconds(child) for child in family[1:])


def start(contender: Contender) -> dict[str, float]:
    """Row 16: from `exec` to the first task run, and memory after it."""
    with home() as folder:
        produce(contender, folder, 0)
        began = time.time()
        with worker(contender, folder) as process:
            first = await_file(folder / "first", process)
            await_file(folder / "last", process)
            family = tree(process.pid)
            return {
                "ready s": first - began,
                "core MB": pss_mb(process.pid),
                "child MB": sum(pss_mb(child) for child in family[1:]) / max(1, len(family) - 1),
                "all MB": sum(pss_mb(member) for member in family),
            }


def import_time(contender: Contender) -> dict[str, float]:
    """Row 17: `import celery` and `Celery()`, in a fresh process; the interpreter's own start taken off."""

    def seconds(code: str) -> float:
        with home() as folder:
            began = time.perf_counter()
            subprocess.run(
                [contender.python, "-c", code], env=contender.environment(folder), cwd=folder, check=True
            )
            return time.perf_counter() - began

    bare = min(seconds("pass") for _ in range(3))
    return {"import s": min(seconds("import celery; celery.Celery()") for _ in range(3)) - bare}


def delayed(contender: Contender, count: int) -> dict[str, float]:
    """Row 15: what `count` tasks due in an hour cost in the worker's memory."""
    with home() as folder:
        with worker(contender, folder) as process:
            produce(contender, folder, 0)
            await_file(folder / "last", process)
            before = sum(pss_mb(member) for member in tree(process.pid))
            produce(contender, folder, count, countdown=3600)
            (folder / "last").unlink()
            produce(contender, folder, 0)
            await_file(folder / "last", process)
            time.sleep(2)
            after = sum(pss_mb(member) for member in tree(process.pid))
        return {"KB per delayed task": max(0.0, after - before) * 1024 / count}


def bulk(contender: Contender, count: int) -> dict[str, float]:
    """Row 6: send `count` tasks with one call, where there is one."""
    count = int(count * contender.scale)
    servers.clear(contender.server)
    with home() as folder:
        sent = produce(contender, folder, count, many=True)
    return {"enqueue/s": count / sent["seconds"], "enqueue us": sent["cpu"] / count * 1e6}


def from_threads(contender: Contender, count: int) -> dict[str, float]:
    """Row 7: twenty threads of one process call `delay()`, each of them awaiting its confirms."""
    count = int(count * contender.scale)
    servers.clear(contender.server)
    with home() as folder:
        sent = produce(contender, folder, count, threads=True)
    return {"enqueue/s": count / sent["seconds"], "enqueue us": sent["cpu"] / count * 1e6}


def beside_bare(contender: Contender, count: int) -> dict[str, float]:
    """Rows 4 and 7: what is left of what the broker gives a client that does nothing else."""
    if contender.app:
        figures = enqueue_and_drain(contender, count)
        return {name: figures[name] for name in ("enqueue/s", "enqueue us", "drain/s")}
    servers.clear(contender.server)
    with home() as folder:
        command = [contender.python, "-m", "benchmarks.bare", servers.url(contender.server), str(count)]
        return _figures_of(command, contender, folder)


def memory(contender: Contender, count: int, failures: int, reconnects: int) -> dict[str, float]:
    """Row 20: what a worker's memory grows by: per task, per failing task, per lost connection to Redis."""
    servers.clear(contender.server)
    failing = replace(contender, env=contender.env | {"BENCH_TASK": "bench.fail"})
    with home() as folder, worker(contender, folder, 2, "-l", "CRITICAL") as process:

        def after(sender: Contender, number: int) -> float:
            produce(sender, folder, number, many=True)
            await_file(folder / "last", process)
            (folder / "last").unlink()
            servers.clear(contender.server)
            time.sleep(1)
            return sum(pss_mb(member) for member in tree(process.pid))

        after(failing, failures // 10)
        marks = [after(contender, count // 10), after(contender, count), after(failing, failures)]
        for _ in range(reconnects):
            servers.server("redis").cli("CLIENT", "KILL", "TYPE", "normal")
            produce(contender, folder, 0)
            await_file(folder / "last", process)
            (folder / "last").unlink()
        marks.append(after(contender, 1))
    steps = [(later - earlier) * 1048576 for earlier, later in pairwise(marks)]
    return {
        "bytes/task": steps[0] / count,
        "bytes/failure": steps[1] / failures,
        "bytes/reconnect": steps[2] / reconnects,
    }


def drain(contender: Contender, count: int, pool: str, size: int) -> dict[str, float]:
    """Empty the queue with a pool that runs tasks in the worker's own process."""
    with home() as folder:
        produce(contender, folder, count, many=True)
        with worker(contender, folder, size, "-P", pool) as process:
            first = await_file(folder / "first", process)
            before = _cpu(process.pid)
            last = await_file(folder / "last", process)
            after = _cpu(process.pid)
    return {"drain/s": count / (last - first), "worker us": (sum(after) - sum(before)) / count * 1e6}


def inside(contender: Contender, count: int, task: str) -> dict[str, float]:
    """What core and children cost a task with no store between: `memory://` in the worker's own process."""
    with home() as folder:
        env = {} if task == "bench.late_result" else {"BENCH_RESULTS": "disabled"}
        asked = replace(contender, env=contender.env | {"BENCH_RESULTS": "cache+memory://"} | env)
        command = [contender.python, ROOT / "benchmarks" / "inside.py", task, str(count), str(folder)]
        return _figures_of(command, asked, folder)


def round_trip(contender: Contender, count: int) -> dict[str, float]:
    """Rows 8 and 9: `delay().get()` with an idle worker; what the broker gives programs that do nothing else."""
    servers.clear(contender.server)
    if not contender.app:
        with home() as folder:
            command = [
                contender.python,
                "-m",
                "benchmarks.bare_talk",
                servers.url(contender.server),
                str(count),
            ]
            return _figures_of(command, contender, folder)
    with home() as folder, worker(contender, folder):
        command = [contender.python, ROOT / "benchmarks" / "talk.py", contender.app, str(count)]
        return _figures_of(command, contender, folder)


def workflow(contender: Contender, shape: str, size: int, *, wait: bool = True) -> dict[str, float]:
    """Rows 12 to 14: what sending a workflow takes, and if `wait` the seconds until its result is there."""
    servers.clear(contender.server)
    words = [contender.app, shape, str(size), *(["wait"] if wait else [])]
    command = [contender.python, ROOT / "benchmarks" / "workflows.py", *words]
    with home() as folder:
        if wait:
            with worker(contender, folder):
                return _figures_of(command, contender, folder)
        before = servers.bytes_read("redis")
        figures = _figures_of(command, contender, folder)
        return {**figures, "MB": (servers.bytes_read("redis") - before) / 1e6}


#: Seconds until a worker has come to rest: a new one looks more often for what others left.
_RESTLESS = 12.0


def idle(contender: Contender, seconds: float = 60.0) -> dict[str, float]:
    """Row 18: CPU of a worker that has had nothing to do for a while, and what it asks of Redis."""
    servers.clear(contender.server)
    with home() as folder:
        produce(contender, folder, 0)
        with worker(contender, folder) as process:
            await_file(folder / "last", process)
            time.sleep(_RESTLESS)
            if contender.server != "redis":
                return {"CPU s/minute": _cpu_meanwhile(process.pid, seconds)}
            with servers.asked("redis") as commands:
                spent = _cpu_meanwhile(process.pid, seconds)
            return {"CPU s/minute": spent, "commands/s": len(commands) / seconds}


def _cpu_meanwhile(pid: int, seconds: float) -> float:
    """CPU seconds a minute."""
    before = sum(_cpu(pid))
    time.sleep(seconds)
    return (sum(_cpu(pid)) - before) * 60 / seconds


def naps(contender: Contender, count: int, *options: str, slots: int) -> dict[str, float]:
    """Row 11: seconds for `count` tasks that sleep 50 ms; the last of them may still sleep when the mark is made."""
    servers.clear(contender.server)
    with home() as folder, worker(contender, folder, slots, *options) as process:
        produce(contender, folder, 0)
        await_file(folder / "last", process)
        (folder / "first").unlink()
        (folder / "last").unlink()
        produce(contender, folder, count, nap=True)
        first = await_file(folder / "first", process)
        last = await_file(folder / "last", process)
    return {"seconds": last - first + NAP, "x ideal": (last - first + NAP) / (count * NAP / slots)}


def deep(contender: Contender, depth: int, count: int = 10_000) -> dict[str, float]:
    """Row 19: speed with `depth` messages waiting, as a ratio to an empty queue."""
    servers.clear(contender.server)
    with home() as folder:
        empty = produce(contender, folder, count)["seconds"]
        produce(contender, folder, depth, many=True)
        full = produce(contender, folder, count)["seconds"]
        with worker(contender, folder) as process:
            first = await_file(folder / "first", process)
            for _ in range(3):  # each of the three that sent has left a mark at its end
                last = await_file(folder / "last", process)
                (folder / "last").unlink()
    servers.clear(contender.server)
    with home() as folder:
        produce(contender, folder, count)
        with worker(contender, folder) as process:
            begun = await_file(folder / "first", process)
            shallow = count / (await_file(folder / "last", process) - begun)
    return {
        "enqueue, full/empty": empty / full,
        "drain, full/empty": (depth + 2 * count) / (last - first) / shallow,
    }
