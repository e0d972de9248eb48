"""Run the benchmarks: ours and the peers, interleaved, in one run on this machine.

    python -m benchmarks [--rounds N] [--tasks N] [--only NAME ...]

Every figure is the median over the rounds, with its spread; `x` columns are medians of the ratios of
ours to that peer, round by round. On a shared machine trust the ratios and the CPU figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from . import report, scenarios
from .contenders import (
    BARE_RABBIT,
    CELERY_FILES,
    CELERY_INSIDE,
    CELERY_RABBIT,
    CELERY_REDIS,
    CELERY_REDIS_STORED,
    CELERY_RPC,
    CELERY_SQL,
    CELERY_TELLING,
    DRAMATIQ_REDIS,
    EVERYBODY,
    HUEY,
    HUEY_ECHO,
    HUEY_REDIS_ECHO,
    ON_RABBIT,
    ON_REDIS,
    OURS,
    OURS_ALONE,
    OURS_INSIDE,
    OURS_RABBIT,
    OURS_REDIS,
    OURS_REDIS_STORED,
    OURS_RPC,
    OURS_TELLING,
    OURS_TELLING_INSIDE,
    ROOT,
    SAQ_REDIS,
    TASKIQ_REDIS,
    prepare_peers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .contenders import Contender
    from .report import Figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--only", nargs="*", help="scenarios by the beginning of their name")
    options = parser.parse_args()
    prepare_peers()
    plan = scenario_plan(options.tasks)
    target = ROOT / ".cache" / "bench" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[Figures]]] = {}
    for name, (contenders, scenario) in plan.items():
        if options.only and not any(name.startswith(part) for part in options.only):
            continue
        rounds = measure(name, contenders, scenario, options.rounds)
        if rounds:
            found[name] = rounds
            print(report.text(name, rounds), flush=True)
            target.write_text(json.dumps(found, indent=1))
    print(f"\nall figures: {target.relative_to(ROOT)} (as Markdown: python -m benchmarks.report FILE ...)")


def scenario_plan(tasks: int) -> dict[str, tuple[tuple[Contender, ...], Callable[[Contender], Figures]]]:
    """Every scenario: who takes part, and what is done. The first contender is ours."""
    pair = OURS, CELERY_FILES
    # Celery's and Huey's callers look for a result every half second or less often: a few round trips will do.
    plan: dict[str, tuple[tuple[Contender, ...], Callable[[Contender], Figures]]] = {
        "embedded": (EVERYBODY, lambda c: scenarios.enqueue_and_drain(c, tasks)),
        "bulk": ((*pair, HUEY), lambda c: scenarios.bulk(c, tasks)),
        "roundtrip": (
            (OURS, CELERY_SQL, HUEY_ECHO),
            lambda c: scenarios.round_trip(c, 300 if c is OURS else 20),
        ),
        "start": (pair, scenarios.start),
        "import": (pair, scenarios.import_time),
        "delayed": (pair, lambda c: scenarios.delayed(c, 2000)),
        "idle": (pair, scenarios.idle),
    }
    for pool, size, contenders in (("threads", 10, pair), ("solo", 1, pair), ("asyncio", 100, (OURS,))):
        plan[pool] = (
            contenders,
            lambda c, p=pool, n=size: scenarios.drain(c, tasks if c is OURS else tasks // 5, p, n),
        )
    plan |= redis_plan(tasks) | rabbitmq_plan(tasks)
    for name, task in (
        ("early, ignored", "bench.noop"),
        ("late, ignored", "bench.late"),
        ("late, stored", "bench.late_result"),
    ):
        plan[f"worker path, {name}"] = (
            (OURS_INSIDE, CELERY_INSIDE),
            lambda c, t=task: scenarios.inside(c, tasks * 4, t),
        )
    plan["worker path, events"] = (
        (OURS_TELLING_INSIDE, OURS_INSIDE),
        lambda c: scenarios.inside(c, tasks * 4, "bench.noop"),
    )
    return plan


def _task(contenders: Sequence[Contender], task: str, nap: str = "bench.nap") -> tuple[Contender, ...]:
    """The same contenders, sending another task."""
    more = {"BENCH_TASK": task, "BENCH_NAP": nap}
    return tuple(replace(contender, env=contender.env | more) for contender in contenders)


def redis_plan(tasks: int) -> dict[str, tuple[tuple[Contender, ...], Callable[[Contender], Figures]]]:
    """What is measured with Redis between; a drain has ten times as many tasks as the embedded ones."""
    many, pair = tasks * 10, (OURS_REDIS, CELERY_REDIS)
    stored = _task((OURS_REDIS_STORED, CELERY_REDIS_STORED), "bench.stored")
    late_stored = _task((OURS_REDIS_STORED, CELERY_REDIS_STORED), "bench.late_result")
    drain = scenarios.enqueue_and_drain
    plan: dict[str, tuple[tuple[Contender, ...], Callable[[Contender], Figures]]] = {
        "redis, results ignored": (ON_REDIS, lambda c: drain(c, many)),
        "redis, late, results ignored": (_task(pair, "bench.late"), lambda c: drain(c, many)),
        "redis, results stored": (stored, lambda c: drain(c, many)),
        "redis, late, results stored": (late_stored, lambda c: drain(c, many)),
        "redis, -c 10": (stored, lambda c: drain(c, many, processes=10)),
        "redis, bulk": (ON_REDIS, lambda c: scenarios.bulk(c, tasks * 2)),
        "redis, round trip": (
            (
                OURS_REDIS_STORED,
                CELERY_REDIS_STORED,
                HUEY_REDIS_ECHO,
                DRAMATIQ_REDIS,
                TASKIQ_REDIS,
                SAQ_REDIS,
            ),
            lambda c: scenarios.round_trip(c, 20 if c in (HUEY_REDIS_ECHO, SAQ_REDIS) else 500),
        ),
        "redis, start": (pair, scenarios.start),
        "redis, idle": (pair, scenarios.idle),
        "redis, delayed": (pair, lambda c: scenarios.delayed(c, 2000)),
        "redis, memory": (stored[:1], lambda c: scenarios.memory(c, tasks * 200, tasks * 20, tasks // 25)),
        "redis, events": (
            (OURS_TELLING, OURS_REDIS, CELERY_TELLING, CELERY_REDIS),
            lambda c: drain(c, many),
        ),
        "redis, deep queue": ((OURS_REDIS,), lambda c: scenarios.deep(c, 500_000)),
    }
    for pool, slots, options in (("threads", 10, ()), ("solo", 1, ()), ("asyncio", 100, ())):
        contenders = stored[:1] if pool == "asyncio" else stored
        plan[f"redis, {pool}"] = (
            contenders,
            lambda c, p=pool, n=slots, o=options: drain(c, many, "-P", p, *o, processes=n),
        )
    plan["redis, 2,000 naps, asyncio -c 500"] = (
        (*_task((OURS_REDIS,), "bench.noop", "bench.anap"),),
        lambda c: scenarios.naps(c, 2000, "-P", "asyncio", slots=500),
    )
    plan["redis, 2,000 naps, threads -c 100"] = (
        pair,
        lambda c: scenarios.naps(c, 2000, "-P", "threads", slots=100),
    )
    three = (OURS_REDIS_STORED, OURS_ALONE, CELERY_REDIS_STORED)
    for shape, size in (("chord", 100), ("chord", 1000), ("chain", 100), ("group", 1000)):
        plan[f"workflows, {shape} of {size:,}"] = (
            three,
            lambda c, s=shape, n=size: scenarios.workflow(c, s, n),
        )
    for shape, size in (("chord", 10_000), ("group", 10_000), ("chain", 1000)):
        plan[f"workflows, {shape} of {size:,}"] = (
            three[:2],  # Celery's does not end in two minutes
            lambda c, s=shape, n=size: scenarios.workflow(c, s, n),
        )
    plan["workflows, sending 50 chords of 100"] = (
        three,
        lambda c: scenarios.workflow(c, "chords", 50, wait=False),
    )
    return plan


def rabbitmq_plan(tasks: int) -> dict[str, tuple[tuple[Contender, ...], Callable[[Contender], Figures]]]:
    """What is measured with RabbitMQ between."""
    many, pair = tasks * 4, (OURS_RABBIT, CELERY_RABBIT)
    drain = scenarios.enqueue_and_drain
    return {
        "rabbitmq, results ignored": (ON_RABBIT, lambda c: drain(c, many, many=c is OURS_RABBIT)),
        "rabbitmq, late, results ignored": (_task(pair, "bench.late"), lambda c: drain(c, many)),
        "rabbitmq, beside a bare client": (
            (*_task((OURS_RABBIT,), "bench.late"), BARE_RABBIT),
            lambda c: scenarios.beside_bare(c, many),
        ),
        "rabbitmq, 20 threads": (pair, lambda c: scenarios.from_threads(c, tasks * 2)),
        "rabbitmq, solo": (pair, lambda c: drain(c, many, "-P", "solo", processes=1)),
        "rabbitmq, bulk": (ON_RABBIT, lambda c: scenarios.bulk(c, tasks * 2)),
        "rabbitmq, round trip by rpc": (
            (OURS_RPC, CELERY_RPC, BARE_RABBIT),
            lambda c: scenarios.round_trip(c, 300),
        ),
        "rabbitmq, idle": (pair, scenarios.idle),
    }


def measure(
    name: str, contenders: tuple[Contender, ...], scenario: Callable[[Contender], Figures], rounds: int
) -> dict[str, list[Figures]]:
    """Interleave: A B C, A B C, ... so that a noisy moment hits everybody. Who fails is left out, and named."""
    found: dict[str, list[Figures]] = defaultdict(list)
    failed: set[str] = set()
    for number in range(rounds):
        for contender in contenders:
            if contender.name in failed:
                continue
            print(f"\r{name}: round {number + 1}/{rounds}, {contender.name:30}", end="", flush=True)
            try:
                found[contender.name].append(scenario(contender))
            except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                failed.add(contender.name)
                found.pop(contender.name, None)
                print(f"\r{name}: {contender.name} failed: {error}", flush=True)
    print("\r" + " " * 70, end="\r")
    return dict(found)


if __name__ == "__main__":
    main()
