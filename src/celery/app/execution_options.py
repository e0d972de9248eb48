"""The options of calls that a task may have as attributes."""

from __future__ import annotations

#: Where one of these is set on a task, it is an option of its calls.
EXECUTION_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)
