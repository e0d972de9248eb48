"""The same application on Dramatiq, with its Redis or RabbitMQ broker."""

import os
import time

import dramatiq

url = os.environ["BENCH_BROKER"]
if url.startswith("redis"):
    from dramatiq.brokers.redis import RedisBroker as Broker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = Broker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker as Broker

    broker = Broker(url=url)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop():
    pass


@dramatiq.actor
def mark(path):
    with open(path, "w") as file:
        file.write(str(time.time()))


if url.startswith("redis"):

    @dramatiq.actor(store_results=True)
    def echo(value):
        return value


@dramatiq.actor
def nap(seconds):
    time.sleep(seconds)


def call_noop():
    noop.send()


def call_mark(path):
    mark.send(path)


def call_nap(seconds):
    nap.send(seconds)


def call_echo(value):
    return echo.send(value).get_result(block=True, timeout=30_000)


def call_many(count):
    for _ in range(count):
        noop.send()
