"""What all backends share, and the disabled one."""

from __future__ import annotations

import json
import pickle
import threading
from datetime import timedelta

import pydantic
import pytest
from tests.support import wait_until

from celery import Celery
from celery.backends import base
from celery.backends.base import (
    COMPRESSED_PAYLOAD_MAGIC,
    Backend,
    BaseBackend,
    BaseDictBackend,
    BaseKeyValueStoreBackend,
    DisabledBackend,
    KeyValueStoreBackend,
    SyncBackendMixin,
    compress_payload,
    decompress_payload,
)
from celery.backends.encoding import restore_exception
from celery.exceptions import BackendGetMetaError, BackendStoreError, SecurityError, WorkerLostError


def make(**conf):
    return Celery("t", broker="memory://", set_as_current=False, **conf)


class Store(KeyValueStoreBackend):
    """A dictionary that can fail."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data = {}
        self.failures = 0
        self.tries = 0

    def _maybe_fail(self):
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise OSError("the store is away")

    def get(self, key):
        return self.data.get(key)

    def mget(self, keys):
        return [self.data.get(key) for key in keys]

    def set(self, key, value):
        self._maybe_fail()
        self.data[key] = value

    def exception_safe_to_retry(self, exc):
        return isinstance(exc, OSError)


def test_the_family_is_celerys():
    assert issubclass(KeyValueStoreBackend, BaseKeyValueStoreBackend)
    assert issubclass(BaseKeyValueStoreBackend, Backend)
    assert issubclass(Backend, SyncBackendMixin)
    assert BaseDictBackend is BaseBackend
    assert issubclass(DisabledBackend, BaseBackend)
    assert {getattr(base, n).__module__ for n in ("Backend", "KeyValueStoreBackend")} == {base.__name__}


# -- the disabled backend


def test_disabled():
    app = make()
    backend = app.backend
    assert isinstance(backend, DisabledBackend)
    assert backend.as_uri() == "disabled://"
    assert backend.store_result("a", 1, "SUCCESS") is None
    backend.mark_as_done("a", 1)
    backend.mark_as_failure("a", ValueError())
    backend.cleanup()
    text = "No result backend is configured.\nPlease see the documentation for more information."
    result = app.AsyncResult("a")
    for ask in (
        result.get, result.ready, lambda: result.state, lambda: backend.get_state("a"),
        lambda: backend.wait_for("a"), lambda: backend.get_many(["a"]), lambda: backend.get_task_meta("a"),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError) as info:
            ask()
        assert str(info.value) == text
    with pytest.raises(NotImplementedError):
        result.forget()


# -- keys, prefixes, expiry, itself


def test_keys():
    store = Store(app=make())
    assert store.get_key_for_task("x") == b"celery-task-meta-x"
    assert store.get_key_for_task("x", ".s") == b"celery-task-meta-x.s"
    assert store.get_key_for_group("g") == b"celery-taskset-meta-g"
    assert store.get_key_for_chord("c") == b"chord-unlock-c"
    assert store._strip_prefix(b"celery-task-meta-x") == "x"


@pytest.mark.parametrize(
    ("prefix", "key"), [("pre", b"pre_celery-task-meta-x"), ("pre:", b"pre:celery-task-meta-x")]
)
def test_a_global_prefix(prefix, key):
    store = Store(app=make(result_backend_transport_options={"global_keyprefix": prefix}))
    assert store.get_key_for_task("x") == key


def test_expiry():
    store = Store(app=make())
    assert store.expires == 86400
    assert store.prepare_expires(timedelta(minutes=1)) == 60
    assert store.prepare_expires(3.5) == 3.5
    assert store.prepare_expires(3.5, int) == 3
    assert Store(app=make(result_expires=60)).expires == 60
    assert Store(app=make(), expires=7).expires == 7


def test_persistence():
    assert Store(app=make()).prepare_persistent() is True
    assert Store(app=make()).prepare_persistent(False) is False
    assert Store(app=make(result_persistent=False)).prepare_persistent() is False


def test_the_password_is_masked():
    store = Store(app=make(), url="redis://u:secret@h/1")
    assert store.as_uri() == "redis://u:**@h/1"
    assert store.as_uri(include_password=True) == "redis://u:secret@h/1"


def test_pickles():
    app = make(backend="cache+memory://")
    app.set_current()
    app.set_default()
    backend = pickle.loads(pickle.dumps(app.backend))
    assert type(backend) is type(app.backend)
    assert backend.app is app


def test_a_driver_that_lacks_something_says_what():
    class Lazy(BaseBackend):
        pass

    with pytest.raises(NotImplementedError, match=r"Lazy has no _get_task_meta_for\(\)"):
        Lazy(app=make()).get_task_meta("a")


# -- the form of what is stored


def test_the_stored_form_of_a_success():
    store = Store(app=make())
    store.mark_as_done("a", {"x": [1]})
    found = json.loads(store.data[b"celery-task-meta-a"])
    assert list(found) == ["status", "result", "traceback", "children", "date_done", "task_id"]
    assert found.pop("date_done").endswith("+00:00")
    assert found == {
        "status": "SUCCESS", "result": {"x": [1]}, "traceback": None, "children": None, "task_id": "a",
    }  # fmt: skip


def test_the_stored_form_of_a_failure():
    store = Store(app=make())
    store.mark_as_failure("a", ValueError("boom", 7), traceback="tb")
    found = json.loads(store.data[b"celery-task-meta-a"])
    assert found["result"] == {"exc_type": "ValueError", "exc_message": ["boom", 7], "exc_module": "builtins"}
    assert found["traceback"] == "tb"


class Wordy(Exception):
    """Its text is not in its `args`, and it cannot be made without arguments."""

    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"code {self.code}"


class Mute(Wordy):
    def __str__(self):
        raise ZeroDivisionError


class Constant(Exception):
    def __str__(self):
        return "always the same"


def invalid():
    class Model(pydantic.BaseModel):
        x: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Model(x="none")
    return caught.value


def test_the_text_of_an_exception_is_stored_if_nothing_else_says_it():
    store = Store(app=make())
    assert store.prepare_exception(Wordy(code=5))["exc_message"] == ("code 5",)
    assert "code 5" in str(store.exception_to_python(store.prepare_exception(Wordy(code=5))))
    assert store.prepare_exception(Mute(code=5))["exc_message"] == ()
    assert store.prepare_exception(Constant())["exc_message"] == ()
    assert isinstance(store.exception_to_python(store.prepare_exception(Constant())), Constant)
    (text,) = store.prepare_exception(invalid())["exc_message"]
    assert "valid integer" in text


def test_our_exceptions_are_stored_under_our_name_and_stock_names_are_read():
    store = Store(app=make())
    store.mark_as_failure("a", WorkerLostError("gone"))
    assert json.loads(store.data[b"celery-task-meta-a"])["result"]["exc_module"] == "celery.exceptions"
    stock = {"exc_type": "WorkerLostError", "exc_message": ["gone"], "exc_module": "billiard.exceptions"}
    found = restore_exception(stock)
    assert isinstance(found, WorkerLostError)
    assert found.args == ("gone",)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ({"exc_type": "Nope", "exc_message": ["x"], "exc_module": "no.such.module"}, "Nope('x')"),
        ({"exc_type": "ValueError", "exc_message": "text"}, "ValueError('text')"),
        ({"exc_type": "ValueError", "exc_message": "text", "exc_module": None}, "ValueError('text')"),
        ({"exc_type": "ValueError", "exc_message": "text", "exc_module": "builtins"}, "ValueError('text')"),
        (
            {"exc_type": "ValueError", "exc_message": {"a": 1}, "exc_module": "builtins"},
            "ValueError({'a': 1})",
        ),
        ({"exc_type": "ValueError", "exc_module": "builtins"}, "ValueError('')"),
        ({"exc_type": "A.B", "exc_message": ["x"], "exc_module": "zz"}, "B('x')"),
        (
            {"exc_type": "UnicodeDecodeError", "exc_message": ["t"], "exc_module": "builtins"},
            """Exception("<class 'UnicodeDecodeError'>(['t'])")""",
        ),
    ],
)
def test_reading_exceptions(stored, text):
    assert repr(restore_exception(stored)) == text


def test_classes_made_for_unknown_exceptions():
    found = restore_exception({"exc_type": "Nope", "exc_message": ["x"], "exc_module": "no.such"})
    assert type(found).__mro__[1] is Exception
    assert type(found).__module__ == "celery.exceptions"


@pytest.mark.parametrize(
    "stored",
    [
        {"exc_type": "system", "exc_message": "rm", "exc_module": "os"},
        {"exc_type": "int", "exc_message": ("3",), "exc_module": "builtins"},
        {"exc_type": "dumps", "exc_message": ("a",), "exc_module": "json"},
    ],
)
def test_only_exception_classes_are_made(stored):
    with pytest.raises(SecurityError, match="Expected an exception class, got"):
        restore_exception(stored)


def test_no_exception_and_no_type():
    assert restore_exception(None) is None
    with pytest.raises(ValueError, match="must include the exception type"):
        restore_exception({"exc_message": ["x"]})
    with pytest.raises(ValueError, match="must be a mapping"):
        restore_exception("hello")


# -- compression


def test_compressed_payloads():
    packed = compress_payload(b"x" * 100, "gzip")
    assert packed.startswith(COMPRESSED_PAYLOAD_MAGIC + b"application/x-gzip\x00")
    assert decompress_payload(packed) == b"x" * 100
    assert decompress_payload(memoryview(packed)) == b"x" * 100
    assert decompress_payload(b"plain") == b"plain"
    assert decompress_payload("text") == "text"


def test_compression_needs_a_store_of_bytes(tmp_path):
    with pytest.warns(UserWarning, match="result_compression='gzip' is ignored"):
        Store(app=make(result_compression="gzip"))
    app = make(result_compression="gzip", backend=f"sqlite:///{tmp_path}/s.db")
    app.backend.mark_as_done("a", "x" * 1000)
    raw = app.backend.get(app.backend.get_key_for_task("a"))
    assert raw.startswith(COMPRESSED_PAYLOAD_MAGIC)
    assert make(backend=f"sqlite:///{tmp_path}/s.db").backend.get_result("a") == "x" * 1000


# -- a store that is away


def test_storing_is_tried_again():
    store = Store(app=make(result_backend_base_sleep_between_retries_ms=1))
    store.failures = 3
    store.mark_as_done("a", 1)
    assert store.get_result("a") == 1
    assert store.tries == 4


def test_not_if_the_user_says_so():
    store = Store(app=make(result_backend_always_retry=False))
    store.failures = 1
    with pytest.raises(BackendStoreError, match="Could not store the result of task a: the store is away"):
        store.mark_as_done("a", 1)
    assert store.tries == 1


def test_a_limit_of_tries():
    store = Store(app=make(result_backend_max_retries=2, result_backend_base_sleep_between_retries_ms=1))
    store.failures = 99
    with pytest.raises(BackendStoreError) as info:
        store.mark_as_failure("a", KeyError())
    assert store.tries == 3
    assert (info.value.task_id, info.value.state) == ("a", "FAILURE")
    assert isinstance(info.value.__cause__, OSError)


def test_giving_up():
    store = Store(app=make(result_backend_base_sleep_between_retries_ms=60_000))
    store.failures = 99
    store.give_up = threading.Event()

    def give_up():
        wait_until(lambda: store.tries)
        store.give_up.set()

    timer = threading.Thread(target=give_up)
    timer.start()
    with pytest.raises(BackendStoreError):
        store.mark_as_done("a", 1)
    timer.join()
    assert store.tries == 2


def test_errors_of_other_kinds_come_through():
    class Picky(Store):
        def exception_safe_to_retry(self, exc):
            return False

        def get(self, key):
            raise OSError("no")

    store = Picky(app=make())
    with pytest.raises(OSError, match="no"):
        store.mark_as_done("a", 1)
    with pytest.raises(OSError, match="no"):
        store.get_task_meta("a")


def test_reading_says_what_is_wrong():
    class Away(Store):
        def get(self, key):
            raise OSError("the store is away")

    with pytest.raises(BackendGetMetaError, match="Could not read the result of a: the store is away"):
        Away(app=make()).get_task_meta("a")


def test_fail_from_current_stack():
    store = Store(app=make())
    try:
        raise KeyError("k")
    except KeyError:
        text = store.fail_from_current_stack("a")
    assert "KeyError: 'k'" in text
    meta = store.get_task_meta("a")
    assert meta["status"] == "FAILURE"
    assert meta["traceback"] == text
