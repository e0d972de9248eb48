"""URLs of brokers and result stores: parsed, listed, shown without passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.\-]*)://")
_SECRET = re.compile(r"(?P<before>://[^/?#@:;]*:)(?P<secret>[^@/?#]*)(?=@)")


class BadAddress(ValueError):
    """A URL that makes no sense; the message says which part, with the password masked."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server is and how to enter.

    Attributes:
        scheme: as written, lower case: `redis`, `rediss`, `amqp`, `redis+socket`, ...
        host: name, IPv4 or IPv6 (without brackets); empty if the URL has none.
        port: None if the URL has none.
        path: everything after the authority, percent-decoded, its first slash included: a virtual host or
            database, or the file of a unix socket.
        query: options after `?`; of a name given twice the last counts.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    username: str | None = None
    password: str | None = None
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def virtual_host(self) -> str:
        """The path without its first slash: `//` is `/`, no path is empty."""
        return self.path.removeprefix("/")

    def at(self, host: str, port: int | None) -> Address:
        """The same way in, at another place."""
        return replace(self, host=host, port=port)

    def __str__(self) -> str:
        """The URL, with the password masked."""
        return self._text("**")

    def as_url(self) -> str:
        """The URL, password included."""
        return self._text(None if self.password is None else quote(self.password, safe=""))

    def _text(self, secret: str | None) -> str:
        user = quote(self.username or "", safe="")
        if self.password is not None:
            user = f"{user}:{secret}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        query = "&".join(f"{quote(k, safe='')}={quote(v, safe='/')}" for k, v in self.query.items())
        path = "//" if self.path == "//" else quote(self.path, safe="/")
        return f"{self.scheme}://{user}{'@' if user else ''}{host}{port}{path}" + f"?{query}" * bool(query)


def parse(url: str) -> Address:
    """Read one URL.

    >>> parse('rediss://me:p%40ss@[::1]:6380/2?ssl_cert_reqs=none').host
    '::1'

    Raises:
        BadAddress: it cannot be read.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise BadAddress(f"{mask(url)!r} is no URL: it must begin with a scheme, as redis://")
    rest, _, query = url[found.end() :].strip().partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, at, place = authority.rpartition("@")
    username, password = None, None
    if at:
        name, colon, secret = userinfo.partition(":")
        username = unquote(name) or None
        password = unquote(secret) if colon else None
    host, port = _place(place, url)
    return Address(
        found[1].lower(),
        host,
        port,
        username,
        password,
        slash + unquote(path),
        dict(parse_qsl(query, keep_blank_values=True)),
    )


def _place(place: str, url: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadAddress(f"{mask(url)!r}: an IPv6 address stands in brackets, as redis://[::1]:6379/0")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        # Nothing of the URL is shown: what stands where the port should be may well be a password.
        raise BadAddress(
            f"A {url.partition('://')[0].strip()}:// URL has no number where its port should be. If the password"
            " has characters like / ? # @ : in it, percent-encode them (urllib.parse.quote(password, safe=''))."
        )
    return unquote(host), int(port) if port else None


def split(urls: str | Iterable[str]) -> list[str]:
    """A failover list as single URLs: several in one text are separated by `;`, later ones may leave the scheme out.

    >>> split('redis://a;redis://b')
    ['redis://a', 'redis://b']
    >>> split('sentinel://a:26379;b:26379/0')
    ['sentinel://a:26379', 'sentinel://b:26379/0']
    """
    texts = [urls] if isinstance(urls, str) else list(urls)
    found: list[str] = []
    scheme = ""
    for text in texts:
        for part in str(text).split(";"):
            url = part.strip()
            if not url:
                continue
            if _SCHEME.match(url):
                scheme = url.partition("://")[0]
            elif scheme:
                url = f"{scheme}://{url}"
            found.append(url)
    return found


def parse_all(urls: str | Iterable[str]) -> tuple[Address, ...]:
    """Read a failover list (see `split`).

    Raises:
        BadAddress: it is empty, or one of them cannot be read.
    """
    found = tuple(parse(url) for url in split(urls))
    if not found:
        raise BadAddress("no URL is given")
    return found


def mask(text: str, secret: str = "**") -> str:
    """The text with the passwords of all URLs in it replaced.

    >>> mask('redis://:pw@a/1;redis://me:pw@b')
    'redis://:**@a/1;redis://me:**@b'
    """
    return _SECRET.sub(lambda found: found["before"] + secret, text)
