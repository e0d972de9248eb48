"""What the tests of other packages share."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from .sides import Side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["celeriac", pytest.param("celery", marks=pytest.mark.soak)])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    """The packages of the module's `PACKAGES` on Celeriac; in long runs on Celery, too: what is expected is what it does."""
    return Side(request.param, getattr(request.module, "PACKAGES", "usual"), tmp_path)


@pytest.fixture
def broker(redis_url: str) -> dict[str, str]:
    """Where programs find broker and results."""
    return {"BROKER": redis_url, "BACKEND": redis_url}


class Collector(ThreadingHTTPServer):
    """An HTTP server that takes whatever is posted, for tools that report over the network.

    Attributes:
        posts: (path, body) of each.
    """

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def sentry_items(self) -> list[tuple[str, dict[str, Any]]]:
        """(type, payload) of all items in Sentry's envelopes."""
        items = []
        for _, body in self.posts:
            _, _, rest = body.partition(b"\n")
            while rest.strip():
                head, _, rest = rest.partition(b"\n")
                header = json.loads(head)
                payload, rest = rest[: header["length"]], rest[header["length"] + 1 :]
                items.append((header["type"], json.loads(payload)))
        return items


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.posts.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what is wrong."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A place for reports."""
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
