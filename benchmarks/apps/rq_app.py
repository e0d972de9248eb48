"""The same application on RQ; run as a program it is a pool of workers that do not fork for each job."""

import os
import sys
import time

from redis import Redis
from rq import Queue

connection = Redis.from_url(os.environ["BENCH_BROKER"])
queue = Queue(connection=connection)


def noop():
    pass


def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


def echo(value):
    return value


def nap(seconds):
    time.sleep(seconds)


def call_noop():
    queue.enqueue("rq_app.noop", result_ttl=0)


def call_mark(path):
    queue.enqueue("rq_app.mark", path)


def call_nap(seconds):
    queue.enqueue("rq_app.nap", seconds)


def call_echo(value):
    job = queue.enqueue("rq_app.echo", value)
    while (result := job.return_value(refresh=True)) is None:
        time.sleep(0.001)
    return result


def call_many(count):
    queue.enqueue_many([Queue.prepare_data("rq_app.noop", result_ttl=0) for _ in range(count)])


if __name__ == "__main__":
    from rq import SimpleWorker
    from rq.worker_pool import WorkerPool

    WorkerPool([queue], connection=connection, num_workers=int(sys.argv[1]), worker_class=SimpleWorker).start(
        logging_level="ERROR"
    )
