"""TLS as Celery's settings and URLs say it, to an `ssl.SSLContext`.

`broker_use_ssl` is True or a mapping, with the names of redis-py (`ssl_cert_reqs`, `ssl_ca_certs`, ...) or of py-amqp
(`cert_reqs`, `ca_certs`, ...); a `rediss://` URL has the former in its query. Unless told otherwise the server's
certificate and name are verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_REQUIREMENTS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_FALSE = frozenset({"false", "no", "0", "off", ""})
_KNOWN = frozenset(
    {
        "ca_certs",
        "ca_data",
        "ca_path",
        "cert_reqs",
        "certfile",
        "check_hostname",
        "ciphers",
        "keyfile",
        "keyfile_password",
        "min_version",
        "password",
        "server_hostname",
        "ssl_version",
        "version",
    }
)


class BadTLS(ValueError):
    """TLS options that make no sense, or name files that cannot be read."""


@dataclass(frozen=True, slots=True)
class TLS:
    """How to speak TLS.

    Attributes:
        server_hostname: the name that the server's certificate must have; None: that of the address.
        options: what `context` was made of (without `ssl_`), for a process that has to make it again.
    """

    context: ssl.SSLContext
    server_hostname: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)


def requirement(value: Any) -> ssl.VerifyMode:
    """How strictly to verify: an `ssl.CERT_*` value, or `none`, `optional`, `required`, `CERT_NONE`, ...

    Raises:
        BadTLS: anything else.
    """
    if value is None:
        return ssl.CERT_NONE
    if isinstance(value, str):
        found = _REQUIREMENTS.get(value.strip().lower().removeprefix("cert_"))
        if found is not None:
            return found
    elif isinstance(value, int) and value in tuple(ssl.VerifyMode):
        return ssl.VerifyMode(value)
    raise BadTLS(f"ssl_cert_reqs must be one of required, optional, none (or ssl.CERT_*), not {value!r}")


def gather(use_ssl: bool | Mapping[str, Any] | None, query: Mapping[str, str]) -> dict[str, Any]:
    """The TLS options of a setting and a URL under one naming (without `ssl_`); the URL wins."""
    given: dict[str, Any] = dict(use_ssl) if isinstance(use_ssl, Mapping) else {}
    given |= {key: value for key, value in query.items() if key.startswith("ssl_") or key in _KNOWN}
    named: dict[str, Any] = {}
    for key, value in given.items():
        name = key if key == "ssl_version" else key.removeprefix("ssl_")
        named[name] = value
    return named


def make(use_ssl: bool | Mapping[str, Any] | None, query: Mapping[str, str] | None = None) -> TLS:
    """The context that the options ask for.

    Args:
        use_ssl: `broker_use_ssl` or `redis_backend_use_ssl`.
        query: of the URL; its other keys are left alone.

    Raises:
        BadTLS: an option has no meaning, or a file cannot be read.
    """
    options = gather(use_ssl, query or {})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    mode = requirement(options.get("cert_reqs", ssl.CERT_REQUIRED))
    context.check_hostname = mode == ssl.CERT_REQUIRED and _true(options.get("check_hostname", True))
    context.verify_mode = mode
    try:
        _load(context, options, mode)
    except (OSError, ssl.SSLError, ValueError) as error:
        files = ", ".join(
            str(options[key]) for key in ("ca_certs", "ca_path", "certfile", "keyfile") if options.get(key)
        )
        raise BadTLS(
            f"the TLS options cannot be used ({files or options.get('ciphers')}): {error}"
        ) from error
    return TLS(context, options.get("server_hostname") or None, options)


def _load(context: ssl.SSLContext, options: Mapping[str, Any], mode: ssl.VerifyMode) -> None:
    certificates, path, data = (options.get(key) or None for key in ("ca_certs", "ca_path", "ca_data"))
    if certificates or path or data:
        context.load_verify_locations(certificates, path, data)
    elif mode != ssl.CERT_NONE:
        context.load_default_certs()
    if options.get("certfile"):
        password = options.get("password") or options.get("keyfile_password")
        context.load_cert_chain(options["certfile"], options.get("keyfile") or None, password)
    if options.get("ciphers"):
        context.set_ciphers(options["ciphers"])
    least = options.get("min_version")
    if least is not None:
        context.minimum_version = (
            ssl.TLSVersion[least]
            if isinstance(least, str) and not least.isdigit()
            else ssl.TLSVersion(int(least))
        )


def _true(value: Any) -> bool:
    return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)
