"""`python -m celery` and the `celery` program."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; ends with SystemExit."""
    if "multi" not in sys.argv:
        # Modules of the project are found as `python` itself would find them.
        here = os.getcwd()
        if here not in sys.path and "" not in sys.path:
            sys.path.insert(0, here)
    from celery.bin.celery import main as run  # noqa: PLC0415 - the folder must be in sys.path first

    sys.exit(run())


if __name__ == "__main__":
    main()
