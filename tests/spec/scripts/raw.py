"""Look at Redis without any client library, and say what is there so that two runs say the same."""

import base64
import bz2
import json
import lzma
import pickle
import re
import socket
import zlib
from urllib.parse import urlsplit

from canon import Names

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
UNPACK = {
    "application/x-gzip": zlib.decompress,
    "application/x-bz2": bz2.decompress,
    "application/x-lzma": lzma.decompress,
}


class Redis:
    """`redis("GET", "key")`: bytes, numbers, lists, None."""

    def __init__(self, url):
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), 10)
        self._file = self._socket.makefile("rb")
        self("SELECT", parts.path.strip("/") or 0)

    def __call__(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        )
        return self.read()

    def read(self, timeout=10):
        """One answer, or what a channel brings."""
        self._socket.settimeout(timeout)
        line = self._file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return self._file.read(int(rest) + 2)[:-2]


def stable(text, names):
    """Without times, hosts, processes; ids by name."""
    text = re.sub(r"gen\d+@[\w.-]+", "gen@host", DATE.sub("DATE", text))
    text = re.sub(r'"expiration": "\d{9,}"', '"expiration": "YEARS"', text)
    return names(text)


def message(raw, names):
    """An envelope as text."""
    envelope = json.loads(raw)
    envelope["body"] = body(envelope)
    return stable(json.dumps(envelope, sort_keys=True, default=repr), names)


def body(envelope):
    """What is in it."""
    content = base64.b64decode(envelope["body"])
    if compression := envelope["headers"].get("compression"):
        content = UNPACK[compression](content)
    if envelope["content-type"] == "application/json":
        return json.loads(content)
    if envelope["content-type"] == "application/x-python-serialize":
        return ["pickle", json.loads(json.dumps(pickle.loads(content)))]
    return repr(content)


def value(redis, key, names):
    """What a key holds."""
    kind = redis("TYPE", key)
    if kind == b"string":
        return stable(loaded(redis("GET", key)), names)
    if kind == b"list":
        return [message(item, names) for item in redis("LRANGE", key, 0, -1)]
    if kind == b"set":
        return sorted(stable(item.decode(), names) for item in redis("SMEMBERS", key))
    if kind == b"hash":
        pairs = redis("HGETALL", key)
        return sorted(stable(item.decode("latin-1"), names)[:300] for item in pairs[1::2])
    pairs = redis("ZRANGE", key, 0, -1, "WITHSCORES")
    return [
        (stable(loaded(item), names), _score(score))
        for item, score in zip(pairs[::2], pairs[1::2], strict=True)
    ]


def loaded(content):
    """JSON in one form; other text as it is."""
    try:
        return json.dumps(json.loads(content), sort_keys=True)
    except ValueError:
        return repr(content)


def _score(score):
    return "TIME" if float(score) > 1e6 else float(score)


def life(redis, key):
    """Seconds it has, to the minute."""
    left = redis("PTTL", key)
    return "" if left < 0 else f" ttl {round(left / 60000) * 60}"


def everything(redis, names=None, skip=()):
    """Each key with its type, life and value."""
    names = names or Names()
    found = []
    for key in sorted(redis("KEYS", "*")):
        if not any(re.search(pattern, key.decode()) for pattern in skip):
            kind = redis("TYPE", key).decode()
            said = value(redis, key, names)
            found.append(f"{kind} {stable(key.decode(), names)!r}{life(redis, key)}: {said}")
    return found


def differences(plain, other, path=""):
    """Paths at which `other` is another, with what is there."""
    if isinstance(plain, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*plain, *other}):
            if key not in other:
                found.append(f"{path}{key} is missing")
            else:
                found += differences(plain.get(key, "MISSING"), other[key], f"{path}{key}.")
        return found
    return [] if plain == other else [f"{path[:-1]}={json.dumps(other)}"]
