"""Keeping passwords out of everything that is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Settings whose name contains one of these are never shown.
HIDDEN_SETTINGS = re.compile(
    "API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI", re.IGNORECASE
)
MASK = "********"

_BROKER_URLS = frozenset(("broker_url", "broker_read_url", "broker_write_url"))
_NEXT_URL = re.compile(r";(?=[\w+.-]+://)")
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_AZURE_SECRET = re.compile(r"(?P<name>AccountKey|SharedAccessSignature)=[^;]*", re.IGNORECASE)


def sanitize_url(url: Any, mask: str = MASK) -> Any:
    """Replace the password in a URL, in each of several joined by `;`, and Azure's keys. Others pass unchanged.

    >>> sanitize_url('redis://:secret@localhost:6379/0')
    'redis://:********@localhost:6379/0'
    """
    if not isinstance(url, str):
        return url
    if url.startswith("azureblockblob://") or _AZURE_SECRET.search(url):
        return _AZURE_SECRET.sub(lambda m: f"{m['name']}={mask}", url)
    return ";".join(_sanitize_one(part, mask) for part in _NEXT_URL.split(url))


def _sanitize_one(url: str, mask: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    credentials, at, _ = authority.rpartition("@")
    if not at and ":" in authority and not authority.rpartition(":")[2].isdigit():
        # A password with an unescaped slash or question mark: hide too much rather than too little.
        credentials, at, _ = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if not at or not colon:
        return url
    return f"{scheme}://{user}:{mask}@{rest[len(credentials) + 1 :]}"


def filter_hidden_settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `conf` in which secrets are stars: by name, in URLs, and in nested mappings."""
    return {key: _censored(key, value) for key, value in conf.items()}


def _censored(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return filter_hidden_settings(value)
    if not isinstance(key, str):
        return value
    if HIDDEN_SETTINGS.search(key):
        return MASK
    lowered = key.lower()
    if lowered in _BROKER_URLS or "backend" in lowered:
        if isinstance(value, (list, tuple)):
            return type(value)(sanitize_url(item) for item in value)
        return sanitize_url(value)
    return value
