"""Malformed messages of many kinds: what a broker may hold that no worker can run.

Each row: a name, headers (bytes as they are, or a dict), body, properties.
"""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
BODY = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def good(**changes: Any) -> dict[str, Any]:
    """Headers of a message that would run, changed."""
    headers: dict[str, Any] = {"lang": "py", "task": "tasks.early", "id": "malformed", "retries": 0}
    headers.update(changes)
    return {key: value for key, value in headers.items() if value is not ...}


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def rows() -> list[tuple[str, Any, bytes, dict[str, Any]]]:
    """All of them, with ids that differ."""
    found: list[tuple[str, Any, bytes, dict[str, Any]]] = []

    def add(name: str, headers: Any, body: bytes = BODY, **properties: Any) -> None:
        if isinstance(headers, dict) and headers.get("id") == "malformed":
            headers["id"] = f"malformed-{len(found)}"
        found.append((name, headers, body, {**JSON, **properties}))

    add("random bytes as headers", b"\x00\x93\xfe\x10garbage")
    add("headers are null", b"null")
    add("headers are a list", b"[1, 2]")
    add("headers are a number", b"7")
    add("headers end early", b'{"task": "tasks.early", "id": ')
    add("no headers, random body", {}, b"\x80\x04\x95random")
    add("no headers, empty body", {}, b"")
    add("no headers, body is a list", {}, b"[1, 2, 3]")
    add("no headers, body is a dict without task", {}, b'{"id": "x", "args": []}')
    add("protocol 1 without id", {}, b'{"task": "tasks.early", "args": []}')
    add("protocol 1, args a string", {}, b'{"task": "tasks.early", "id": "v1a", "args": "abc"}')
    add("protocol 1, kwargs a list", {}, b'{"task": "tasks.early", "id": "v1b", "args": [], "kwargs": []}')
    add("protocol 1, eta nonsense", {}, b'{"task": "tasks.early", "id": "v1c", "args": [], "eta": "soon"}')
    add("no id", good(id=...))
    add("id null", good(id=None))
    add("id empty", good(id=""))
    add("id a list", good(id=["x"]))
    add("task empty", good(task=""))
    add("task a number", good(task=5))
    add("task a dict", good(task={"name": "tasks.early"}))
    add("eta nonsense", good(eta="yesterday-ish"))
    add("eta a number", good(eta=12345))
    add("eta a list", good(eta=[2026]))
    add("eta in year 99999", good(eta="99999-01-01T00:00:00+00:00"))
    add("expires nonsense", good(expires="never"))
    add("expires a dict", good(expires={}))
    add("timelimit a number", good(timelimit=5))
    add("timelimit of one", good(timelimit=[5]))
    add("timelimit of strings", good(timelimit=["a", "b"]))
    add("timelimit negative", good(timelimit=[-5, None]))
    add("retries a string", good(retries="many"))
    add("retries negative", good(retries=-1))
    add("group a dict", good(group={"id": 1}))
    add("shadow a list", good(shadow=[1]))
    add("argsrepr a number", good(argsrepr=5))
    add("body empty", good(), b"")
    add("body random", good(), b"\x80\x81\x82")
    add("body no triple", good(), b'{"a": 1}')
    add("body a pair", good(), b"[[], {}]")
    add("body args a string", good(), b'["abc", {}, {}]')
    add("body kwargs a list", good(), b"[[], [], {}]")
    add("body embed a list", good(), b"[[], {}, [1]]")
    add("body ends early", good(), b"[[1, 2], {")
    add("body deeply nested", good(), b"[[" + deep(20_000) + b"], {}, {}]")
    add("body of bad utf-8", good(), b'[["\xff\xfe"], {}, {}]')
    add("body is base64 of json", good(), base64.b64encode(BODY))
    add("body of 50 MB of noise", good(), b"x" * 50_000_000)
    add("unknown content type", good(), BODY, content_type="application/x-unheard-of")
    add(
        "pickle that is not accepted",
        good(),
        pickle.dumps(([], {}, {})),
        content_type="application/x-python-serialize",
        content_encoding="binary",
    )
    add("content type null", good(), b"\x01\x02", content_type=None)
    add("content type a list", good(), BODY, content_type=["application/json"])
    add("unknown compression", good(compression="application/x-lzmz"), BODY)
    add("compressed noise", good(compression="application/x-gzip"), b"noise")
    add("compression a number", good(compression=5), BODY)
    add("compressed bomb of noise", good(compression="application/x-gzip"), zlib.compress(b"a" * 1_000_000))
    add("callbacks a string", good(), b'[[], {}, {"callbacks": "x", "errbacks": null}]')
    add("chord a number", good(), b'[[], {}, {"chord": 7}]')
    return found


def raw(headers: Any) -> bytes:
    """Headers as they go on the wire."""
    return headers if isinstance(headers, bytes) else json.dumps(headers).encode()
