"""Sentry's integration: spans of publishing and running, errors, the trace from the one to the other."""

import os

import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration

from celery import Celery, chord, group

sentry_sdk.init(
    dsn=os.environ["SENTRY_DSN"],
    integrations=[CeleryIntegration(propagate_traces=True)],
    traces_sample_rate=1.0,
    default_integrations=False,
)

app = Celery("sentry_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(text):
    raise ValueError(text)


@app.task(throws=(KeyError,))
def expected():
    raise KeyError("expected")


@app.task(bind=True, max_retries=1)
def again(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return self.request.headers.get("custom")


class Calling(app.Task):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs) * 10


@app.task(base=Calling)
def custom(x):
    return x


def main():
    with sentry_sdk.start_transaction(op="function", name="shop"):
        results = [
            add.delay(2, 3),
            app.send_task("sentry_tasks.custom", (4,)),
            again.apply_async(headers={"custom": "yes"}),
            fail.delay("broken"),
            expected.delay(),
        ]
        (add.s(1, 1) | add.s(1)).delay().get(timeout=20)
        group(add.s(1, 1), add.s(2, 2)).delay().get(timeout=20)
        chord([add.s(1, 1), add.s(2, 2)], total.s()).delay().get(timeout=20)
        values = [result.get(timeout=20, propagate=False) for result in results]
    print(values)
    sentry_sdk.flush()


if __name__ == "__main__":
    main()
