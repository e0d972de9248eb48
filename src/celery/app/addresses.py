"""Where an app's brokers are: one URL or several, completed by the settings for single parts of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from celery.app.censor import sanitize_url
from celery.app.checks import wrong_type
from celery.brokers.failover import split_urls

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Where messages go if only a place for results is configured, as in Celery.
STOCK_DEFAULT = "amqp://guest@localhost//"
_PARTS = ("transport", "user", "password", "port", "vhost")
#: Their URLs name a file, or nothing: there are no parts to complete.
_WITHOUT_HOST = frozenset(("memory", "sqlite", "filesystem"))


def broker_urls(conf: Any, url: Any, **parts: Any) -> tuple[str, ...]:
    """Every URL to try, the preferred one first.

    Args:
        url: what the setting says: a URL, a host, several of them in a list or joined by `;`, or None.
        parts: `transport`, `user`, `password`, `port`, `vhost` instead of those of the settings.

    Raises:
        ImproperlyConfigured: it is, or a part of a list is, no string.
    """
    try:
        given = [url] if isinstance(url, str) or url is None else list(url)
    except TypeError:
        raise wrong_type("broker_url", url) from None
    for part in given:
        if part is not None and not isinstance(part, str):
            raise wrong_type("broker_url", url)
    urls: list[str] = []
    for part in given:
        text = part or ""
        embedded = text.partition("://")[0] in _WITHOUT_HOST
        urls += (completed(conf, one, **parts) for one in ([text] if embedded else split_urls(text)))
    return tuple(urls) or (completed(conf, "", **parts),)


def completed(conf: Any, url: str, **given: Any) -> str:
    """A URL with what `broker_transport`, `_user`, `_password`, `_host`, `_port` and `_vhost` add to it.

    What the URL says itself wins, except for its scheme, which `broker_transport` replaces (as in Celery).
    """
    parts = {name: given.get(name) or getattr(conf, f"broker_{name}") for name in _PARTS}
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    transport = parts["transport"]
    if transport and not is_class(transport):
        scheme = transport
    if not url and not any(parts.values()):
        return STOCK_DEFAULT
    scheme = scheme or "amqp"
    if scheme in _WITHOUT_HOST or "+" in scheme:
        return url if separator and url.startswith(scheme) else f"{scheme}://{rest}"
    return f"{scheme}://{_rest(rest, parts)}"


def is_class(transport: Any) -> bool:
    """Whether `broker_transport` is a class or the path of one, not a scheme."""
    return not isinstance(transport, str) or "." in transport or ":" in transport


def _rest(rest: str, parts: dict[str, Any]) -> str:
    """Credentials, host, port and virtual host of a URL."""
    end = next((index for index, char in enumerate(rest) if char in "/?#"), len(rest))
    authority, tail = rest[:end], rest[end:]
    credentials, at, place = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    user = user or _quoted(parts["user"])
    password = password or (_quoted(parts["password"]) if not colon else "")
    if parts["port"] and ":" not in place.rpartition("]")[2]:
        place = f"{place or 'localhost'}:{parts['port']}"
    if parts["vhost"] and not tail.startswith("/"):
        # A virtual host `/` is written `//`; one that begins with a slash keeps it.
        tail = f"/{parts['vhost']}{tail}"
    login = f"{user}:{password}" if password else user
    return f"{login}@{place}{tail}" if login or at else f"{place}{tail}"


def _quoted(value: Any) -> str:
    return quote(str(value), safe="") if value else ""


def shown(urls: str | Sequence[str] | None) -> str:
    """URLs as they may be printed: without passwords.

    >>> shown('amqp://guest:secret@localhost//')
    'amqp://guest:**@localhost//'
    """
    if isinstance(urls, str) or urls is None:
        return str(sanitize_url(urls, "**"))
    return ";".join(str(sanitize_url(url, "**")) for url in urls)
