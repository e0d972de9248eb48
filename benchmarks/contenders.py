"""Who runs: ours and the peers, each with its own Python, application and worker command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import servers

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venvs" / "peers"
PEER_PACKAGES = [
    "celery[sqlalchemy,redis]==5.7.0",
    "hiredis",
    "huey==3.5.4",
    "dramatiq[redis,rabbitmq]==2.2.1",
    "taskiq==0.13.0",
    "taskiq-redis==1.2.4",
    "saq[hiredis]==0.26.4",
    "rq==3.0.0",
]


@dataclass(frozen=True)
class Contender:
    """One queue under test.

    Attributes:
        worker: arguments of the worker program; `{c}` is the number of processes.
        env: extra environment; `{home}` is this run's folder, `{redis}` and `{rabbitmq}` are the servers' URLs.
        server: the server whose CPU time counts as the broker's.
        scale: how many of a scenario's tasks it is given: one for whom they would take minutes gets fewer.
    """

    name: str
    python: Path
    app: str
    worker: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    server: str = ""
    scale: float = 1.0

    def environment(self, home: Path) -> dict[str, str]:
        # Byte code is cached as on any user's machine.
        env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("CELERY") and key != "PYTHONDONTWRITEBYTECODE"
        }
        urls = {name: servers.url(name) for name in servers.NAMES if f"{{{name}}}" in str(self.env)}
        env |= {key: value.format(home=home, **urls) for key, value in self.env.items()}
        return env | {"BENCH_HOME": str(home), "PYTHONPATH": f"{ROOT / 'benchmarks' / 'apps'}:{ROOT}"}

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

# -- with a server between
_REDIS = {"BENCH_BROKER": "{redis}"}
_RABBIT = {"BENCH_BROKER": "{rabbitmq}"}
_STORED = {"BENCH_RESULTS": "{redis}"}
_RPC = {"BENCH_RESULTS": "rpc://"}
STOCK_WORKER = CELERY_FILES.worker
OURS_REDIS = Contender("celeriac, redis", OURS.python, "celery_app", CELERY_WORKER, _REDIS, "redis")
CELERY_REDIS = Contender(
    "celery 5.7.0, redis", CELERY_FILES.python, "celery_app", STOCK_WORKER, _REDIS, "redis", 0.1
)
OURS_REDIS_STORED = replace(OURS_REDIS, env=_REDIS | _STORED)
OURS_ALONE = replace(
    OURS_REDIS_STORED,
    name="celeriac, redis, all ours",
    env=OURS_REDIS_STORED.env | {"CELERY_FLEET": "celeriac"},
)
#: Telling what happens to each task; ratios to the same without say what that costs.
OURS_TELLING = replace(OURS_REDIS, name="celeriac, redis, -E", env=_REDIS | {"BENCH_EVENTS": "1"})
CELERY_TELLING = replace(CELERY_REDIS, name="celery 5.7.0, redis, -E", env=_REDIS | {"BENCH_EVENTS": "1"})
OURS_TELLING_INSIDE = replace(OURS_INSIDE, name="celeriac, memory, -E", env=MEMORY | {"BENCH_EVENTS": "1"})
CELERY_REDIS_STORED = replace(CELERY_REDIS, env=_REDIS | _STORED)
HUEY_REDIS = replace(HUEY, name="huey, redis", env=_REDIS, server="redis")
HUEY_REDIS_ECHO = replace(HUEY_ECHO, name="huey, redis", env=_REDIS, server="redis")
DRAMATIQ_REDIS = Contender(
    "dramatiq, redis",
    PEERS / "bin" / "python",
    "dramatiq_app",
    ("-m", "dramatiq", "dramatiq_app", "-p", "{c}"),
    _REDIS,
    "redis",
    0.3,
)
TASKIQ_REDIS = Contender(
    "taskiq, redis",
    PEERS / "bin" / "python",
    "taskiq_app",
    ("-m", "taskiq", "worker", "-w", "{c}", "--log-level", "ERROR", "taskiq_app:broker"),
    _REDIS,
    "redis",
    0.2,
)
SAQ_REDIS = Contender(
    "saq, redis",
    PEERS / "bin" / "python",
    "saq_app",
    ("-m", "saq", "saq_app.settings", "--workers", "{c}", "--quiet"),
    _REDIS,
    "redis",
    0.1,
)
RQ_REDIS = Contender(
    "rq, redis", PEERS / "bin" / "python", "rq_app", ("-m", "rq_app", "{c}"), _REDIS, "redis", 0.05
)
ON_REDIS = (OURS_REDIS, CELERY_REDIS, HUEY_REDIS, DRAMATIQ_REDIS, TASKIQ_REDIS, SAQ_REDIS, RQ_REDIS)
OURS_RABBIT = Contender("celeriac, rabbitmq", OURS.python, "celery_app", CELERY_WORKER, _RABBIT, "rabbitmq")
CELERY_RABBIT = Contender(
    "celery 5.7.0, rabbitmq", CELERY_FILES.python, "celery_app", STOCK_WORKER, _RABBIT, "rabbitmq", 0.2
)
DRAMATIQ_RABBIT = replace(
    DRAMATIQ_REDIS, name="dramatiq, rabbitmq", env=_RABBIT, server="rabbitmq", scale=0.5
)
BARE_RABBIT = Contender("bare client, rabbitmq", OURS.python, "", (), _RABBIT, "rabbitmq")
ON_RABBIT = (OURS_RABBIT, CELERY_RABBIT, DRAMATIQ_RABBIT)
OURS_RPC = replace(OURS_RABBIT, env=_RABBIT | _RPC)
CELERY_RPC = replace(CELERY_RABBIT, env=_RABBIT | _RPC)


def prepare_peers() -> None:
    """Make the peers' virtual environment if it is not there."""
    stamp = PEERS / ".ready"
    wanted = "\n".join(PEER_PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing the peers (celery, huey, dramatiq, ...) into .venvs/peers ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    pip = [PEERS / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PEER_PACKAGES], check=True)
    stamp.write_text(wanted)
