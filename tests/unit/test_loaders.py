"""Loaders: configuration modules, settings of the command line, discovering task modules."""

from __future__ import annotations

import sys

import pytest

from celery import Celery, signals
from celery.exceptions import NotConfigured
from celery.loaders import get_loader_cls
from celery.loaders.app import AppLoader
from celery.loaders.base import find_related_module
from celery.loaders.default import Loader
from celery.utils.imports import NotAPackage


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield Celery("x", set_as_current=False, fixups=[], broker="memory://")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_by_alias_and_path():
    assert get_loader_cls("app") is AppLoader
    assert get_loader_cls("default") is Loader
    assert get_loader_cls("celery.loaders.app:AppLoader") is AppLoader
    assert get_loader_cls(Loader) is Loader


class TestConfiguration:
    def test_app_loader_reads_only_what_the_environment_names(self, app, tmp_path, monkeypatch):
        (tmp_path / "celeryconfig.py").write_text("task_serializer = 'yaml'")
        assert app.conf.task_serializer == "json"
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "celeryconfig")
        assert Celery(set_as_current=False).conf.task_serializer == "yaml"

    def test_default_loader_reads_celeryconfig(self, app, tmp_path):
        assert Celery(loader="default", set_as_current=False).conf.task_serializer == "json"
        (tmp_path / "celeryconfig.py").write_text("task_serializer = 'yaml'")
        assert Celery(loader="default", set_as_current=False).conf.task_serializer == "yaml"

    def test_default_loader_warns_when_asked_to(self, app, monkeypatch):
        monkeypatch.setenv("C_WNOCONF", "1")
        with pytest.warns(NotConfigured, match="No celeryconfig module found"):
            assert Loader(app).read_configuration() == {}

    def test_an_import_error_inside_celeryconfig_is_shown(self, app, tmp_path):
        (tmp_path / "celeryconfig.py").write_text("import no_such_module")
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            Loader(app).read_configuration()

    @pytest.mark.parametrize("loader", [AppLoader, Loader])
    def test_a_file_name_gets_a_suggestion(self, app, tmp_path, monkeypatch, loader):
        (tmp_path / "my_conf.py").write_text("")
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "my_conf.py")
        with pytest.raises(NotAPackage) as caught:
            loader(app).read_configuration()
        assert str(caught.value) == (
            "Error: Module 'my_conf.py' doesn't exist, or it's not a valid Python module name.\n"
            "Did you mean 'my_conf'?\n"
        )


class TestCommandLineSettings:
    @pytest.mark.parametrize(
        ("word", "setting"),
        [
            ("worker.prefetch_multiplier=10", ("worker_prefetch_multiplier", 10)),
            (".prefetch_multiplier=10", ("worker_prefetch_multiplier", 10)),
            ("_prefetch_multiplier=10", ("worker_prefetch_multiplier", 10)),
            ("worker_prefetch_multiplier=10", ("worker_prefetch_multiplier", 10)),
            ("broker.url=a=b", ("broker_url", "a=b")),
            ("worker.CONCURRENCY=3", ("worker_concurrency", "3")),
            ("task.always_eager=yes", ("task_always_eager", True)),
            ("result.expires=10", ("result_expires", 10.0)),
            ("worker.foo=(int)3", ("worker_foo", 3)),
            ("worker.x=(tuple)[1,2]", ("worker_x", [1, 2])),
            ('beat.schedule=(dict){"a":1}', ("beat_schedule", {"a": 1})),
            ("worker.x=(bool)on", ("worker_x", True)),
            ("worker.x=(string)3", ("worker_x", "3")),
            ("worker.shutdown_grace=5", ("worker_shutdown_grace", 5.0)),
            ('accept_content=["json"]', ("accept_content", ["json"])),
        ],
    )
    def test_words(self, app, word, setting):
        assert app.loader.cmdline_config_parser([word], "worker") == dict([setting])

    @pytest.mark.parametrize(
        ("word", "error", "text"),
        [
            ("abc", ValueError, "not enough values to unpack"),
            ("x.y=3", KeyError, "x"),
            ("worker.nosuch=3", KeyError, "nosuch"),
            ("worker.x=(nope)3", KeyError, "nope"),
            ("worker.prefetch_multiplier=x", ValueError, "'worker_prefetch_multiplier': invalid literal"),
            ("task.always_eager=maybe", TypeError, "Cannot coerce 'maybe' to type bool"),
        ],
    )
    def test_mistakes(self, app, word, error, text):
        with pytest.raises(error, match=text):
            app.loader.cmdline_config_parser([word], "worker")


class TestModules:
    def test_find_related_module(self):
        import json.decoder

        assert find_related_module("json", "decoder") is json.decoder
        assert find_related_module("json", None) is json
        assert find_related_module("json", "tasks") is None
        assert find_related_module("json.JSONDecoder", "decoder") is json.decoder
        with pytest.raises(ModuleNotFoundError):
            find_related_module("no_such_package", "tasks")

    def test_errors_inside_a_task_module_propagate(self, app, tmp_path):
        (tmp_path / "pkg_a").mkdir()
        (tmp_path / "pkg_a/__init__.py").write_text("")
        (tmp_path / "pkg_a/tasks.py").write_text("import no_such_module")
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            app.autodiscover_tasks(["pkg_a"], force=True)

    def test_autodiscovery_is_lazy(self, app, tmp_path):
        for name in ("pkg_b", "pkg_c"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / "pkg_b/tasks.py").write_text("")
        app.autodiscover_tasks(lambda: ["pkg_b", "pkg_c"])
        assert "pkg_b.tasks" not in sys.modules
        app.loader.import_default_modules()
        assert "pkg_b.tasks" in sys.modules
        assert app.loader.task_modules == {"pkg_b.tasks"}

    def test_imports_then_include(self, app, tmp_path):
        for name in ("mod_a", "mod_b"):
            (tmp_path / f"{name}.py").write_text("")
        app.conf.update(imports="mod_a", include=["mod_b"])
        seen = []
        receiver = lambda sender, **kw: seen.append(sender)  # noqa: E731
        signals.import_modules.connect(receiver, sender=app)
        app.loader.init_worker()
        app.loader.init_worker()
        assert seen == [app], "once"
        assert app.loader.default_modules == ("mod_a", "mod_b")
        assert app.loader.task_modules == {"mod_a", "mod_b"}

    def test_what_a_receiver_raises_is_raised(self, app):
        def receiver(**kw):
            raise LookupError("x")

        signals.import_modules.connect(receiver, sender=app)
        with pytest.raises(LookupError):
            app.loader.import_default_modules()

    def test_hooks(self, app):
        calls = []

        class Mine(AppLoader):
            def on_worker_init(self):
                calls.append("init")

            def on_worker_process_init(self):
                calls.append("process")

            def on_worker_shutdown(self):
                calls.append("shutdown")

        loader = Mine(app)
        loader.init_worker()
        loader.init_worker_process()
        loader.shutdown_worker()
        assert calls == ["init", "process", "shutdown"]
