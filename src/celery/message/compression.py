"""Compressed bodies: by name when written, by content type when read.

zlib (which everybody calls gzip here), bzip2 and lzma come with Python; brotli and zstd are there if
their library is. `register` adds more, and what a program registered with `kombu.compression` is found too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Codec = Callable[[bytes], bytes]

__all__ = ("UnknownCompression", "compress", "decompress", "names", "register")

_encoders: dict[str, Codec] = {}
_decoders: dict[str, Codec] = {}
_aliases: dict[str, str] = {}


class UnknownCompression(KeyError):
    """No compression of that name or content type is known here."""

    def __str__(self) -> str:
        return str(self.args[0])


def register(encoder: Codec, decoder: Codec, content_type: str, aliases: Iterable[str] | None = None) -> None:
    """Add a compression method, or replace one.

    Args:
        content_type: MIME type that names it in the message's `compression` header.
        aliases: short names for `compression=`.
    """
    _encoders[content_type] = encoder
    _decoders[content_type] = decoder
    for alias in aliases or ():
        _aliases[alias] = content_type


def _by_library(modules: tuple[str, ...], function: str, extra: str) -> Codec:
    """A function of the first of `modules` that can be imported, looked up when called."""

    def call(data: bytes) -> bytes:
        for name in modules:
            try:
                module: Any = import_module(name)
            except ImportError:
                continue
            return bytes(getattr(module, function)(data))
        raise UnknownCompression(f"{extra} compression needs a library: pip install 'celery[{extra}]'")

    return call


def _register_builtin() -> None:
    known: list[tuple[tuple[str, ...], str, str, tuple[str, ...]]] = [
        (("zlib",), "zlib", "application/x-gzip", ("gzip", "zlib")),
        (("bz2",), "bzip2", "application/x-bz2", ("bzip2", "bzip")),
        (("lzma",), "lzma", "application/x-lzma", ("lzma", "xz")),
        (("brotli",), "brotli", "application/x-brotli", ("brotli",)),
        (("compression.zstd", "zstandard"), "zstd", "application/zstd", ("zstd", "zstandard")),
    ]
    for modules, extra, content_type, aliases in known:
        register(
            _by_library(modules, "compress", extra),
            _by_library(modules, "decompress", extra),
            content_type,
            aliases,
        )


_register_builtin()


def names() -> list[str]:
    """Every name that `compress` knows."""
    return sorted(_aliases)


def compress(data: bytes, name: str) -> tuple[bytes, str]:
    """Compress.

    Args:
        name: short name or content type.

    Returns:
        the bytes and the content type for the `compression` header.

    Raises:
        UnknownCompression: no such method, or its library is missing.
    """
    content_type = _aliases.get(name, name)
    encoder = _encoders.get(content_type)
    if encoder is not None:
        return encoder(data), content_type
    kombu = sys.modules.get("kombu.compression")
    if kombu is not None:
        try:
            encoder, content_type = kombu.get_encoder(name)
        except KeyError:
            pass
        else:
            return encoder(data), content_type
    raise UnknownCompression(f"no compression called {name!r}: there are {', '.join(names())}")


def decompress(data: bytes, content_type: str) -> bytes:
    """Undo `compress`.

    Raises:
        UnknownCompression: no such method, or its library is missing.
        Exception: whatever the library raises when `data` is damaged.
    """
    content_type = _aliases.get(content_type, content_type)
    decoder = _decoders.get(content_type)
    if decoder is None and "kombu.compression" in sys.modules:
        try:
            decoder = sys.modules["kombu.compression"].get_decoder(content_type)
        except KeyError:
            decoder = None
    if decoder is None:
        raise UnknownCompression(f"no compression of type {content_type!r}: there are {', '.join(names())}")
    return decoder(data)
