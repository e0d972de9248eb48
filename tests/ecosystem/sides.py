"""Virtual environments with packages that build on Celery: one with Celeriac, and one with Celery itself, to compare.

They are kept in `.cache/ecosystem/` and made anew when what they should hold has changed. Celeriac is in there as
somebody who works on it has it (editable), with the stand-in distribution `celery` beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import die_with_parent
from tests.support import WorkerProcess, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".cache" / "ecosystem"
PROGRAMS = Path(__file__).parent / "programs"

#: Sets of packages that get along with one another. The first is what `make test` has time for.
SETS = {
    "usual": [
        "sentry-sdk==2.75.0",
        "opentelemetry-instrumentation-celery==0.66b2",
        "opentelemetry-sdk==1.45.2",
        "Django==5.2.19",
        "django-celery-results==2.6.0",
    ],
    "more": [
        "Django==5.2.19",
        "django-celery-beat==2.9.0",
        "django-structlog==11.0.0",
        "structlog==26.1.0",
        "Flask==3.1.3",
        "fastapi==0.165.0",
        "httpx==0.28.1",
        "celery-singleton==0.3.1",
        "celery-once==3.0.1",
        "six",  # celery-once does not say that it needs this: it comes with Celery
        "celery-progress==0.5",
        "pytest-celery==1.3.0",
        "elastic-apm==6.26.2",
        "ddtrace==4.16.0",
        "newrelic==14.1.0",
    ],
    "types": ["celery-types==0.26.0", "mypy==2.4.1"],
}
#: What pip says when the network is at fault, or the index does not have a package.
_OFFLINE = re.compile(
    r"NewConnectionError|Temporary failure|Could not fetch URL|ReadTimeout|ConnectionResetError|No matching distribution"
)


class Side:
    """Programs run with the packages of a set, on Celeriac or on Celery.

    Args:
        name: `celeriac` or `celery`.
        packages: a key of `SETS`.
        folder: where they run.
    """

    def __init__(self, name: str, packages: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.bin = _prepare(name, packages) / "bin"
        self._workers = 0

    def environment(self, **env: str) -> dict[str, str]:
        path = f"{self.folder}:{PROGRAMS}"
        return clean_environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", **env)

    def command(self, *command: str, timeout: float = 100, **env: str) -> str:
        """Run one of the environment's programs in the folder; return what it printed."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, module: str, *args: str, **env: str) -> str:
        """Run a module as a script; return what it printed."""
        return self.command("python", "-m", module, *args, **env)

    @contextlib.contextmanager
    def worker(
        self, app: str, *args: str, before: tuple[str, ...] = (), **env: str
    ) -> Iterator[WorkerProcess]:
        """A worker of an app, until it has ended warm.

        Args:
            before: a command of the environment that runs the worker's.
        """
        self._workers += 1
        log = self.folder / f"{self.name}{self._workers}.log"
        command = [*before, "celery"] if before else ["celery"]
        programs = [str(self.bin / word) if (self.bin / word).exists() else word for word in command]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*programs, "-A", app, "worker", "-l", "INFO", "-c", "2", *args],
                cwd=self.folder,
                env=self.environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
            )
        worker = WorkerProcess(process, log)
        try:
            worker.wait_for(r"ready\.", 60)
            yield worker
        finally:
            try:
                worker.stop(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _prepare(name: str, packages: str) -> Path:
    venv = HOME / f"{name}-{packages}"
    celery = "celery[redis,sqlalchemy]==5.7.0"
    steps = (
        [["-e", f"{ROOT}[redis,sqlalchemy]"], [str(ROOT / "packaging" / "celery")], SETS[packages]]
        if name == "celeriac"
        else [[celery, *SETS[packages]]]
    )
    HOME.mkdir(parents=True, exist_ok=True)
    stamp, wanted = venv / ".ready", f"{sys.version}\n{steps}"
    with (HOME / f".{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            for step in steps:
                _install(venv, step)
            stamp.write_text(wanted)
    return venv


def _install(venv: Path, what: list[str]) -> None:
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *what], capture_output=True, text=True, check=False)
    if done.returncode and (found := _OFFLINE.search(done.stderr)):
        pytest.skip(f"pip cannot get {' '.join(what)} here ({found.group()})")
    assert done.returncode == 0, done.stderr
