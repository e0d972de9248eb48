"""The shop's background work: five tasks that take an order from the till to the parcel.

    reserve_stock -> charge_payment -> make_label + write_invoice -> send_receipt

Every task is idempotent by way of the ledger, acknowledged late and requeued if its process dies:
together that is 'done exactly once', whatever gets killed.
"""

from __future__ import annotations

import json

from celery import Celery
from celery.utils.log import get_task_logger

from . import ledger, provider

app = Celery("fulfilment")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    result_expires=3600,
    timezone="UTC",
)
log = get_task_logger(__name__)


@app.task
def reserve_stock(order_id: str) -> str:
    """Take the goods from the shelf, all of an order or nothing."""
    order = ledger.order(order_id)
    with ledger.attempt(order_id, "reserve"), ledger.ledger() as db:
        if ledger.first_time(db, order_id, "reserve"):
            for line in json.loads(order["lines"]):
                db.execute(
                    "UPDATE stock SET free = free - ?1, reserved = reserved + ?1 WHERE sku = ?2",
                    (line["quantity"], line["sku"]),
                )
    charge_payment.delay(order_id)
    return "reserved"


@app.task(
    autoretry_for=(provider.PaymentUnavailable,),
    retry_backoff=0.2,
    retry_backoff_max=2,
    retry_jitter=True,
    max_retries=8,
    throws=(provider.CardDeclined,),
)
def charge_payment(order_id: str) -> str:
    """Take the money, once: the order id is the idempotency key."""
    order = ledger.order(order_id)
    with ledger.attempt(order_id, "charge"):
        try:
            receipt = provider.charge(f"charge-{order_id}", order_id, order["amount"], order["card"])
        except provider.CardDeclined:
            cancel(order_id)
            send_receipt.delay(order_id)
            raise
        with ledger.ledger() as db:
            ledger.first_time(db, order_id, "charge")
    make_label.delay(order_id)
    write_invoice.delay(order_id, receipt)
    return receipt


def cancel(order_id: str) -> None:
    """Put the goods of a declined order back and close it."""
    with ledger.ledger() as db:
        if ledger.first_time(db, order_id, "cancel"):
            lines = db.execute("SELECT lines FROM orders WHERE id = ?", (order_id,)).fetchone()["lines"]
            for line in json.loads(lines):
                db.execute(
                    "UPDATE stock SET free = free + ?1, reserved = reserved - ?1 WHERE sku = ?2",
                    (line["quantity"], line["sku"]),
                )
            ledger.finish(db, order_id, "cancelled")


@app.task
def make_label(order_id: str) -> None:
    """Print the shipping label into labels/."""
    order = ledger.order(order_id)
    with ledger.attempt(order_id, "label"):
        write_file("labels", f"{order_id}.txt", f"TO: {order['customer']}\nPARCEL: {order_id}\n")
        complete(order_id, "label")


@app.task
def write_invoice(order_id: str, receipt: str) -> None:
    """Write the invoice into invoices/."""
    order = ledger.order(order_id)
    lines = json.loads(order["lines"])
    text = [f"INVOICE {order_id}  (payment {receipt})", ""]
    text += [f"{line['quantity']:3d} x {line['sku']:<24} {line['price'] / 100:9.2f}" for line in lines]
    text += ["", f"TOTAL {order['amount'] / 100:.2f}"]
    with ledger.attempt(order_id, "invoice"):
        write_file("invoices", f"{order_id}.txt", "\n".join(text) + "\n")
        complete(order_id, "invoice")


def complete(order_id: str, step: str) -> None:
    """Note a finished paper; when both are there, the parcel is ready and the customer hears of it."""
    with ledger.ledger() as db:
        ledger.first_time(db, order_id, step)
        papers = db.execute(
            "SELECT count(*) FROM steps WHERE order_id = ? AND step IN ('label', 'invoice')", (order_id,)
        ).fetchone()[0]
    if papers == 2:
        send_receipt.delay(order_id)


@app.task
def send_receipt(order_id: str) -> None:
    """Put a mail into the mailbox folder and close the order."""
    order = ledger.order(order_id)
    with ledger.attempt(order_id, "receipt"):
        cancelled = order["state"] == "cancelled"
        what = "was cancelled: your card was declined" if cancelled else "is on its way"
        mail = f"To: {order['email']}\nSubject: Your order {order_id}\n\nYour order {what}.\n"
        with ledger.ledger() as db:
            if ledger.first_time(db, order_id, "receipt"):
                write_file("mailbox", f"{order_id}.eml", mail)
                if not cancelled:
                    ledger.finish(db, order_id, "shipped")


def write_file(folder: str, name: str, text: str) -> None:
    """Write a file whole or not at all."""
    place = ledger.home() / folder
    place.mkdir(exist_ok=True)
    draft = place / f".{name}.part"
    draft.write_text(text)
    draft.replace(place / name)
