"""Questions put to a fresh Python process, and the answers that are right.

`scripts/NAME.py` asks by `show(label, question)`; `answers/NAME.txt` has what Celery 5.7.0 answered to the same script, or,
below a line that starts with `#` and says why, what is right here.

`python -m tests.spec.probes NAME` asks the real Celery again and writes `answers/NAME.txt`; what stands there below a
line with `#` stays.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import Project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
#: Copied beside every script.
SHARED = ("probe", "canon", "raw", "rabbit", "workload")
#: What scripts take as arguments.
NEEDS = {
    "redis_sent": ("redis",),
    "redis_results": ("redis",),
    "worker_sent": ("redis",),
    "rpc_results": ("amqp", "ctl"),
    "ran": ("redis", "redis"),
    "rabbitmq_sent": ("amqp", "ctl"),
    "worker_log": ("redis", "redis"),
}


def right_answers(name: str) -> dict[str, str]:
    """Label -> answer."""
    lines = (HERE / "answers" / f"{name}.txt").read_text().splitlines()
    return _by_label(line for line in lines if not line.startswith("#"))


def ask(project: Project, name: str, *args: str, python: Path | str = sys.executable) -> dict[str, str]:
    """Run `scripts/NAME.py` in the project; return label -> answer."""
    for script in (*SHARED, name):
        shutil.copy(HERE / "scripts" / f"{script}.py", project.path)
    return _by_label(project.run(str(python), f"{name}.py", *args, timeout=110).stdout.splitlines())


def _by_label(lines: Iterable[str]) -> dict[str, str]:
    return {label: answer for label, _, answer in (line.partition(" => ") for line in lines) if label}


def _corrections(name: str) -> dict[str, str]:
    """Label -> its reason and its line."""
    with contextlib.suppress(FileNotFoundError):
        lines = (HERE / "answers" / f"{name}.txt").read_text().splitlines()
        pairs = itertools.pairwise(lines)
        return {
            line.partition(" => ")[0]: f"{reason}\n{line}" for reason, line in pairs if reason.startswith("#")
        }
    return {}


@contextlib.contextmanager
def needed(name: str, folder: Path) -> Iterator[list[str]]:
    """Start what a script needs; give its arguments."""
    from tests.servers.rabbitmq import RabbitServer
    from tests.servers.redis import RedisServer

    needs = NEEDS.get(name, ())
    with contextlib.ExitStack() as servers:
        given = {}
        if "redis" in needs:
            given["redis"] = servers.enter_context(RedisServer(folder / "redis")).url
        if "amqp" in needs:
            rabbit = servers.enter_context(RabbitServer(folder / "rabbitmq"))
            given |= {"amqp": rabbit.url, "ctl": str(rabbit.write_ctl(folder / "ctl"))}
        yield [given[need] for need in needs]


def record(name: str) -> None:
    """Write what the real Celery answers."""
    from tests.servers.stock import prepare

    with tempfile.TemporaryDirectory() as path, needed(name, Path(path) / "servers") as arguments:
        (project := Path(path) / "project").mkdir()
        heard = ask(Project(project), name, *arguments, python=prepare())
    kept = _corrections(name)
    lines = [kept.get(label, f"{label} => {answer}") for label, answer in heard.items()]
    (HERE / "answers" / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record(sys.argv[1])
