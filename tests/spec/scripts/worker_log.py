"""What a worker says. `python worker_log.py BROKER BACKEND`"""
# ruff: noqa: B023, E402 - questions are put at once, where they stand

import os
import re
import sys

os.environ["USED_BROKER"], os.environ["USED_BACKEND"] = sys.argv[1:3]

import workload
from canon import Names
from probe import show
from workload import app, settle, worker

from celery import chord, group

SIGS = {
    "success": lambda: workload.add.s(2, 2),
    "failure": lambda: workload.fail.s("why"),
    "retry": lambda: workload.retries.s(1),
    "gives up": lambda: workload.gives_up.s(),
    "ignored": lambda: workload.ignores.s(),
    "rejected": lambda: workload.rejects.s(),
    "silent": lambda: workload.silent.s(),
    "expired": lambda: workload.add.s(1).set(expires=-1),
    "eta": lambda: workload.add.s(1).set(countdown=0.5),
    "unknown": lambda: app.signature("unknown.task", (1,), {"a": 2}),
    "unserialisable": lambda: workload.returns.s("set"),
    "odd exception": lambda: workload.raises_odd.s(),
    "chain": lambda: workload.add.s(1, 1) | workload.add.s(2),
    "chord": lambda: chord([workload.add.s(1, 1)], workload.xsum.s()),
    "chord fails": lambda: chord([workload.fail.s()], workload.xsum.s()),
    "group": lambda: group(workload.add.s(1, 1), workload.add.s(2, 2)),
    "replaced": lambda: workload.replaced.s("task"),
    "long": lambda: workload.echo.s("x" * 200),
}


def told(text, names):
    """Without what differs from run to run; of tracebacks the first and the last line."""
    lines = []
    for line in names(text).splitlines():
        line = re.sub(r"^\[[\d-]+ [\d:,]+: ", "[", line)
        line = re.sub(r"in [\d.]+(?:e-\d+)?s", "in Ns", line)
        line = re.sub(r"ForkPoolWorker-\d+", "ForkPoolWorker-N", line)
        line = re.sub(r"\d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d+(\+00:00)?", "DATE", line)
        line = re.sub(r"//([\w:*]+@)?127\.0\.0\.1:\d+", r"//\1HOST", line).replace("//:**@", "//")
        line = re.sub(r"HOST/\d+$", "HOST/N", line)
        line = re.sub(r"'priority': (None|0), ", "", line)
        line = re.sub(r"celery@[\w.-]+", "celery@HOST", re.sub(r"gen\d+@[\w.-]+", "gen@HOST", line))
        if line.startswith(("  ", "    ")) and lines and "Traceback" in "".join(lines[-2:]):
            continue
        lines.append(line.rstrip())
    return [line for line in lines if line]


def of_task(sig):
    """The lines of a task and of what it starts."""
    before = len(log.read_text())
    names = Names()
    result = sig.apply_async()
    names(str(result.id))
    if sig.options.get("countdown"):
        result.get(timeout=9)
    settle()
    lines = told(log.read_text()[before:], names)
    noise = [found for line in lines if (found := re.search(r"workload\.noop\[(<\d+>)\]", line))]
    ids = {found[1] for found in noise}
    return sorted(re.sub(r"<\d+>", "<id>", line) for line in lines if not any(i in line for i in ids))


with worker("--hostname", "celery@%h") as log:
    start = told(log.read_text(), Names())
    show(
        "start",
        lambda: [line for line in start if line.startswith("[") and not re.search("mingle|tasks", line)],
    )
    show(
        "banner",
        lambda: [
            re.sub(r" +", " ", found[0])
            for line in start
            if (found := re.search(r"(transport|results|exchange=).*", line))
        ],
    )
    for label, make in SIGS.items():
        show(label, lambda: of_task(make()))
    size = len(log.read_text())
show("end", lambda: [line for line in told(log.read_text()[size:], Names()) if "succeeded" not in line])
