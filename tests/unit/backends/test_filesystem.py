"""What is particular to results in files."""

from __future__ import annotations

import os
import pickle
import time

import pytest

from celery import Celery
from celery.backends.filesystem import FilesystemBackend
from celery.exceptions import ImproperlyConfigured


@pytest.fixture
def make_app(tmp_path):
    def make(url=f"file://{tmp_path}", **conf):
        return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)

    return make


def test_one_file_a_key(make_app, tmp_path):
    app = make_app()
    app.backend.mark_as_done("a", 1)
    app.GroupResult("g", [app.AsyncResult("a")]).save()
    assert sorted(os.listdir(tmp_path)) == ["celery-task-meta-a", "celery-taskset-meta-g"]
    assert (tmp_path / "celery-taskset-meta-g").read_text() == '{"result":[["g",null],[[["a",null],null]]]}'
    assert app.backend.as_uri() == f"file://{tmp_path}"


def test_where_it_is(make_app, tmp_path):
    (tmp_path / "with blank").mkdir()
    assert make_app(f"file://localhost{tmp_path}/with%20blank").backend.path == f"{tmp_path}/with blank"
    with pytest.raises(ImproperlyConfigured, match="should conform to the file URI scheme"):
        _ = make_app("file://elsewhere/path").backend
    with pytest.raises(ImproperlyConfigured, match="please make sure that it exists"):
        _ = make_app(f"file://{tmp_path}/nowhere").backend
    with pytest.raises(ImproperlyConfigured, match="You need to configure a path"):
        FilesystemBackend(app=make_app())


def test_an_id_does_not_leave_the_folder(make_app, tmp_path):
    (tmp_path / "inner").mkdir()
    backend = make_app(f"file://{tmp_path}/inner").backend
    backend.mark_as_done("../../evil/a", 1)
    assert backend.get_result("../../evil/a") == 1
    assert os.listdir(tmp_path) == ["inner"]
    backend.forget("../../evil/a")
    assert os.listdir(tmp_path / "inner") == []


def test_compressed_results(make_app, tmp_path):
    make_app(result_compression="gzip").backend.mark_as_done("a", "x" * 10_000)
    assert os.path.getsize(tmp_path / "celery-task-meta-a") < 1000
    assert len(make_app().backend.get_result("a")) == 10_000


def test_what_has_expired_is_removed(make_app, tmp_path):
    app = make_app(result_expires=3600)
    app.backend.mark_as_done("old", 1)
    app.backend.mark_as_done("new", 1)
    (tmp_path / "of somebody else").write_text("")
    for name in ("celery-task-meta-old", "of somebody else"):
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    app.tasks["celery.backend_cleanup"]()
    assert sorted(os.listdir(tmp_path)) == ["celery-task-meta-new", "of somebody else"]
    make_app(result_expires=0).backend.cleanup()


def test_nothing_half_written_is_left(make_app, tmp_path):
    app = make_app()

    class Broken:
        def encode(self, encoding):
            raise ValueError("no")

        __class__ = str

    with pytest.raises(ValueError, match="no"):
        app.backend.set("key", Broken())
    assert os.listdir(tmp_path) == []


def test_pickled_backends(make_app):
    app = make_app()
    app.set_current()
    app.set_default()
    found = pickle.loads(pickle.dumps(app.backend))
    assert (found.path, found.expires) == (app.backend.path, app.backend.expires)
