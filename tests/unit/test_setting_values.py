"""Values of settings: what is accepted, what is an error, environment variables, URLs without passwords."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celery import Celery
from celery.app.censor import filter_hidden_settings, sanitize_url
from celery.app.checks import check, nearest_name, parse_text, variable_of
from celery.app.defaults import SETTINGS, strtobool
from celery.exceptions import ImproperlyConfigured


def conf(**settings):
    return Celery("x", set_as_current=False, fixups=[], **settings).conf


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "given", "used"),
        [
            ("worker_prefetch_multiplier", "4", 4),
            ("task_time_limit", "1.5", 1.5),
            ("result_expires", timedelta(hours=1), timedelta(hours=1)),
            ("result_expires", "3600", 3600),
            ("task_always_eager", "yes", True),
            ("task_always_eager", "off", False),
            ("task_always_eager", 1, 1),
            ("imports", "proj.tasks", ("proj.tasks",)),
            ("imports", ["a", "b"], ["a", "b"]),
            ("accept_content", ["json"], ["json"]),
            ("accept_content", "json,yaml", ("json", "yaml")),
            ("accept_content", {"json"}, {"json"}),
            ("broker_url", ["amqp://a", "amqp://b"], ["amqp://a", "amqp://b"]),
            ("broker_use_ssl", {"keyfile": "x"}, {"keyfile": "x"}),
            ("task_default_priority", 5, 5),
            ("task_queues", [], []),
            ("result_backend", object, object),
            ("worker_concurrency", "auto", "auto"),
        ],
    )
    def test_what_celery_accepts_is_accepted(self, name, given, used):
        settings = conf(**{name: given})
        assert getattr(settings, name) == used
        assert settings[name] == given  # read back as it was set

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("worker_prefetch_multiplier", "four", "a whole number"),
            ("task_time_limit", [1], "a number"),
            ("task_always_eager", "maybe", "true or false"),
            ("task_serializer", ["json"], "a string"),
            ("beat_schedule", "x", "a dict"),
            ("broker_transport_options", "x", "a dict"),
            ("imports", 3, "a list or tuple"),
            ("broker_url", {"host": "x"}, "a URL or a list of URLs"),
            ("task_queues", "q", "a list of Queue"),
        ],
    )
    def test_wrong_types_say_setting_value_and_what_is_expected(self, name, value, expected):
        settings = conf(**{name: value})
        with pytest.raises(ImproperlyConfigured, match=name) as caught:
            getattr(settings, name)
        assert repr(value) in str(caught.value)
        assert expected in str(caught.value)

    @pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
    def test_every_default_is_valid(self, row):
        assert check(row.name, row.default) == row.default

    def test_strtobool(self):
        assert [strtobool(word) for word in ("1", "TRUE", "yes", "on")] == [True] * 4
        assert [strtobool(word) for word in ("0", "false", "No", "off")] == [False] * 4
        assert strtobool(True) is True
        with pytest.raises(TypeError, match="Cannot coerce 'x' to type bool"):
            strtobool("x")


#: A text for each type, and what it is read as.
TEXTS = {
    "string": ("x", "x"),
    "int": ("7", 7),
    "float": ("2.5", 2.5),
    "bool": ("true", True),
    "bytes": ("x", b"x"),
    "dict": ('{"a": 1}', {"a": 1}),
    "list": ('["a", "b"]', ["a", "b"]),
    "tuple": ("a,b", ("a", "b")),
    "any": ('{"a": 1}', {"a": 1}),
}


class TestEnvironment:
    @pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
    def test_every_setting_has_a_variable(self, row, monkeypatch):
        text, value = TEXTS[row.type]
        monkeypatch.setenv(variable_of(row.name), text)
        assert conf()[row.name] == value

    def test_words_for_an_any_setting(self):
        assert parse_text("worker_concurrency", "auto") == "auto"
        assert parse_text("worker_concurrency", "3") == 3

    def test_lists(self):
        assert parse_text("accept_content", "json, yaml") == ("json", "yaml")
        assert parse_text("broker_url", '["amqp://a", "amqp://b"]') == ["amqp://a", "amqp://b"]
        assert parse_text("broker_url", "amqp://a;amqp://b") == "amqp://a;amqp://b"
        assert parse_text("broker_use_ssl", '{"keyfile": "x"}') == {"keyfile": "x"}
        assert parse_text("broker_use_ssl", "on") is True

    def test_empty_is_unset(self, monkeypatch):
        monkeypatch.setenv("CELERY_TASK_SERIALIZER", "")
        assert conf().task_serializer == "json"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("worker_prefetch_multiplier", "x"),
            ("task_always_eager", "x"),
            ("beat_schedule", "x"),
            ("beat_schedule", "{"),
        ],
    )
    def test_a_wrong_value_names_the_variable(self, name, text, monkeypatch):
        monkeypatch.setenv(variable_of(name), text)
        settings = conf()
        with pytest.raises(ImproperlyConfigured, match=variable_of(name)):
            settings[name]

    def test_it_counts_as_set(self, monkeypatch):
        monkeypatch.setenv("CELERY_WORKER_PREFETCH_MULTIPLIER", "1")
        settings = conf()
        assert settings.value_set_for("worker_prefetch_multiplier")
        assert "worker_prefetch_multiplier: 1" in settings.humanize()


class TestNearestName:
    @pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
    def test_right_names_are_left_alone(self, row):
        assert nearest_name(row.name) is None
        assert row.old is None or nearest_name(row.old) is None

    def test_far_names_are_left_alone(self):
        for name in ("flower_basic_auth", "redbeat_lock_timeout", "DATABASES", "task", "queue", "result_x"):
            assert nearest_name(name) is None


class TestCensor:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://:pw@h:1/0", "redis://:********@h:1/0"),
            ("redis://u:pw@h:1/0", "redis://u:********@h:1/0"),
            ("a;redis://:p@h", "a;redis://:********@h"),
            ("db+mysql://u:p@h/d", "db+mysql://u:********@h/d"),
            ("mongodb://u:p@a:1,b:2/x", "mongodb://u:********@a:1,b:2/x"),
            ("https://x?sig=abc&se=1", "https://x?sig=abc&se=1"),
            ("cache+memcached://a:1;b:2/", "cache+memcached://a:1;b:2/"),
            ("sentinel://:pw@a:1;sentinel://:pw@b:2", "sentinel://:********@a:1;sentinel://:********@b:2"),
            ("redis://h", "redis://h"),
            ("rpc", "rpc"),
            ("redis://:p@s:s;w@h/0", "redis://:********@h/0"),
            ("redis://:p/w@h/0", "redis://:********@h/0"),
            ("sqlite:////srv/a:b@c/store.db", "sqlite:////srv/a:b@c/store.db"),
            (
                "azureblockblob://DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc==;EndpointSuffix=x",
                "azureblockblob://DefaultEndpointsProtocol=https;AccountName=a;AccountKey=********;EndpointSuffix=x",
            ),
            (
                "azureblockblob://SharedAccessSignature=sv=1&sig=abc;BlobEndpoint=https://x",
                "azureblockblob://SharedAccessSignature=********;BlobEndpoint=https://x",
            ),
            (None, None),
        ],
    )
    def test_urls(self, url, shown):
        assert sanitize_url(url) == shown

    def test_settings(self):
        given = {
            "CELERY_RESULT_BACKEND": "db+mysql://u:p@h/x",
            "task_default_routing_key": "k",
            "foo": {"api_key": "x", "bar": {"password": "y"}},
            "beat_schedule": {"a": 1},
            "BROKER_URL": "amqp://u:p@h",
        }
        assert filter_hidden_settings(given) == {
            "CELERY_RESULT_BACKEND": "db+mysql://u:********@h/x",
            "task_default_routing_key": "********",
            "foo": {"api_key": "********", "bar": {"password": "********"}},
            "beat_schedule": {"a": 1},
            "BROKER_URL": "amqp://u:********@h",
        }
