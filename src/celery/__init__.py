"""Celeriac: a distributed task queue, imported as `celery`.

The public names are loaded when first used, so that `import celery` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from celery._state import current_app as current_app
    from celery._state import current_task as current_task
    from celery.app import bugreport as bugreport
    from celery.app import shared_task as shared_task
    from celery.app.base import Celery as Celery
    from celery.app.task import Task as Task
    from celery.canvas import Signature as Signature
    from celery.canvas import chain as chain
    from celery.canvas import chord as chord
    from celery.canvas import chunks as chunks
    from celery.canvas import group as group
    from celery.canvas import maybe_signature as maybe_signature
    from celery.canvas import signature as signature
    from celery.canvas import xmap as xmap
    from celery.canvas import xstarmap as xstarmap
    from celery.utils import uuid as uuid

#: Version of this distribution.
celeriac_version = "0.1.0"

SERIES = "collider"

#: Version of Celery whose interface this is: tools split and compare it.
__version__ = "5.7.0"
__author__ = "The Celeriac authors"
__contact__ = ""
__homepage__ = ""
__docformat__ = "markdown"
__keywords__ = "task job queue distributed messaging actor"


class version_info_t(NamedTuple):  # noqa: N801, RUF100 - Celery's name
    """The parts of `__version__`."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


VERSION = version_info = version_info_t(5, 7, 0, "", "")
VERSION_BANNER = f"{__version__} ({SERIES})"

#: Public name -> the module that has it.
_HOMES = {
    "Celery": "celery.app.base",
    "Signature": "celery.canvas",
    "chain": "celery.canvas",
    "chord": "celery.canvas",
    "chunks": "celery.canvas",
    "Task": "celery.app.task",
    "bugreport": "celery.app",
    "current_app": "celery._state",
    "current_task": "celery._state",
    "group": "celery.canvas",
    "maybe_signature": "celery.canvas",
    "shared_task": "celery.app",
    "signature": "celery.canvas",
    "xmap": "celery.canvas",
    "xstarmap": "celery.canvas",
    "uuid": "celery.utils",
}
#: Names that are called differently where they are.
_RENAMED = {"subtask": ("celery.canvas", "signature")}

__all__ = (
    "VERSION",
    "VERSION_BANNER",
    "Celery",
    "Signature",
    "Task",
    "__version__",
    "bugreport",
    "celeriac_version",
    "current_app",
    "current_task",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
    "version_info",
)


def __getattr__(name: str) -> Any:
    module, attribute = _RENAMED.get(name) or (_HOMES.get(name), name)
    if module is not None:
        value = getattr(importlib.import_module(module), attribute)
        # Found directly from now on; a submodule of the same name does not exist.
        globals()[name] = value
        return value
    if not name.startswith("__"):
        # `import celery; celery.result`: submodules load by being named.
        full = f"{__name__}.{name}"
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as exc:
            if exc.name != full:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
