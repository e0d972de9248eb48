import pickle
import subprocess
import sys

import pytest

from celery import _foreign, exceptions

PAIRS = [
    ("kombu.exceptions", "OperationalError"),
    ("kombu.exceptions", "EncodeError"),
    ("kombu.exceptions", "DecodeError"),
    ("kombu.exceptions", "ContentDisallowed"),
    ("billiard.exceptions", "SoftTimeLimitExceeded"),
    ("billiard.exceptions", "TimeLimitExceeded"),
    ("billiard.exceptions", "WorkerLostError"),
    ("billiard.exceptions", "Terminated"),
]


@pytest.mark.parametrize(("module", "name"), PAIRS)
def test_what_is_raised_is_caught_by_either_clause(module, name):
    foreign = getattr(pytest.importorskip(module), name)
    own = getattr(exceptions, name)
    raised = _foreign.raised_class(own)
    assert issubclass(raised, own)
    assert issubclass(raised, foreign)
    assert raised is _foreign.raised_class(own), "made once"
    assert (raised.__module__, raised.__name__) == ("celery.exceptions", name)
    assert _foreign.own_class(raised) is own
    assert _foreign.own_class(foreign) is own


@pytest.mark.parametrize(("module", "name"), PAIRS)
def test_stock_paths_are_mapped_on_read(module, name):
    assert _foreign.own_path(module, name) == ("celery.exceptions", name)


def test_other_paths_are_left_alone():
    assert _foreign.own_path("builtins", "KeyError") == ("builtins", "KeyError")
    assert _foreign.own_class(KeyError) is KeyError
    assert _foreign.stock_class(KeyError) is KeyError
    assert _foreign.raised_class(KeyError) is KeyError


def test_a_foreign_exception_is_adopted():
    import billiard.exceptions

    lost = billiard.exceptions.WorkerLostError("gone")
    adopted = _foreign.adopt(lost)
    assert isinstance(adopted, exceptions.WorkerLostError)
    assert adopted.args == ("gone",)
    assert _foreign.adopt(adopted) is adopted
    other = KeyError("x")
    assert _foreign.adopt(other) is other


def test_twins_pickle_as_what_stock_celery_knows():
    import kombu.exceptions

    error = _foreign.operational_error("gone")
    assert type(pickle.loads(pickle.dumps(error))) is exceptions.OperationalError
    assert type(pickle.loads(pickle.dumps(_foreign.encode_error("bad")))) is kombu.exceptions.EncodeError
    assert type(pickle.loads(pickle.dumps(exceptions.DecodeError("bad")))) is kombu.exceptions.DecodeError


def test_nothing_foreign_is_imported_to_raise():
    code = (
        "import sys; from celery import _foreign, exceptions\n"
        "e = _foreign.operational_error('x')\n"
        "assert type(e) is exceptions.OperationalError\n"
        "assert not {'kombu', 'billiard', 'vine', 'amqp'} & set(sys.modules)\n"
        "import kombu.exceptions\n"
        "assert isinstance(_foreign.operational_error('x'), kombu.exceptions.OperationalError)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
