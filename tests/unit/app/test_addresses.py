"""Where an app's brokers are: lists, and the settings for single parts of a URL."""

from __future__ import annotations

import pytest

from celery import Celery
from celery.app.addresses import broker_urls, shown
from celery.apps.banner import configuration_lines
from celery.exceptions import ImproperlyConfigured


def urls_of(**settings):
    conf = Celery(set_as_current=False, **settings).conf
    return broker_urls(conf, conf.broker_read_url)


@pytest.mark.parametrize(
    ("settings", "urls"),
    [
        ({"broker_url": "redis://a"}, ["redis://a"]),
        ({"broker_url": "redis://a;redis://b/2"}, ["redis://a", "redis://b/2"]),
        ({"broker_url": ["redis://a", "redis://b;redis://c"]}, ["redis://a", "redis://b", "redis://c"]),
        ({"broker_url": ("redis://a",)}, ["redis://a"]),
        ({"broker_url": "sqlite:///a;b.db"}, ["sqlite:///a;b.db"]),
        ({"broker_url": "amqp://a", "broker_read_url": ["amqp://r1", "r2"]}, ["amqp://r1", "amqp://r2"]),
        ({"result_backend": "redis://"}, ["amqp://guest@localhost//"]),
    ],
)
def test_urls(settings, urls):
    assert list(urls_of(**settings)) == urls


PARTS = {
    "broker_user": "me",
    "broker_password": "p@ss",
    "broker_port": 99,
    "broker_vhost": "v",
}


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"broker_host": "h", **PARTS}, "amqp://me:p%40ss@h:99/v"),
        ({"broker_host": "h", "broker_transport": "redis", "broker_port": 1}, "redis://h:1"),
        ({"broker_transport": "redis"}, "redis://"),
        ({"broker_host": "h", "broker_vhost": "/"}, "amqp://h//"),
        ({"broker_url": "amqp://h", **PARTS}, "amqp://me:p%40ss@h:99/v"),
        ({"broker_url": "amqp://you:q@h:1/w", **PARTS}, "amqp://you:q@h:1/w"),
        ({"broker_url": "amqp://you:@h//", **PARTS}, "amqp://you@h:99//"),
        ({"broker_url": "redis://[::1]/0", "broker_port": 5}, "redis://[::1]:5/0"),
        ({"broker_url": "redis://h?x=1", "broker_vhost": 3}, "redis://h/3?x=1"),
        ({"broker_url": "redis://h", "broker_transport": "rediss"}, "rediss://h"),
        ({"broker_url": "memory://x", **PARTS}, "memory://x"),
        ({"broker_url": "sqla+sqlite:///f.db", **PARTS}, "sqla+sqlite:///f.db"),
        ({"broker_url": "amqp://h", "broker_transport": "my.module:Transport"}, "amqp://h"),
    ],
)
def test_parts(settings, url):
    assert urls_of(**settings) == (url,)


def test_every_alternate_is_completed():
    settings = {"broker_url": "amqp://a;amqp://you:q@b", "broker_user": "me", "broker_password": "p"}
    assert urls_of(**settings) == ("amqp://me:p@a", "amqp://you:q@b")


def test_lists_hold_strings():
    with pytest.raises(ImproperlyConfigured, match="a URL or a list of URLs"):
        urls_of(broker_url=["redis://a", 7])


def test_passwords_of_lists_are_not_shown():
    urls = ["redis://:secret@a", "redis://:secret@b"]
    assert shown(urls) == "redis://:**@a;redis://:**@b"

    class Worker:
        app = Celery(set_as_current=False, broker_url=urls)
        concurrency, pool_name, task_events = 1, "solo", False

    assert dict(configuration_lines(Worker()))["transport"] == shown(urls)
