"""What faults cost: each of them once or more under load, and for each what was sent, lost and run again.

    python -m tests.account [--rounds N] [--only NAME ...]

Two workers run tasks of 20 ms (acks_late, reject_on_worker_lost) that a producer sends one after the other; then something happens, and the
producer goes on for a while. A row adds up the rounds:

| column | |
|---|---|
| sent | calls that returned |
| refused | calls that raised, with the reason |
| lost | calls that returned, and never ran to their end |
| again | runs beyond the first |
| idle s | seconds from the fault (or from the broker's return) until a task began; the worst round |
| taken over s | seconds from the fault until a task that it had interrupted began again; the worst round |
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.ledger import TASKS, Ledger
from tests.faults.producing import Producer, producing
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.support import Project, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE = 2.0
COLUMNS = ("sent", "refused", "lost", "again", "idle s", "taken over s")


@dataclass(slots=True)
class Site:
    """A round's scene.

    Attributes:
        server: the broker; None if it is embedded.
        proxy: what the workers' connections go through.
    """

    ledger: Ledger
    workers: list[WorkerProcess]
    producer: Producer
    server: RedisServer | RabbitServer | None
    proxy: Proxy | None

    def a_child(self) -> int:
        """The process that began a task last."""
        begun = [line for line in self.ledger.lines() if line[0] == "begin"]
        return int(begun[-1][2])


@dataclass(slots=True)
class Account:
    """What came of a fault, over its rounds."""

    sent: int = 0
    refused: int = 0
    lost: int = 0
    again: int = 0
    idle: float = 0.0
    taken_over: float = 0.0
    rounds: int = field(default=0)

    def row(self) -> list[str]:
        """The cells of `COLUMNS`."""
        over = f"{self.taken_over:.1f}" if self.taken_over else "-"
        return [*map(str, (self.sent, self.refused, self.lost, self.again)), f"{self.idle:.1f}", over]


def kill_child(site: Site) -> None:
    os.kill(site.a_child(), signal.SIGKILL)


def kill_worker(site: Site) -> None:
    site.workers[0].send(signal.SIGKILL)


def stop_worker(site: Site) -> None:
    """For longer than its lease."""
    site.workers[0].send(signal.SIGSTOP)
    time.sleep(LEASE * 2)
    site.workers[0].send(signal.SIGCONT)


def kill_broker(site: Site) -> None:
    assert site.server is not None
    site.server.kill()
    site.server.start()


def freeze_broker(site: Site) -> None:
    assert site.server is not None
    site.server.freeze()
    time.sleep(LEASE * 2)
    site.server.thaw()


def cut(site: Site) -> None:
    assert site.proxy is not None
    site.proxy.cut(reset=True)


def cut_in_mid_frame(site: Site) -> None:
    assert site.proxy is not None
    site.proxy.reset_after(700)


def forget(site: Site) -> None:
    """Connections stay open on our side only."""
    assert site.proxy is not None
    site.proxy.forget()


ANYWHERE: dict[str, Callable[[Site], None]] = {
    "kill -9 of a child": kill_child,
    "kill -9 of a worker": kill_worker,
    "a worker stopped for two leases": stop_worker,
}
WITH_A_SERVER: dict[str, Callable[[Site], None]] = {
    "kill -9 of the broker, and restart": kill_broker,
    "the broker frozen for two leases": freeze_broker,
    "workers' connections reset": cut,
    "reset in the middle of a frame": cut_in_mid_frame,
    "half-open connections": forget,
}


def run(broker: str, fault: Callable[[Site], None], account: Account) -> None:
    """One round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "project").mkdir()
        project = Project(folder / "project")
        project.write("tasks.py", TASKS)
        server = _server(broker, folder, stack)
        proxy, url = None, ""
        options: dict[str, str] = {"TEST_CONF": json.dumps({"broker_transport_options": {"lease": LEASE}})}
        if server is not None:
            url = server.url if isinstance(server, RedisServer) else server.vhost()
            proxy = stack.enter_context(Proxy(server.port))
            options["CELERY_BROKER_URL"] = url.replace(f":{server.port}/", f":{proxy.port}/")
            options["CELERY_TASK_IGNORE_RESULT"] = "1"
        workers = [
            stack.enter_context(project.worker("-n", f"w{number}@h", **options)) for number in range(2)
        ]
        ends_here = options | ({"CELERY_BROKER_URL": url} if url else {})
        producer = stack.enter_context(producing(project, "stubborn", seconds=0.02, pause=0.004, **ends_here))
        site = Site(Ledger(project), workers, producer, server, proxy)
        producer.wait_for_more(100)
        began = time.time()
        fault(site)
        back = time.time() if server is not None and fault in (kill_broker, freeze_broker) else began
        producer.wait_for_more(100, 60)
        producer.stop()
        _settle(site, account, began, back)


def _server(broker: str, folder: Path, stack: ExitStack) -> RedisServer | RabbitServer | None:
    if broker == "embedded":
        return None
    if broker == "redis":
        return stack.enter_context(RedisServer(folder / "redis", persistent=True))
    return stack.enter_context(RabbitServer(folder / "rabbitmq"))


def _settle(site: Site, account: Account, began: float, back: float) -> None:
    """Wait until all has ended that will, and book it."""
    sent = site.producer.accepted
    try:
        site.ledger.wait_for(sent, 60)
    except AssertionError as error:
        print(error, file=sys.stderr)
    for worker in site.workers:
        if worker.process.poll() is None:
            worker.stop()  # what it still holds goes back, and would be seen as begun again
    begins = sorted((float(at), ident) for kind, ident, _, at in site.ledger.lines() if kind == "begin")
    before = {ident for at, ident in begins if at <= back}
    account.rounds += 1
    account.sent += len(sent)
    account.refused += len(site.producer.refused)
    account.lost += len(set(sent) - set(site.ledger.ended))
    account.again += sum(count - 1 for count in site.ledger.begun.values())
    account.idle = max([account.idle, *[at - back for at, _ in begins if at > back][:1]])
    over = [at - began for at, ident in begins if at > back and ident in before]
    account.taken_over = max([account.taken_over, *over[:1]])


def table(accounts: dict[tuple[str, str], Account]) -> str:
    """For a terminal or a page."""
    lines = [f"| broker | fault | rounds | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for (broker, fault), account in accounts.items():
        lines.append(f"| {broker} | {fault} | {account.rounds} | {' | '.join(account.row())} |")
    return "\n".join(lines)


def run_all(rounds: int, only: list[str] | None = None) -> int:
    """Every fault on every broker; prints the table and returns how many tasks were lost."""
    accounts: dict[tuple[str, str], Account] = {}
    for broker in ("embedded", "redis", "rabbitmq"):
        for name, fault in (ANYWHERE if broker == "embedded" else ANYWHERE | WITH_A_SERVER).items():
            if only and not any(word in f"{broker}: {name}" for word in only):
                continue
            account = accounts[broker, name] = Account()
            for _ in range(rounds):
                run(broker, fault, account)
            print(f"{broker}, {name}: {dict(zip(COLUMNS, account.row(), strict=True))}", flush=True)
    print("\n" + table(accounts), flush=True)
    return sum(account.lost for account in accounts.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="account", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="brokers, or faults by a part of their name")
    options = parser.parse_args()
    return 1 if run_all(options.rounds, options.only) else 0


if __name__ == "__main__":
    sys.exit(main())
