"""What goes wrong for reasons the user can mend is one line, not a traceback."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from celery.brokers.base import BrokerError
from celery.brokers.registry import UnknownTransport
from celery.exceptions import ImproperlyConfigured, OperationalError, SecurityError
from celery.platforms import EX_FAILURE
from celery.utils.imports import NotAPackage

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Errors whose message says what happened, where and what to do.
EXPECTED = (ImproperlyConfigured, OperationalError, SecurityError, BrokerError, UnknownTransport, NotAPackage)


@contextmanager
def shown_as_one_line() -> Iterator[None]:
    """Print expected errors of the block as `Error: ...` and exit with 1; others pass."""
    try:
        yield
    except EXPECTED as error:
        click.echo(f"Error: {str(error).strip()}", err=True)
        sys.exit(EX_FAILURE)
    except BrokenPipeError:
        # Whoever read our output has gone (`celery ... | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EX_FAILURE)
