"""New Relic's agent, as its admin script starts it: a background transaction a task; tasks say in which they run."""

import os

import newrelic.agent

from celery import Celery

app = Celery("newrelic_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])


def where():
    transaction = newrelic.agent.current_transaction()
    return transaction and [transaction.name, transaction.group, transaction.background_task]


@app.task
def plain():
    return where()


@app.task(bind=True)
def bound(self):
    return where()


class Calling(app.Task):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


@app.task(base=Calling)
def calling():
    return where()


if __name__ == "__main__":
    print([task.delay().get(timeout=20) for task in (plain, bound, calling)], plain())
