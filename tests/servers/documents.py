"""Stand-ins for document stores that no package of Debian or PyPI brings: as much of their HTTP as results need.

They prove that we use the stores' own client libraries rightly, not that the stores do what we think.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


class DocumentServer:
    """An HTTP server with a dict behind it.

    Attributes:
        documents: everything that is stored, by path.
        log: method and path of each request.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.log: list[str] = []
        self._lock = threading.Lock()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                url = urlsplit(self.path)
                query = {
                    name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()
                }
                with store._lock:
                    store.log.append(f"{self.command} {self.path}")
                    status, answer = store.answer(self.command, unquote(url.path), query, body)
                data = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", store.content_type)
                self.send_header("Content-Length", str(len(data)))
                for name, value in store.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _any

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    content_type = "application/json"
    headers: dict[str, str] = {}  # noqa: RUF012

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and JSON value."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class ConsulServer(DocumentServer):
    """Keys, values and sessions."""

    headers = {"X-Consul-Index": "1"}  # noqa: RUF012

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/v1/session/create":
            session = str(uuid.uuid4())
            self.documents[f"session {session}"] = json.loads(body)
            return 200, {"ID": session}
        key = path.removeprefix("/v1/kv/")
        if method == "PUT":
            self.documents[key] = {
                "Key": key,
                "Value": base64.b64encode(body).decode(),
                "Session": query.get("acquire"),
                "ModifyIndex": 1,
            }
            return 200, True
        if method == "DELETE":
            self.documents.pop(key, None)
            return 200, True
        found = self.documents.get(key)
        return (404, None) if found is None else (200, [found])


class CouchServer(DocumentServer):
    """Databases and documents with revisions."""

    headers = {"ETag": '"1-x"'}  # noqa: RUF012

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        path = path.strip("/")
        if not path:
            return 200, {"couchdb": "Welcome", "version": "3.3.3"}
        database, _, name = path.partition("/")
        if not name:
            return self._database(method, database)
        if name == "_bulk_docs":
            return 201, [self._write(database, doc)[1] for doc in json.loads(body)["docs"]]
        key = f"{database}/{name}"
        if method in ("PUT", "POST"):
            return self._write(database, {"_id": name, **json.loads(body)})
        found = self.documents.get(key)
        if found is None:
            return 404, {"error": "not_found", "reason": "missing"}
        if method == "DELETE":
            del self.documents[key]
            return 200, {"ok": True, "id": name, "rev": found["_rev"]}
        return 200, found

    def _database(self, method: str, database: str) -> tuple[int, Any]:
        if method == "PUT":
            self.documents[database] = {}
            return 201, {"ok": True}
        if database not in self.documents:
            return 404, {"error": "not_found", "reason": "no_db_file"}
        return 200, {"db_name": database}

    def _write(self, database: str, document: dict[str, Any]) -> tuple[int, Any]:
        name = document["_id"]
        key = f"{database}/{name}"
        there = self.documents.get(key)
        if document.pop("_deleted", False):
            self.documents.pop(key, None)
            return 201, {"ok": True, "id": name, "rev": "0"}
        if there is not None and there["_rev"] != document.get("_rev"):
            return 409, {"id": name, "error": "conflict", "reason": "Document update conflict."}
        revision = f"{int((there or {'_rev': '0-'})['_rev'].partition('-')[0]) + 1}-x"
        self.documents[key] = {**document, "_rev": revision}
        return 201, {"ok": True, "id": name, "rev": revision}


class ElasticServer(DocumentServer):
    """Documents of one index."""

    content_type = "application/vnd.elasticsearch+json; compatible-with=8"
    headers = {"X-Elastic-Product": "Elasticsearch"}  # noqa: RUF012

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        index, _, rest = path.strip("/").partition("/")
        if rest == "_mget":
            docs = [self._get(index, name) for name in json.loads(body)["ids"]]
            return 200, {"docs": docs}
        name = rest.removeprefix("_doc/")
        if method == "PUT":
            self.documents[f"{index}/{name}"] = json.loads(body)
            return 201, {"_index": index, "_id": name, "result": "created"}
        found = self._get(index, name)
        if method == "DELETE" and found["found"]:
            del self.documents[f"{index}/{name}"]
        return (200 if found["found"] else 404), found

    def _get(self, index: str, name: str) -> dict[str, Any]:
        source = self.documents.get(f"{index}/{name}")
        there = {} if source is None else {"_source": source}
        return {"_index": index, "_id": name, "found": source is not None, **there}


class ArangoServer(DocumentServer):
    """Collections and documents."""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        _, _, rest = path.partition("/_api/")
        kind, _, rest = rest.partition("/")
        if kind == "collection":
            return self._collection(method, body)
        if method == "PUT":  # reads several
            keys = [key if isinstance(key, str) else key["_key"] for key in json.loads(body)]
            missing = {"error": True, "errorNum": 1202, "errorMessage": "document not found"}
            return 200, [self.documents.get(f"{rest}/{key}", missing) for key in keys]
        if method == "POST":
            document = json.loads(body)
            key = f"{rest}/{document['_key']}"
            self.documents[key] = {**document, "_id": key, "_rev": "1"}
            return 201, {}
        found = self.documents.get(rest)
        if found is None:
            return 404, {"error": True, "code": 404, "errorNum": 1202, "errorMessage": "document not found"}
        if method == "DELETE":
            del self.documents[rest]
        return 200, found

    def _collection(self, method: str, body: bytes) -> tuple[int, Any]:
        names = self.documents.setdefault("", [])
        if method == "POST":
            names.append(json.loads(body)["name"])
            return 200, {"id": "1", "name": names[-1], "type": 2, "status": 3, "isSystem": False}
        return 200, {
            "result": [{"id": "1", "name": name, "type": 2, "status": 3, "isSystem": False} for name in names]
        }
