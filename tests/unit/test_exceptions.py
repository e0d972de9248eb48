import base64
import pickle
from datetime import datetime

import pytest

from celery import exceptions as exc


@pytest.mark.parametrize(
    ("retry", "text", "shown", "human"),
    [
        (exc.Retry(), "Retry at None", "Retry(Retry(...), None, None)", "at None"),
        (exc.Retry("m"), "m", "Retry(Retry(...), None, None)", "at None"),
        (
            exc.Retry(None, KeyError("x"), 10),
            "Retry in 10s: KeyError('x')",
            "Retry(Retry(...), KeyError('x'), 10)",
            "in 10s",
        ),
        (exc.Retry(None, "why", 3.5), "Retry in 3.5s: why", "Retry(Retry(...), 'why', 3.5)", "in 3.5s"),
        (
            exc.Retry(when=datetime(2026, 1, 1)),
            "Retry at 2026-01-01 00:00:00",
            "Retry(Retry(...), None, datetime.datetime(2026, 1, 1, 0, 0))",
            "at 2026-01-01 00:00:00",
        ),
    ],
)
def test_retry_says_why_and_when(retry, text, shown, human):
    assert str(retry) == text
    assert repr(retry) == shown
    assert retry.humanize() == human


def test_retry_keeps_what_it_was_given():
    cause = KeyError("x")
    retry = exc.Retry("m", cause, 10, is_eager=True, sig="s")
    assert (retry.message, retry.exc, retry.excs, retry.when) == ("m", cause, "KeyError('x')", 10)
    assert (retry.is_eager, retry.sig) == (True, "s")
    assert retry.args == (retry, cause, 10)


def test_retry_survives_a_cause_whose_repr_fails():
    class Broken(Exception):
        def __repr__(self):
            raise ValueError("no")

    assert "Unrepresentable" in exc.Retry(exc=Broken()).excs


@pytest.mark.parametrize(
    ("error", "shown", "args"),
    [
        (exc.Reject("why", requeue=True), "reject requeue=True: why", ("why", True)),
        (exc.Reject(), "reject requeue=False: None", (None, False)),
        (exc.Ignore("x"), "Ignore('x')", ("x",)),
        (
            exc.NotRegistered("t"),
            "Task of kind 't' never registered, please make sure it's imported.",
            ("t",),
        ),
        (
            exc.BackendStoreError("e", state="S", task_id="t"),
            "BackendStoreError('e') state:S task_id:t",
            ("e",),
        ),
        (exc.BackendGetMetaError(task_id="t"), "BackendGetMetaError() task_id:t", ()),
        (exc.SoftTimeLimitExceeded(), "SoftTimeLimitExceeded()", ()),
    ],
)
def test_repr_and_args(error, shown, args):
    assert repr(error) == shown
    assert error.args == args


def test_time_limits_say_their_seconds():
    assert str(exc.TimeLimitExceeded(5)) == "TimeLimitExceeded(5,)"
    assert str(exc.SoftTimeLimitExceeded()) == "SoftTimeLimitExceeded()"


def test_the_tree():
    assert issubclass(exc.NotRegistered, KeyError)
    assert issubclass(exc.QueueNotFound, KeyError)
    for name in ("Retry", "Ignore", "Reject"):
        assert issubclass(getattr(exc, name), exc.TaskPredicate)
    for name in ("WorkerShutdown", "WorkerTerminate"):
        assert issubclass(getattr(exc, name), SystemExit)
    assert exc.RetryTaskError is exc.Retry
    assert not issubclass(exc.OperationalError, exc.CeleryError)


def test_every_public_name_exists():
    assert [name for name in exc.__all__ if not hasattr(exc, name)] == []


def test_command_exception_is_click_s():
    import click

    error = exc.CeleryCommandException("no", exit_code=3)
    assert isinstance(error, click.ClickException)
    assert (str(error), error.exit_code) == ("no", 3)
    assert pickle.loads(pickle.dumps(error)).exit_code == 3


def test_unknown_names_are_errors():
    with pytest.raises(AttributeError, match="Nope"):
        exc.Nope  # noqa: B018


def test_reraise_keeps_the_traceback():
    try:
        raise KeyError("x")
    except KeyError as error:
        tb = error.__traceback__
    with pytest.raises(KeyError):
        exc.reraise(KeyError, KeyError("y"), tb)


@pytest.mark.parametrize(
    "error",
    [
        exc.Retry("m", KeyError("x"), 10),
        exc.Reject("why", True),
        exc.MaxRetriesExceededError("m", task_args=(1,), task_kwargs={"a": 1}),
        exc.BackendStoreError("e", state="S", task_id="t"),
        exc.SoftTimeLimitExceeded(1),
        exc.OperationalError("gone"),
    ],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(error, protocol):
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert (repr(back), str(back)) == (repr(error), str(error))


#: Made by Celery 5.7.0: pickle protocol 2, base64.
FROM_CELERY = {
    "Retry(Retry(...), KeyError('x'), 10)": "gAJjY2VsZXJ5LmV4Y2VwdGlvbnMKUmV0cnkKcQBYAQAAAG1xAWNleGNlcHRpb25zCktleUVycm9yCnECWAEAAAB4cQOFcQRScQVLCodxBlJxBy4=",
    "reject requeue=True: why": "gAJjY2VsZXJ5LmV4Y2VwdGlvbnMKUmVqZWN0CnEAWAMAAAB3aHlxAYiGcQJScQN9cQQoWAYAAAByZWFzb25xBWgBWAcAAAByZXF1ZXVlcQaIdWIu",
    "BackendStoreError('err') state:S task_id:t": "gAJjY2VsZXJ5LmV4Y2VwdGlvbnMKQmFja2VuZFN0b3JlRXJyb3IKcQBYAwAAAGVycnEBhXECUnEDfXEEKFgFAAAAc3RhdGVxBVgBAAAAU3EGWAcAAAB0YXNrX2lkcQdYAQAAAHRxCHViLg==",
    "MaxRetriesExceededError('m')": "gAJjY2VsZXJ5LmV4Y2VwdGlvbnMKTWF4UmV0cmllc0V4Y2VlZGVkRXJyb3IKcQBYAQAAAG1xAYVxAlJxA31xBChYCQAAAHRhc2tfYXJnc3EFSwGFcQZYCwAAAHRhc2tfa3dhcmdzcQd9cQhYAQAAAGFxCUsBc3ViLg==",
    "TaskRevokedError('revoked')": "gAJjY2VsZXJ5LmV4Y2VwdGlvbnMKVGFza1Jldm9rZWRFcnJvcgpxAFgHAAAAcmV2b2tlZHEBhXECUnEDLg==",
}


@pytest.mark.parametrize(("shown", "data"), list(FROM_CELERY.items()))
def test_pickles_of_celery_are_read(shown, data):
    assert repr(pickle.loads(base64.b64decode(data))) == shown
