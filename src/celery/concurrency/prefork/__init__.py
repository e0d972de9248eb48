"""The default pool: child processes, forked by a process that does nothing else.

`pool` is the port; `crew` keeps the children, each a `seat`; `link` is the core's end of the `spawner`, which
forks what `life` and `child` describe. `frames` is what core and child say to each other, `board` the page that they
share, `watch` the clock.
"""

from celery.concurrency.prefork.life import process_destructor, process_initializer
from celery.concurrency.prefork.pool import TaskPool

__all__ = ("TaskPool", "process_destructor", "process_initializer")
