"""The two sides of a mixed fleet: the real Celery 5.7.0, and ours. Both run the same scripts on the same project."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.servers.process import die_with_parent
from tests.support import WorkerProcess, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: `ours` or `stock`.
        python: its interpreter.
        folder: the project, which both share.
        env: of everything that it runs.
    """

    name: str
    python: Path
    folder: Path
    env: dict[str, str]

    def run(self, code: str, *, timeout: float = 50, **env: str) -> str:
        """Run a script in the project; return what it printed."""
        done = subprocess.run(
            [self.python, "-c", textwrap.dedent(code)],
            cwd=self.folder,
            env=self._environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{self.name}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, code: str, **options: Any) -> Any:
        """Run a script; return the JSON value on the last line that it printed."""
        return json.loads(self.run(code, **options).strip().splitlines()[-1])

    @contextlib.contextmanager
    def worker(
        self, *args: str, app: str = "tasks", ready: bool = True, **env: str
    ) -> Iterator[WorkerProcess]:
        """Run a worker; end it warm, or kill it."""
        log = self.folder / f"{self.name}-{os.urandom(3).hex()}.log"
        command = [str(self.python), "-m", "celery", "-A", app, "worker", "-l", "INFO", *args]
        if not any(arg.startswith(("-c", "--concurrency")) for arg in args):
            command += ["-c", "2"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
            )
        worker = WorkerProcess(process, log)
        try:
            if ready:
                worker.wait_for(r"ready\.")
            yield worker
        finally:
            try:
                worker.stop(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        return clean_environment(SIDE=self.name, **(self.env | extra))
