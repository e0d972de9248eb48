"""Elastic's agent: a transaction a task in the trace of the program, its outcome, and errors."""

import json
import os

import elasticapm
from elasticapm.contrib.celery import register_exception_tracking, register_instrumentation
from elasticapm.transport.base import Transport

from celery import Celery


class Notes(Transport):
    def send(self, data, forced_flush=False):
        pass

    def queue(self, event_type, data, flush=False):
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(json.dumps([event_type, data], default=str) + "\n")


client = elasticapm.Client(
    service_name="shop",
    transport_class=f"{__name__}.Notes" if __name__ != "__main__" else "elastic_tasks.Notes",
    metrics_interval="0s",
    central_config=False,
    cloud_provider="none",
)
app = Celery("elastic_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
register_instrumentation(client)
register_exception_tracking(client)


@app.task(name="elastic_tasks.add")
def add(x, y):
    return x + y


@app.task(name="elastic_tasks.fail")
def fail():
    raise ValueError("broken")


@app.task(name="elastic_tasks.again", bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(exc=KeyError("once"), countdown=0)
    return "at last"


def main():
    client.begin_transaction("shop")
    results = [add.delay(2, 3), again.delay(), fail.delay()]
    print([result.get(timeout=20, propagate=False) for result in results])
    client.end_transaction("shop", "OK")


if __name__ == "__main__":
    main()
