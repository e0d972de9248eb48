"""Emulators of cloud stores: moto (Amazon), gcp-storage-emulator (Google), Azurite (Azure), mongomock (MongoDB)."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.request
from pathlib import Path

from .process import Process, accepts, free_port

#: The account that Azurite has.
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


#: moto, whose DynamoDB adds to a number in several steps: so one request at a time for it.
_MOTO = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()


def serve(environ, start_response):
    if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
        return app(environ, start_response)
    with lock:
        return app(environ, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
"""


class MotoServer(Process):
    """Amazon's services."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(
            [sys.executable, "-c", _MOTO, str(self.port)],
            folder,
            lambda: accepts(self.port),
            env={**os.environ, **AWS},
        )

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forget everything."""
        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/moto-api/reset", method="POST"), timeout=20
        ).close()


#: Who one is for Amazon.
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


class GoogleStorageServer(Process):
    """Google's Cloud Storage, with the bucket `bucket`. Clients find it by `STORAGE_EMULATOR_HOST`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        program = Path(sys.executable).parent / "gcp-storage-emulator"
        super().__init__(
            [
                str(program),
                "start",
                "--host=127.0.0.1",
                f"--port={self.port}",
                "--in-memory",
                "--default-bucket=bucket",
            ],
            folder,
            lambda: accepts(self.port),
        )

    @property
    def url(self) -> str:
        """For `STORAGE_EMULATOR_HOST`."""
        return f"http://127.0.0.1:{self.port}"


def azurite() -> str | None:
    """The program of Azurite (npm's package `azurite`), if there is one."""
    here = Path(__file__).parents[2] / ".venvs" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    return str(here) if here.exists() else shutil.which("azurite-blob")


class AzuriteServer(Process):
    """Azure's blob storage."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        program = azurite()
        assert program, "azurite-blob is missing: `make test` installs it (npm install azurite)"
        options = ("--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry")
        super().__init__(
            [program, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), *options],
            folder,
            lambda: accepts(self.port),
        )

    @property
    def connection_string(self) -> str:
        """Where it is, and the key to it."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{self.port}/devstoreaccount1;"
        )
