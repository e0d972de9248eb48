"""The package itself: what `import celery` gives, and what it costs."""

import subprocess
import sys

import pytest

import celery


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_versions():
    assert celery.__version__ == "5.7.0"
    assert celery.celeriac_version == "0.1.0"
    assert celery.VERSION is celery.version_info
    assert tuple(celery.VERSION) == (5, 7, 0, "", "")
    assert celery.VERSION.major == 5
    assert f"5.7.0 ({celery.SERIES})" == celery.VERSION_BANNER


@pytest.mark.parametrize("name", celery.__all__)
def test_every_public_name_loads(name):
    assert getattr(celery, name) is not None
    assert name in dir(celery)


def test_unknown_names_are_errors():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        celery.nothing_of_the_kind  # noqa: B018


def test_an_import_costs_nothing_until_it_is_used():
    heavy = "{'asyncio', 'kombu', 'billiard', 'click', 'sqlite3', 'logging', 'inspect'}"
    assert (
        run(
            f"import sys; before = set(sys.modules); import celery; print(({heavy} - before) & set(sys.modules))"
        )
        == "set()"
    )


def test_submodules_load_by_being_named():
    assert (
        run("import celery; print(celery.states.SUCCESS, celery.utils.time.rate('1/m') > 0)")
        == "SUCCESS True"
    )


def test_the_leaf_layer_imports_nothing_heavy():
    heavy = "{'asyncio', 'kombu', 'billiard', 'vine', 'amqp', 'click', 'sqlite3', 'socket', 'ssl', 'multiprocessing'}"
    code = f"import sys, celery._state, celery.signals, celery.utils, celery._foreign; print({heavy} & set(sys.modules))"
    assert run(code) == "set()"
