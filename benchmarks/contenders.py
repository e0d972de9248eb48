"""Who runs: ours and the peers, each with its own Python, application and worker command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venvs" / "peers"
PEER_PACKAGES = ["celery[sqlalchemy]==5.7.0", "huey==3.5.4"]


@dataclass(frozen=True)
class Contender:
    """One queue under test.

    Attributes:
        worker: arguments of the worker program; `{c}` is the number of processes.
        env: extra environment; `{home}` is this run's folder.
    """

    name: str
    python: Path
    app: str
    worker: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    def environment(self, home: Path) -> dict[str, str]:
        # Byte code is cached as on any user's machine.
        env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("CELERY") and key != "PYTHONDONTWRITEBYTECODE"
        }
        env |= {key: value.format(home=home) for key, value in self.env.items()}
        return env | {"BENCH_HOME": str(home), "PYTHONPATH": str(ROOT / "benchmarks" / "apps")}

    def worker_command(self, processes: int, *more: str) -> list[str]:
        return [str(self.python), *(part.format(c=processes) for part in self.worker), *more]


CELERY_WORKER = ("-m", "celery", "-q", "-A", "celery_app", "worker", "-c", "{c}", "-l", "WARNING")

OURS = Contender(
    "celeriac, embedded",
    Path(sys.executable),
    "celery_app",
    CELERY_WORKER,
    {"CELERY_EMBEDDED_STORE": "{home}/store.db"},
)
CELERY_FILES = Contender(
    "celery 5.7.0, filesystem",
    PEERS / "bin" / "python",
    "celery_app",
    (*CELERY_WORKER, "--without-gossip", "--without-mingle"),
    {"BENCH_BROKER": "filesystem://"},
)
CELERY_SQL = Contender(
    "celery 5.7.0, sqla+sqlite",
    PEERS / "bin" / "python",
    "celery_app",
    (*CELERY_WORKER, "--without-gossip", "--without-mingle"),
    {"BENCH_BROKER": "sqla+sqlite:///{home}/broker.db", "BENCH_RESULTS": "db+sqlite:///{home}/results.db"},
)
HUEY = Contender(
    "huey, sqlite",
    PEERS / "bin" / "python",
    "huey_app",
    ("-m", "huey.bin.huey_consumer", "huey_app.huey", "-w", "10", "-k", "process", "-q"),
)
HUEY_ECHO = replace(
    HUEY, worker=("-m", "huey.bin.huey_consumer", "huey_app.echoing", "-w", "{c}", "-k", "process", "-q")
)
MEMORY = {"BENCH_BROKER": "memory://"}
OURS_INSIDE = Contender("celeriac, memory", OURS.python, "celery_app", (), MEMORY)
CELERY_INSIDE = Contender("celery 5.7.0, memory", CELERY_FILES.python, "celery_app", (), MEMORY)
EVERYBODY = (OURS, CELERY_FILES, CELERY_SQL, HUEY)


def prepare_peers() -> None:
    """Make the peers' virtual environment if it is not there."""
    if (PEERS / ".ready").exists():
        return
    print("Installing the peers (celery, huey) into .venvs/peers ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    pip = [PEERS / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PEER_PACKAGES], check=True)
    (PEERS / ".ready").touch()
