"""`python -m celery`, and the `celery` command."""

from __future__ import annotations

import os
import sys

__all__ = ("main",)


def main() -> None:
    """Run the command line; ends the process."""
    if "multiprocessing" not in sys.argv[0]:
        # Tasks of `__main__` in a child started anew are named by the program's file.
        os.environ.setdefault("MP_MAIN_FILE", os.path.abspath(sys.argv[0]))
    from celery.bin.celery import main as run  # noqa: PLC0415 - the environment first

    sys.exit(run())


if __name__ == "__main__":
    main()
