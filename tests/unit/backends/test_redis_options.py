"""What the settings mean for connections to the Redis that keeps the results."""

from __future__ import annotations

import pytest

from celery import Celery
from celery.backends.redis.options import Retries


def backend_of(url="redis://h:6380/2", **conf):
    return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf).backend


def test_defaults():
    settings = backend_of()._settings
    (target,) = settings.targets
    assert (target.place.host, target.place.port, target.database) == ("h", 6380, 2)
    assert (settings.timeout, settings.connect_timeout, target.place.keepalive) == (20.0, 4.0, True)


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("redis_socket_timeout", 7.0, lambda b: b._settings.timeout),
        ("redis_socket_timeout", 120.0, lambda b: b._settings.timeout),
        ("redis_socket_connect_timeout", 3.0, lambda b: b._settings.connect_timeout),
        ("redis_socket_keepalive", False, lambda b: b._settings.targets[0].place.keepalive),
        ("redis_username", "me", lambda b: b._settings.targets[0].username),
        ("redis_password", "pw", lambda b: b._settings.targets[0].password),
        ("redis_client_name", "mine", lambda b: b._settings.client_name),
        ("redis_backend_health_check_interval", 5, lambda b: b._quiet),
        ("redis_max_connections", 9, lambda b: b.connparams["max_connections"]),
        ("redis_retry_on_timeout", True, lambda b: b.connparams["retry_on_timeout"]),
    ],
)
def test_settings(setting, value, found):
    assert found(backend_of(**{setting: value})) == value


def place(backend):
    target = backend._settings.targets[0]
    return target.place.host, target.place.port, target.database


@pytest.mark.parametrize(("setting", "value"), [("redis_host", "other"), ("redis_port", 7), ("redis_db", 3)])
def test_the_url_wins_over_the_place_in_settings(setting, value):
    assert place(backend_of(**{setting: value})) == ("h", 6380, 2)
    assert value in place(backend_of("redis", **{setting: value}))


def test_options_in_the_url_and_in_the_transport_options():
    assert backend_of("redis://h/0?socket_timeout=3")._settings.timeout == 3.0
    options = {"socket_timeout": 4, "global_keyprefix": "x"}
    assert backend_of(result_backend_transport_options=options)._settings.timeout == 4.0


def test_parameters_for_redis_py():
    given = backend_of("rediss://me:pw@h:1/2?ssl_cert_reqs=CERT_NONE").connparams
    assert given["host"] == "h"
    assert given["ssl_cert_reqs"] == "none"
    assert (given["username"], given["password"], given["db"]) == ("me", "pw", 2)
    assert backend_of("socket:///tmp/r.sock").connparams["path"] == "/tmp/r.sock"


def test_additional_connection_errors():
    options = {"additional_connection_errors": [KeyError, "builtins.LookupError"]}
    backend = backend_of(result_backend_transport_options=options)
    assert backend.exception_safe_to_retry(LookupError())
    assert not backend_of().exception_safe_to_retry(LookupError())


def test_a_policy():
    policy = Retries.of({"max_retries": 3, "interval_start": 1, "interval_step": 2, "interval_max": 4})
    assert [policy.pause(n) for n in (1, 2, 3)] == [1, 3, 4]
    assert policy.patience == 8
    assert Retries.of({"max_retries": None}).patience == float("inf")


def test_uris_hide_passwords():
    backend = backend_of(
        "sentinel://:pw1@a/0;sentinel://:pw2@b", result_backend_transport_options={"master_name": "m"}
    )
    assert backend.as_uri() == "sentinel://:**@a/0;sentinel://:**@b"
    assert "pw1" in backend.as_uri(include_password=True)
    assert "pw2" not in str(backend._settings.url)


def test_the_public_names():
    import redis

    from celery.backends.redis import RedisBackend, SentinelBackend, SentinelManagedSSLConnection

    assert issubclass(SentinelBackend, RedisBackend)
    assert issubclass(SentinelManagedSSLConnection, redis.SSLConnection)
    assert RedisBackend.__module__ == "celery.backends.redis"
