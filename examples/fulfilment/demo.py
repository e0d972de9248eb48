"""Run the whole shop: web API, broker and worker, a few hundred orders, one process killed.

    python -m examples.fulfilment.demo [--orders N] [--home DIR] [--broker embedded|redis|rabbitmq]

Ends with exit code 0 only if the books agree: every order done exactly once, none lost, none paid twice.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import ledger, provider
from .brokers import KNOWN, broker

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHILDREN = 4
PATIENCE = 120.0  # seconds until the demo gives up

console = Console(highlight=False)


@dataclass
class Kill:
    """What was killed, and what it was doing."""

    pid: int
    order_id: str
    step: str
    at: float


def main() -> int:
    """Play the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--orders", type=int, default=300, help="how many orders to place (default: 300)")
    parser.add_argument(
        "--home", type=Path, default=ROOT / ".cache" / "demo", help="folder for the shop's files"
    )
    parser.add_argument(
        "--broker", choices=KNOWN, default="embedded", help="what carries the messages (default: embedded)"
    )
    options = parser.parse_args()

    orders = read_orders(options.orders)
    shutil.rmtree(options.home, ignore_errors=True)
    options.home.mkdir(parents=True)
    os.environ["SHOP_HOME"] = str(options.home)
    ledger.create({line["sku"]: 10_000 for order in orders for line in order["lines"]})

    console.rule("[bold]Harbor Commerce: order fulfilment on Celeriac")
    console.print(
        f"{len(orders)} orders · web API + one worker with {CHILDREN} processes · {KNOWN[options.broker][0]}\n"
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(broker(options.broker, options.home))
        started = time.monotonic()
        port = free_port()
        stack.enter_context(server("api", ["uvicorn", "examples.fulfilment.api:app", "--port", str(port)]))
        stack.enter_context(
            server(
                "worker",
                ["celery", "-A", "examples.fulfilment.shop", "worker", "-c", str(CHILDREN), "-l", "INFO"],
            )
        )
        wait_for_port(port)
        pool = stack.enter_context(ThreadPoolExecutor(8))
        placed = [pool.submit(place, port, order) for order in orders]
        kill = watch(len(orders))
        for call in placed:
            call.result()
        done_after = time.monotonic() - started
    return summary(orders, kill, done_after)


def read_orders(count: int) -> list[dict]:
    """The first `count` orders of the data file."""
    lines = (HERE / "orders.jsonl").read_text().splitlines()
    if not 0 < count <= len(lines):
        raise SystemExit(f"demo: --orders must be between 1 and {len(lines)}, not {count}")
    return [json.loads(line) for line in lines[:count]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(name: str, command: list[str]) -> Iterator[subprocess.Popen]:
    """Run one of our programs, its output in a log file; end it as an operator would."""
    log = ledger.home() / f"{name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ.copy(),
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                console.print(f"[red]{name} did not stop within 15 s; see {log}")
                process.kill()
                process.wait()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"demo: the web API did not start; see {ledger.home() / 'api.log'}")


def place(port: int, order: dict) -> None:
    """Post one order, as a browser would."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/orders", json.dumps(order), {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 202:
            raise SystemExit(
                f"demo: the API refused order {order['id']}: {answer.status} {answer.read().decode()}"
            )


def watch(total: int) -> Kill | None:
    """Show progress until every order is closed; kill a process half-way."""
    kill = None
    deadline = time.monotonic() + PATIENCE
    with progress_bar() as bar:
        task = bar.add_task("orders", total=total, papers=0)
        last_line = -1
        while time.monotonic() < deadline:
            done, paid, papers = progress()
            bar.update(task, completed=done, papers=papers)
            if not console.is_terminal and done * 10 // total > last_line:
                last_line = done * 10 // total
                console.print(f"  {done:4d} of {total} orders closed, {papers} papers written")
            if kill is None and paid >= total * 0.4:
                kill = kill_one_child(bar.console)
            if done == total:
                return kill
            time.sleep(0.03)
    console.print(f"[red]gave up after {PATIENCE:.0f} s; see {ledger.home() / 'worker.log'}")
    return kill


def progress_bar() -> Progress:
    return Progress(
        TextColumn("  [bold]{task.completed:>3}/{task.total}[/] orders closed"),
        BarColumn(40),
        TextColumn("{task.fields[papers]} papers"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def progress() -> tuple[int, int, int]:
    """How many orders are closed and paid, and how many papers are written."""
    with ledger.ledger() as db:
        done = db.execute("SELECT count(*) FROM orders WHERE done_at IS NOT NULL").fetchone()[0]
        paid = db.execute("SELECT count(*) FROM steps WHERE step = 'charge'").fetchone()[0]
        papers = db.execute(
            "SELECT count(*) FROM steps WHERE step IN ('label', 'invoice', 'receipt')"
        ).fetchone()[0]
    return done, paid, papers


def kill_one_child(out: Console) -> Kill | None:
    """SIGKILL a worker process in the middle of a payment, the worst moment there is."""
    with ledger.ledger() as db:
        row = db.execute(
            "SELECT pid, order_id, step FROM attempts WHERE ended IS NULL AND step = 'charge'"
            " ORDER BY started DESC LIMIT 1"
        ).fetchone()
    if row is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(row["pid"], signal.SIGKILL)
        out.print(f"  [bold red]kill -9 {row['pid']}[/] while it charged order {row['order_id']}")
        return Kill(row["pid"], row["order_id"], row["step"], time.time())
    return None


def summary(orders: list[dict], kill: Kill | None, seconds: float) -> int:
    """Check the books and say what they say; 0 if all is well."""
    with ledger.ledger() as db:
        states = Counter(row["state"] for row in db.execute("SELECT state FROM orders"))
        attempts = db.execute("SELECT count(*) FROM attempts").fetchone()[0]
        cut_short = db.execute("SELECT count(*) FROM attempts WHERE ended IS NULL").fetchone()[0]
        recovered = (
            kill
            and db.execute(
                "SELECT min(ended) FROM attempts WHERE order_id = ? AND step = ? AND ended > ?",
                (kill.order_id, kill.step, kill.at),
            ).fetchone()[0]
        )
    books = provider.statement()
    shipped, cancelled = states["shipped"], states["cancelled"]
    mails = len(list((ledger.home() / "mailbox").glob("*.eml")))
    invoices = len(list((ledger.home() / "invoices").glob("*.txt")))
    checks = {
        f"every order closed once: {shipped} shipped + {cancelled} cancelled of {len(orders)}": shipped
        + cancelled
        == len(orders),
        f"no double charge: {books['charges']} charges for {shipped} shipped orders": books["charges"]
        == books["orders"]
        == shipped,
        f"one mail an order, one invoice a shipment: {mails} mails, {invoices} invoices": mails == len(orders)
        and invoices == shipped,
        f"stock agrees with the orders: {stock_error()} pieces off": stock_error() == 0,
        "one worker process was killed at work": kill is not None,
    }
    table = Table(show_header=False, box=None, padding=(0, 1))
    for text, good in checks.items():
        table.add_row("[green]✔" if good else "[bold red]✘", text)
    console.print()
    console.print(table)
    console.print(
        f"\n  {attempts} task runs, {books['unanswered']} payment calls unanswered and retried,"
        f" {cut_short} run{'s' * (cut_short != 1)} cut short"
    )
    if kill:
        after = (
            f"finished by another process {recovered - kill.at:.1f} s later"
            if recovered
            else "never finished"
        )
        console.print(f"  the payment of order {kill.order_id}, killed half-way, was {after}")
    console.print(
        f"  [bold]{seconds:.1f} s[/] from start to the last order · logs and papers: {ledger.home()}\n"
    )
    return 0 if all(checks.values()) else 1


def stock_error() -> int:
    """Pieces by which the shelves disagree with the shipped orders."""
    wanted: Counter[str] = Counter()
    with closing(sqlite3.connect(ledger.home() / "ledger.db")) as db:
        for (lines,) in db.execute("SELECT lines FROM orders WHERE state = 'shipped'"):
            for line in json.loads(lines):
                wanted[line["sku"]] += line["quantity"]
        reserved = dict(db.execute("SELECT sku, reserved FROM stock"))
    return sum(abs(reserved.get(sku, 0) - wanted[sku]) for sku in reserved)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
