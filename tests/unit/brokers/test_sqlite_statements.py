"""Statements of the store are written so that newer Pythons take them."""

from __future__ import annotations

import re
from pathlib import Path

import celery


def test_no_numbered_placeholders():
    """Python 3.12 warns of them where values are given in order, and 3.14 refuses them."""
    numbered = re.compile(r"\?\d")
    folder = Path(celery.__file__).parent
    found = [str(path) for path in folder.rglob("*.py") if numbered.search(path.read_text())]
    assert found == []
