"""The same application for Celeriac and for Celery: whichever is installed runs it."""

import asyncio
import os
import time

from celery import Celery

app = Celery("bench")
app.conf.update(broker_connection_retry_on_startup=True)
if "BENCH_RESULTS" in os.environ:
    app.conf.result_backend = os.environ["BENCH_RESULTS"]
if "BENCH_EVENTS" in os.environ:
    app.conf.worker_send_task_events = True
url = os.environ.get("BENCH_BROKER")
if url:
    app.conf.broker_url = url
if url and url.startswith("filesystem"):
    folder = os.environ["BENCH_HOME"]
    os.makedirs(f"{folder}/queue", exist_ok=True)
    os.makedirs(f"{folder}/control", exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": f"{folder}/queue",
        "data_folder_out": f"{folder}/queue",
        "control_folder": f"{folder}/control",
    }


@app.task(name="bench.noop", ignore_result=True)
def noop():
    pass


@app.task(name="bench.mark", ignore_result=True)
def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


@app.task(name="bench.echo")
def echo(value):
    return value


@app.task(name="bench.late", ignore_result=True, acks_late=True)
def late():
    pass


@app.task(name="bench.late_result", acks_late=True)
def late_result():
    return 1


@app.task(name="bench.stored")
def stored():
    return 1


@app.task(name="bench.fail", ignore_result=True)
def fail():
    raise ValueError("it fails")


@app.task(name="bench.nap", ignore_result=True)
def nap(seconds):
    time.sleep(seconds)


@app.task(name="bench.anap", ignore_result=True)
async def anap(seconds):
    await asyncio.sleep(seconds)


#: Which task is sent in numbers.
subject = app.tasks[os.environ.get("BENCH_TASK", "bench.noop")]


def call_noop():
    subject.delay()


def call_nap(seconds):
    app.tasks[os.environ.get("BENCH_NAP", "bench.nap")].delay(seconds)


def call_mark(path):
    mark.delay(path)


def call_later(seconds):
    noop.apply_async(countdown=seconds)


def call_echo(value):
    return echo.delay(value).get(timeout=30)


def call_many(count):
    if hasattr(app, "send_many"):
        app.send_many(subject, [()] * count)
        return
    from celery import group

    group(subject.s() for _ in range(count)).apply_async()
