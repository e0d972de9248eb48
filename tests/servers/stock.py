"""The real Celery 5.7.0, in a virtual environment of its own: the other half of a mixed fleet, and the oracle."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import WorkerProcess, clean_environment

from .process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venvs" / "stock"
PACKAGES = [
    "celery[redis,msgpack,yaml,sqlalchemy,pymemcache]==5.7.0",
    "zstandard",
    "brotli",
    "psycopg2-binary",
    "pymysql",
]


def prepare() -> Path:
    """Its Python; made when first asked for, by one process at a time."""
    python = VENV / "bin" / "python"
    stamp = VENV / ".ready"
    wanted = "\n".join(PACKAGES)
    VENV.parent.mkdir(exist_ok=True)
    with (VENV.parent / ".stock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *PACKAGES], check=True)
            stamp.write_text(wanted)
    return python


class StockCelery:
    """Runs scripts and workers with the real Celery, in a given folder."""

    def __init__(self) -> None:
        self.python = prepare()

    def run(self, folder: Path, code: str, *, timeout: float = 50, **env: str) -> str:
        """Run a script there; return what it printed."""
        done = subprocess.run(
            [self.python, "-c", textwrap.dedent(code)],
            cwd=folder,
            env=clean_environment(PYTHONPATH=str(folder), **env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, folder: Path, code: str, **options: Any) -> Any:
        """Run a script there; return the JSON value on the last line it printed."""
        return json.loads(self.run(folder, code, **options).strip().splitlines()[-1])

    @contextlib.contextmanager
    def worker(
        self, folder: Path, *args: str, app: str = "tasks", ready: bool = True, **env: str
    ) -> Iterator[WorkerProcess]:
        """Run its worker there; end it warm, or kill it."""
        log = folder / f"stock-{os.urandom(3).hex()}.log"
        command = [str(self.python), "-m", "celery", "-A", app, "worker", "-l", "INFO", *args]
        if not any(arg.startswith(("-c", "--concurrency")) for arg in args):
            command += ["-c", "2"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment(PYTHONPATH=str(folder), **env),
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
                worker.stop(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
