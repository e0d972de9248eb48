"""Settings: sources, precedence, old and new names, namespaces, laziness."""

from __future__ import annotations

import pickle
import threading
import types
import warnings

import pytest

from celery import Celery
from celery.app import defaults
from celery.app.checks import SettingNameWarning, _warned
from celery.app.settings import Settings
from celery.exceptions import CDeprecationWarning, ImproperlyConfigured


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("CELERY_"):
            monkeypatch.delenv(name)
    _warned.clear()


def make(source=None, **kwargs):
    app = Celery("x", set_as_current=False, fixups=[], **kwargs)
    if source is not None:
        app.config_from_object(source)
    return app


class TestTable:
    def test_every_setting_of_celery_and_ours(self):
        ours = {row.name for row in defaults.SETTINGS if row.old is None}
        assert len(defaults.SETTINGS) - len(ours) == 207
        assert ours == {
            "broker_dead_letter_limit",
            "broker_dead_letter_ttl",
            "embedded_store",
            "embedded_store_synchronous",
            "fleet",
            "result_resumable",
            "task_max_deliveries",
            "task_publish_timeout",
            "task_unknown",
            "task_reject_on_failure",
            "worker_shutdown_grace",
        }

    def test_each_row_is_complete(self):
        assert len({row.name for row in defaults.SETTINGS}) == len(defaults.SETTINGS)
        for row in defaults.SETTINGS:
            assert row.doc
            assert row.type in defaults.Option.typemap

    @pytest.mark.parametrize(
        ("name", "default"),
        [
            ("broker_connection_max_retries", None),  # changed: for ever
            ("broker_heartbeat", 10),  # changed
            ("task_publish_timeout", 10.0),
            ("task_max_deliveries", 5),
            ("fleet", "mixed"),
            ("worker_prefetch_multiplier", 4),
            ("accept_content", ("json",)),
            ("result_backend_max_retries", float("inf")),
        ],
    )
    def test_defaults(self, name, default):
        assert make().conf[name] == default

    def test_names_that_others_import(self):
        assert defaults.NAMESPACES["worker"]["concurrency"].type == "any"
        assert defaults.NAMESPACES["timezone"].default is None
        assert repr(defaults.Option(3)) == "<Option: type->string default->3>"
        assert defaults.Option(3, type="int").to_python("4") == 4
        assert len(dict(defaults.flatten(defaults.NAMESPACES))) == len(defaults.SETTINGS)

    def test_find(self):
        assert defaults.find("concurrency")[:2] == ("worker", "concurrency")
        assert defaults.find("worker_concurrency")[:2] == (None, "worker_concurrency")
        assert defaults.find("serializer")[:2] == ("event", "serializer")
        assert defaults.find("url", "broker")[:2] == ("broker", "url")
        with pytest.raises(KeyError):
            defaults.find("nosuch")

    def test_defaults_are_not_shared_between_apps(self):
        make().conf.beat_schedule["a"] = 1
        assert make().conf.beat_schedule == {}


class TestPrecedence:
    def test_code_beats_added_defaults_beat_source_beat_builtin(self):
        app = make({"task_serializer": "source", "result_serializer": "source", "event_serializer": "source"})
        app.add_defaults({"task_serializer": "added", "result_serializer": "added"})
        app.conf.task_serializer = "code"
        conf = app.conf
        assert (
            conf.task_serializer,
            conf.result_serializer,
            conf.event_serializer,
            conf.security_digest,
        ) == (
            "code",
            "added",
            "source",
            "sha256",
        )

    def test_latest_defaults_first(self):
        app = make()
        app.add_defaults({"x": 1, "y": 1})
        app.add_defaults(lambda: {"x": 2})
        assert (app.conf.x, app.conf.y) == (2, 1)
        app.add_defaults({"x": 3})
        assert app.conf.x == 3
        app.conf.add_defaults({"x": 4})
        assert app.conf.x == 4

    def test_set_before_the_source_wins_over_it(self):
        app = make()
        app.conf.task_serializer = "one"
        app.config_from_object({"task_serializer": "two"})
        assert app.conf.task_serializer == "one"

    def test_constructor_keywords(self):
        app = make({"task_serializer": "a", "result_expires": 5}, task_serializer="b", include=["m"])
        assert (app.conf.task_serializer, app.conf.result_expires, app.conf.include) == ("b", 5, ["m"])

    def test_a_later_source_replaces_the_earlier(self):
        app = make({"task_serializer": "a", "worker_concurrency": 3})
        assert app.conf.task_serializer == "a"
        app.config_from_object({"task_serializer": "b"})
        assert (app.conf.task_serializer, app.conf.worker_concurrency) == ("b", None)

    @pytest.mark.parametrize(
        ("variable", "setting"),
        [
            ("CELERY_BROKER_URL", "broker_url"),
            ("CELERY_BROKER_READ_URL", "broker_read_url"),
            ("CELERY_BROKER_WRITE_URL", "broker_write_url"),
            ("CELERY_RESULT_BACKEND", "result_backend"),
        ],
    )
    def test_four_variables_beat_code(self, monkeypatch, variable, setting):
        app = make()
        app.conf[setting] = "amqp://code"
        monkeypatch.setenv(variable, "amqp://env")
        assert getattr(app.conf, setting) == "amqp://env"
        assert app.conf[setting] == "amqp://env"

    def test_read_url_set_by_code_beats_the_general_variable(self, monkeypatch):
        app = make(broker_read_url="amqp://r")
        monkeypatch.setenv("CELERY_BROKER_URL", "amqp://env")
        assert (app.conf.broker_read_url, app.conf.broker_write_url) == ("amqp://r", "amqp://env")

    def test_other_variables_are_below_code_and_above_everything_else(self, monkeypatch):
        monkeypatch.setenv("CELERY_TASK_SERIALIZER", "env")
        app = make({"task_serializer": "source"})
        app.add_defaults({"task_serializer": "added"})
        assert app.conf.task_serializer == "env"
        app.conf.task_serializer = "code"
        assert app.conf.task_serializer == "code"


class TestLaziness:
    def test_recording_reads_nothing(self):
        app = make("no_such_configuration_module")
        conf = app.conf
        conf.xx = 1
        conf.update({"a": 1}, b=2)
        conf.setdefault("worker_pool", "solo")
        assert "xx" in conf
        assert "worker_concurrency" not in conf
        assert not app.configured
        with pytest.raises(ModuleNotFoundError):
            conf.worker_concurrency  # noqa: B018

    def test_references_taken_before_keep_working(self):
        app = make({"worker_concurrency": 3})
        before = app.conf
        assert before.worker_concurrency == 3
        assert app.conf is before
        assert app.configured

    def test_a_failed_load_is_tried_again(self):
        app = make("no_such_configuration_module")
        for _ in range(2):
            with pytest.raises(ModuleNotFoundError):
                app.conf.timezone  # noqa: B018
        app.config_from_object({"timezone": "UTC"})
        assert app.conf.timezone == "UTC"

    def test_signals_around_loading(self):
        app = make({"worker_concurrency": 3})
        seen = []
        app.on_configure.connect(lambda **kw: seen.append(("before", kw["sender"])), weak=False)
        app.on_after_configure.connect(
            lambda source, **kw: seen.append(("after", source.worker_concurrency)), weak=False
        )
        app.conf.timezone  # noqa: B018
        assert seen == [("before", app), ("after", 3)]

    def test_threads_wait_for_the_one_that_reads(self):
        app = make({"worker_concurrency": 3})
        loads, seen = [], []
        reading, started = threading.Event(), threading.Event()

        def slow(**kw):
            loads.append(threading.get_ident())
            reading.set()
            started.wait(10)

        app.on_configure.connect(slow, weak=False)
        others = [threading.Thread(target=lambda: seen.append(app.conf.worker_concurrency)) for _ in range(4)]
        first = threading.Thread(target=lambda: seen.append(app.conf.worker_concurrency))
        first.start()
        assert reading.wait(10)
        for thread in others:
            thread.start()
        started.set()
        for thread in (first, *others):
            thread.join(10)
        assert seen == [3] * 5
        assert len(loads) == 1

    def test_force_reads_at_once(self):
        app = make()
        assert app.config_from_object({"worker_concurrency": 3}, force=True) is app.conf
        assert app.configured

    def test_silent_also_when_read_later(self):
        app = make()
        app.config_from_object("no_such_configuration_module", silent=True)
        assert app.conf.task_serializer == "json"

    def test_environment_variable_names_the_module(self, monkeypatch):
        with pytest.raises(ImproperlyConfigured, match="The environment variable 'NOPE' is not set"):
            make().config_from_envvar("NOPE")
        assert make().config_from_envvar("NOPE", silent=True) is False


class TestSources:
    def test_every_form(self, tmp_path, monkeypatch):
        (tmp_path / "conf_forms.py").write_text(
            "timezone = 'Europe/London'\nclass Config:\n    timezone = 'UTC'\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import conf_forms

        for source, expected in (
            ("conf_forms", "Europe/London"),
            ("conf_forms:Config", "UTC"),
            ("conf_forms.Config", "UTC"),
            (conf_forms, "Europe/London"),
            (conf_forms.Config, "UTC"),
            (conf_forms.Config(), "UTC"),
            ({"timezone": "UTC"}, "UTC"),
        ):
            assert make(source).conf.timezone == expected

    def test_a_file_name_is_answered_with_the_module_name(self, tmp_path, monkeypatch):
        (tmp_path / "conf_file.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="did you mean 'conf_file'"):
            make("conf_file.py").conf.timezone  # noqa: B018

    def test_prepare_config(self):
        class App(Celery):
            def prepare_config(self, c):
                return {**c, "worker_concurrency": 9}

        assert App(set_as_current=False, config_source={}).conf.worker_concurrency == 9


OLD_INTO_NEW = """

Cannot mix new and old setting keys, please rename the
following settings to the new format:

CELERYD_CONCURRENCY                  -> worker_concurrency

"""
NEW_INTO_OLD = """

Cannot mix new setting names with old setting names, please
rename the following settings to use the old format:

result_serializer                    -> CELERY_RESULT_SERIALIZER

Or change all of the settings to use the new format :)

"""


class TestOldNames:
    @pytest.mark.parametrize("row", [row for row in defaults.SETTINGS if row.old], ids=lambda row: row.name)
    def test_each_old_name_sets_the_new_one(self, row):
        value = object()
        conf = make({row.old: value}).conf
        assert conf[row.name] is value
        assert conf[row.old] is value

    def test_both_spellings_read_the_same(self):
        for source in ({"CELERYD_CONCURRENCY": 3}, {"worker_concurrency": 3}):
            conf = make(source).conf
            assert (conf.worker_concurrency, conf.CELERYD_CONCURRENCY, conf["CELERYD_CONCURRENCY"]) == (
                3,
                3,
                3,
            )

    @pytest.mark.parametrize(
        ("source", "text"),
        [
            ({"task_serializer": 1, "CELERYD_CONCURRENCY": 3, "result_serializer": 1}, OLD_INTO_NEW),
            ({"CELERYD_CONCURRENCY": 3, "result_serializer": 1}, OLD_INTO_NEW),  # a tie: the new style
            ({"CELERY_TASK_SERIALIZER": 1, "CELERYD_CONCURRENCY": 3, "result_serializer": 1}, NEW_INTO_OLD),
        ],
    )
    def test_mixing_is_refused(self, source, text):
        with pytest.raises(ImproperlyConfigured) as caught:
            make(source).conf.timezone  # noqa: B018
        assert str(caught.value) == text

    def test_giving_both_spellings_of_one_setting_is_allowed(self):
        conf = make({"CELERYD_CONCURRENCY": 3, "worker_concurrency": 4, "task_serializer": "x"}).conf
        assert (conf.worker_concurrency, conf.CELERYD_CONCURRENCY) == (4, 3)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_changes_may_use_either_style(self, when):
        app = make({"CELERYD_CONCURRENCY": 1})
        if when == "after":
            app.conf.finalize()
        app.conf.worker_concurrency = 3
        assert (app.conf.worker_concurrency, app.conf.CELERYD_CONCURRENCY) == (3, 3)
        app.conf.CELERYD_CONCURRENCY = 4
        assert (app.conf.worker_concurrency, app.conf.CELERYD_CONCURRENCY) == (4, 4)

    def test_the_worker_can_warn(self):
        conf = make({"CELERYD_CONCURRENCY": 3}).conf
        with pytest.warns(CDeprecationWarning, match="Use the worker_concurrency instead"):
            assert conf.maybe_warn_deprecated_settings()
        assert conf.deprecated_settings == {"CELERYD_CONCURRENCY"}
        assert not make({}).conf.maybe_warn_deprecated_settings()


class TestNamespace:
    def namespaced(self, source, **kwargs):
        app = make(**kwargs)
        app.config_from_object(source, namespace="CELERY")
        return app.conf

    def test_django_style(self):
        settings = types.SimpleNamespace(
            CELERY_TASK_SERIALIZER="yaml", CELERY_task_queues=["q"], CELERY_FOO="bar", DEBUG=True
        )
        conf = self.namespaced(settings)
        assert conf.task_serializer == "yaml"
        assert conf.task_queues == ["q"]
        assert (conf.foo, conf.CELERY_TASK_SERIALIZER, conf.get("DEBUG")) == ("bar", "yaml", True)

    def test_code_still_wins(self):
        conf = self.namespaced({"CELERY_TASK_SERIALIZER": "yaml"}, task_serializer="pickle")
        assert conf.task_serializer == "pickle"
        conf.task_serializer = "json"
        assert conf.task_serializer == "json"

    def test_no_detection_of_old_names(self):
        conf = self.namespaced(
            {"CELERY_TASK_SERIALIZER": "yaml", "CELERYD_CONCURRENCY": 3, "task_routes": {}}
        )
        assert conf.task_serializer == "yaml"
        assert conf.deprecated_settings == set()

    def test_near_misses_carry_the_prefix(self):
        with pytest.warns(SettingNameWarning, match="did you mean 'CELERY_TASK_SERIALIZER'"):
            self.namespaced({"CELERY_TASK_SERIALISER": "yaml", "TASK_SERIALISER": "other"}).finalize()


class TestNearMisses:
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("worker_concurency", "worker_concurrency"),
            ("task_serialiser", "task_serializer"),
            ("broker_ulr", "broker_url"),
            ("TASK_SERIALIZER", "task_serializer"),
            ("CELERY_BROKER_URL", "broker_url"),
            ("CELERYD_CONCURENCY", "CELERYD_CONCURRENCY"),
        ],
    )
    def test_one_warning_with_the_right_name(self, wrong, right):
        with pytest.warns(SettingNameWarning, match=f"did you mean '{right}'") as caught:
            [make({wrong: 1}).conf.finalize() for _ in range(2)]
        assert len(caught) == 1

    def test_also_for_assignments(self):
        app = make()
        with pytest.warns(SettingNameWarning, match="did you mean 'timezone'"):
            app.conf.timezon = "UTC"

    def test_others_are_kept_silently(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            conf = make({
                "CELERY_SEND_TASK_ERROR_EMAILS": True, "redbeat_redis_url": "x", "SECRET_KEY": "x", "_x": 1,
                "task_route": lambda: None, "redis_client_name": "x", "worker_logfile": "x", "my": 1,
            }).conf  # fmt: skip
            assert conf.redbeat_redis_url == "x"


class TestMapping:
    def test_reading(self):
        conf = make({"worker_concurrency": 3, "foo": 1}).conf
        with pytest.raises(AttributeError, match="'Settings' object has no attribute 'nosuch'"):
            conf.nosuch  # noqa: B018
        with pytest.raises(KeyError):
            conf["nosuch"]
        assert conf.first("nosuch", "worker_concurrency") == 3
        assert conf.get_by_parts("worker", "concurrency") == 3
        assert conf.find_value_for_key("concurrency") == 3
        assert conf.find_value_for_key("worker_concurrency") == 3
        assert conf.find_option("concurrency", "worker").key == "concurrency"
        assert (conf.value_set_for("worker_concurrency"), conf.value_set_for("task_serializer")) == (
            True,
            False,
        )
        assert dict(conf.without_defaults()) == {"worker_concurrency": 3, "foo": 1}
        assert "foo" in conf
        assert len(conf) == len(defaults.SETTINGS) + 1
        assert set(conf.keys()) == set(conf) == {key for key, _ in conf.items()}

    def test_writing(self):
        conf = make({"foo": 1}).conf
        conf.finalize()
        with pytest.raises(KeyError, match="Key not found in the first mapping: 'foo'"):
            conf.pop("foo")
        assert conf.pop("foo", 4) == 4
        conf.foo = 2
        assert conf.pop("foo") == 2
        assert conf.foo == 1
        conf.bar = 1
        del conf.bar
        assert "bar" not in conf
        conf.foo = 5
        conf.clear()
        assert conf.foo == 1
        conf.update({"a": 1}, b=2)
        assert (conf.a, conf.b) == (1, 2)

    def test_copies_are_independent(self):
        conf = make({"foo": 1}).conf
        copy = conf.copy()
        copy.foo = 2
        assert (conf.foo, copy.foo, type(copy)) == (1, 2, Settings)

    def test_standing_for_one_another(self):
        conf = make({"task_default_queue": "q", "TIME_ZONE": "Europe/Oslo", "broker_url": "amqp://"}).conf
        assert (conf.task_default_exchange, conf.task_default_routing_key) == ("q", "q")
        assert (conf.timezone, conf["timezone"]) == ("Europe/Oslo", None)
        assert (conf.broker_read_url, conf.broker_write_url) == ("amqp://", "amqp://")

    def test_apps_are_pickled_with_presets_and_source(self):
        app = make({"worker_concurrency": 3}, result_expires=4, broker="amqp://h")
        again = pickle.loads(pickle.dumps(app))
        assert (again.main, again.conf.worker_concurrency, again.conf.result_expires) == ("x", 3, 4)


class TestShowing:
    def test_humanize(self):
        conf = make(
            {"task_routes": {"a": {"queue": "x"}}, "imports": ["a" * 30, "b" * 30], "foo": "bar"}
        ).conf
        assert conf.humanize() == (
            "task_routes: \n 'a': {'queue': 'x'}}\n"
            f"imports: ['{'a' * 30}',\n '{'b' * 30}']\n"
            "foo: 'bar'"
        )  # fmt: skip

    def test_secrets_are_never_shown(self):
        secret = "hunter2"
        conf = make({
            "broker_url": [f"amqp://u:{secret}@a", f"amqp://u:{secret}@b"],
            "broker_read_url": f"amqp://u:{secret}@c//",
            "result_backend": f"redis://:{secret}@h/1",
            "redis_password": secret,
            "s3_secret_access_key": secret,
            "my_api_token": secret,
            "database_url": f"mysql://u:{secret}@h",
            "nested": {"deep": {"password": secret}},
        }).conf  # fmt: skip
        for shown in (conf.humanize(), conf.humanize(with_defaults=True), repr(conf), str(conf.table())):
            assert secret not in shown
        assert conf.table()["result_backend"] == "redis://:********@h/1"
        assert secret in conf.humanize(censored=False)

    def test_bugreport(self):
        text = make({"broker_url": "redis://:hunter2@h/0"}).bugreport()
        assert text.startswith("\nsoftware -> celery:5.7.0 (collider) kombu:")
        assert "settings -> transport:redis results:disabled" in text
        assert "broker_url: 'redis://:********@h/0'" in text
