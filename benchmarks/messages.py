"""What one message costs to make and to read, in microseconds of CPU.

    python -m benchmarks.messages

No broker is involved; the median of five rounds of 20,000.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from celery import Celery
from celery.app import sending
from celery.message import envelope
from celery.message.body import decode_body
from celery.message.headers import LazyObject
from celery.message.task import decode_headers
from celery.message.template import Template, json_body
from celery.message.writing import build_v2

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "11111111-1111-1111-1111-111111111111"
ACCEPT = frozenset({"application/json"})


def microseconds(action: Callable[[], object], times: int = 20_000) -> float:
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            action()
        rounds.append((time.process_time() - started) / times * 1e6)
    return statistics.median(rounds)


def main() -> None:
    app = Celery("bench", broker="memory://", set_as_current=False)
    template = Template("tasks.add", origin="gen1@host", reply_to=ID)
    options = sending.send_options(app, "tasks.add", (2, 2), {})
    headers, properties, body = (
        template.headers(ID, "(2, 2)", "{}"),
        template.properties(ID),
        json_body((2, 2), {}),
    )
    wrapped = envelope.encode(body, headers, properties, exchange="", routing_key="celery", delivery_tag=ID)

    def by_values() -> object:
        message = build_v2(
            ID, "tasks.add", (2, 2), {}, argsrepr="(2, 2)", kwargsrepr="{}", origin="gen1@host"
        )
        return LazyObject(value=message.headers).raw

    def by_template() -> object:
        return template.headers(ID, "(2, 2)", "{}"), template.properties(ID), json_body((2, 2), {})

    rows: dict[str, Callable[[], object]] = {
        "headers as a dict, encoded": by_values,
        "headers, properties and body by template": by_template,
        "body without arguments": lambda: json_body((), {}),
        "options of a plain call": lambda: sending.send_options(app, "tasks.add", (2, 2), {}),
        "message of a plain call": lambda: sending.compose(app, "tasks.add", (2, 2), {}, options),
        "read headers": lambda: decode_headers(headers),
        "read body": lambda: decode_body(body, "application/json", "utf-8", None, ACCEPT),
        "take out of an envelope": lambda: envelope.decode(wrapped),
    }
    for label, action in rows.items():
        print(f"{label:<45}{microseconds(action):6.2f} us")


if __name__ == "__main__":
    main()
