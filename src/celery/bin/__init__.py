"""The `celery` command: parse, call, print."""
