"""An application on one broker of every kind, and its workers."""

from __future__ import annotations

import threading
import uuid

import pytest

from celery import Celery
from celery.worker import WorkController, state


class Started:
    """A worker in a thread; `gate` holds its tasks, `ran` names those that have run."""

    def __init__(self, app, name="w@here", **options):
        self.ready = threading.Event()
        self.worker = WorkController(app=app, hostname=name, ready_callback=self._ready, **options)
        self.thread = threading.Thread(target=self.worker.start, daemon=True)

    def _ready(self, consumer):
        self.ready.set()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(20)
        return self.worker

    def __exit__(self, *exc):
        self.worker.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(params=["memory", "sqlite", "redis", "rabbitmq", "filesystem"])
def broker_url(request, tmp_path):
    if request.param in ("redis", "rabbitmq"):
        return request.getfixturevalue("redis_url" if request.param == "redis" else "amqp_url")
    return {
        "memory": f"memory://{uuid.uuid4().hex}",
        "sqlite": f"sqlite:///{tmp_path}/store.db",
        "filesystem": f"filesystem://{tmp_path}",
    }[request.param]


@pytest.fixture
def make_app(tmp_path):
    made = []

    def make(broker, **settings):
        app = Celery("controlled", broker=broker, backend=f"sqlite:///{tmp_path}/results.db")
        app.conf.update(settings)
        if broker.startswith("filesystem"):
            folder = str(tmp_path / "messages")
            (tmp_path / "messages").mkdir()
            app.conf.broker_transport_options = {
                "data_folder_in": folder,
                "data_folder_out": folder,
                "control_folder": str(tmp_path / "bindings"),
            }
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(broker_url, make_app):
    return make_app(broker_url)


@pytest.fixture(autouse=True)
def nothing_is_revoked():
    state.reset_state()
    yield
    state.reset_state()


@pytest.fixture
def gate():
    """Opened at the end of a test, whatever happens."""
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def holding(app, gate):
    """A task that waits for the gate."""

    @app.task(name="holding")
    def hold(label):
        gate.wait(30)
        return label

    return hold
