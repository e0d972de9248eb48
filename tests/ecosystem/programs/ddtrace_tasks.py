"""Datadog's tracer: spans of sending and running, errors, retries; each process notes its own."""

import json
import os

import ddtrace

ddtrace.patch(celery=True, kombu=True)
from ddtrace.trace import TraceFilter, tracer  # noqa: E402

from celery import Celery  # noqa: E402


class Notes(TraceFilter):
    def process_trace(self, trace):
        with open(os.environ["NOTES"], "a") as notes:
            for span in trace:
                tags = {
                    key: value
                    for key, value in span.get_tags().items()
                    if key.startswith(("celery.", "error.type"))
                }
                notes.write(
                    json.dumps(
                        {
                            "name": span.name,
                            "resource": span.resource,
                            "error": span.error,
                            "tags": tags,
                            "id": span.span_id,
                            "parent": span.parent_id,
                            "trace": str(span.trace_id),
                            "service": span.service,
                        }
                    )
                    + "\n"
                )
        return


tracer.configure(trace_processors=[Notes()])
app = Celery("ddtrace_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("broken")


@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(exc=KeyError("once"), countdown=0)
    return "at last"


def main():
    with tracer.trace("shop"):
        results = [add.delay(2, 3), again.delay(), fail.delay()]
        print([result.get(timeout=20, propagate=False) for result in results])
        print((add.s(1, 1) | add.s(1)).delay().get(timeout=20))


if __name__ == "__main__":
    main()
