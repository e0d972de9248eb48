"""Noticing that somebody else's `celery` distribution is installed over, or beside, this one."""

from __future__ import annotations

import sys

from celery.utils.installed import version_of

#: What the version of our own stand-in distribution contains.
OURS = "+celeriac"


def foreign_celery() -> str | None:
    """The version of a distribution called `celery` that is not our stand-in; None if there is none."""
    version = version_of("celery")
    return None if version is None or OURS in version else version


def refuse_foreign_celery() -> None:
    """Refuse to start where both own the folder `celery/`: half of each would run.

    Raises:
        SystemExit: with one line that says what to do.
    """
    version = foreign_celery()
    if version is not None:
        sys.exit(
            f"Error: celery {version} is installed in this environment beside celeriac, over the same folder. "
            "Run: pip uninstall -y celery celeriac && pip install celeriac"
        )
