"""OpenTelemetry's instrumentation: a span of publishing and one of running, in one trace; each process notes its own."""

import json
import os
import sys

from opentelemetry import propagate, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from celery import Celery, chord, group
from celery.signals import worker_process_init

app = Celery("otel_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


class Notes(SpanExporter):
    def export(self, spans):
        with open(os.environ["NOTES"], "a") as notes:
            for span in spans:
                parent = None if span.parent is None else f"{span.parent.span_id:x}"
                notes.write(
                    json.dumps(
                        {
                            "name": span.name,
                            "kind": span.kind.name,
                            "trace": f"{span.context.trace_id:x}",
                            "id": f"{span.context.span_id:x}",
                            "parent": parent,
                            "status": span.status.status_code.name,
                            "why": span.status.description,
                            "attributes": dict(span.attributes),
                            "events": [[event.name, dict(event.attributes)] for event in span.events],
                        }
                    )
                    + "\n"
                )
        return SpanExportResult.SUCCESS


@worker_process_init.connect(weak=False)
def instrument(**_):
    trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(Notes()))
    CeleryInstrumentor().instrument()


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise ValueError("broken")


@app.task(bind=True, max_retries=1)
def again(self):
    if self.request.retries == 0:
        raise self.retry(exc=KeyError("once"), countdown=0)
    carrier = {}
    propagate.inject(carrier)
    return bool(carrier)


def main():
    instrument()
    with trace.get_tracer("shop").start_as_current_span("shop"):
        results = [add.delay(2, 3), again.delay(), fail.delay(), app.send_task("otel_tasks.add", (1, 1))]
        print([result.get(timeout=20, propagate=False) for result in results])
        print((add.s(1, 1) | add.s(1)).delay().get(timeout=20))
        print(group(add.s(1, 1), add.s(2, 2)).delay().get(timeout=20))
        print(chord([add.s(1, 1), add.s(2, 2)], total.s()).delay().get(timeout=20))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
