"""URLs without their passwords."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(?P<before>://[^/?#@:]*:)(?P<password>[^/?#]*)(?=@)")


def without_password(url: str, mask: str = "**") -> str:
    """The URL (or several, in one text) with every password replaced by `mask`.

    >>> without_password('redis://user:secret@host:6379/1')
    'redis://user:**@host:6379/1'
    """
    return _PASSWORD.sub(lambda match: match["before"] + mask, url)
