"""Redis, Sentinel and Cluster, from Debian's redis-server package (or whatever `redis-server` is on the PATH)."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from .process import Process, accepts, free_port

if TYPE_CHECKING:
    from pathlib import Path


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, (
        f"{name} is missing: `make test` installs it (Debian: apt-get install redis-server redis-sentinel)"
    )
    return found


class RedisServer(Process):
    """One Redis.

    Args:
        persistent: what it has answered for survives `kill` (append-only file, fsync always).
        password: of the default user.
        config: further options as command-line words, for instance `("--maxmemory", "20mb")`.
        unix_socket: it also listens on `socket_path`.
        tls: (certificate, key, CA) files; then `port` speaks TLS only.
    """

    def __init__(
        self,
        folder: Path,
        *,
        persistent: bool = False,
        password: str | None = None,
        config: tuple[str, ...] = (),
        unix_socket: bool = False,
        tls: tuple[Path, Path, Path] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.password = password
        self.tls = tls
        self.socket_path = folder / "redis.sock"
        command = [
            *(_program("redis-server"), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes" if persistent else "no", "--appendfsync", "always"),
            *("--databases", "64", "--daemonize", "no", "--enable-debug-command", "yes"),
        ]
        if tls is None:
            command += ["--port", str(self.port)]
        else:
            cert, key, authority = map(str, tls)
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", authority]
        if password:
            command += ["--requirepass", password]
        if unix_socket:
            command += ["--unixsocket", str(self.socket_path)]
        super().__init__([*command, *config], folder, self._answers)

    @property
    def url(self) -> str:
        """Database 0."""
        return self.database(0)

    def database(self, number: int) -> str:
        """The URL of one database."""
        secret = f":{self.password}@" if self.password else ""
        scheme = "redis" if self.tls is None else "rediss"
        return f"{scheme}://{secret}127.0.0.1:{self.port}/{number}"

    def cli(self, *words: str | int, database: int = 0, timeout: float = 20) -> str:
        """Run one command by redis-cli; return its raw output without the last line end."""
        command = [
            _program("redis-cli"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-n",
            str(database),
            "--raw",
        ]
        if self.password:
            command += ["-a", self.password, "--no-auth-warning"]
        if self.tls:
            command += ["--tls", "--cacert", str(self.tls[2])]
        done = subprocess.run(
            [*command, *map(str, words)], capture_output=True, text=True, timeout=timeout, check=True
        )
        return done.stdout.removesuffix("\n")

    def _answers(self) -> bool:
        if self.tls is not None:
            return accepts(self.port)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.settimeout(2)
            link.sendall(b"PING\r\n")
            answer = link.recv(64)
            # While it loads its file it says LOADING; with a password it says NOAUTH.
            return answer.startswith((b"+PONG", b"-NOAUTH"))
        return False


class RedisSentinels:
    """A master, a replica and three sentinels that fail over within about two seconds."""

    def __init__(self, folder: Path, *, name: str = "mymaster", password: str | None = None) -> None:
        self.name = name
        self.folder = folder
        auth = ("--masterauth", password) if password else ()
        self.first = RedisServer(folder / "first", password=password, persistent=True, config=auth)
        self.second = RedisServer(
            folder / "second",
            password=password,
            persistent=True,
            config=(*auth, "--replicaof", f"127.0.0.1 {self.first.port}"),
        )
        self.sentinels = [self._sentinel(number, password) for number in range(3)]
        self.ports = [port for port, _ in self.sentinels]

    def _sentinel(self, number: int, password: str | None) -> tuple[int, Process]:
        port, folder = free_port(), self.folder / f"sentinel{number}"
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {self.name} 127.0.0.1 {self.first.port} 2",
            f"sentinel down-after-milliseconds {self.name} 1000",
            f"sentinel failover-timeout {self.name} 4000",
        ]
        if password:
            lines.append(f"sentinel auth-pass {self.name} {password}")
        config.write_text("\n".join(lines) + "\n")
        return port, Process([_program("redis-sentinel"), str(config)], folder, lambda: accepts(port))

    @property
    def url(self) -> str:
        """For `broker_url`; `master_name` goes into the transport options."""
        return ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.ports)

    def __enter__(self) -> Self:
        for server in (self.first, self.second, *(process for _, process in self.sentinels)):
            server.start()
        deadline = time.monotonic() + 30
        while "num-other-sentinels\n2" not in self._ask() or "num-slaves\n1" not in self._ask():
            assert time.monotonic() < deadline, self._ask()
            time.sleep(0.1)
        return self

    def __exit__(self, *exc: object) -> None:
        for server in (*(process for _, process in self.sentinels), self.second, self.first):
            server.kill()

    def master(self) -> RedisServer:
        """Who is the master now, as the sentinels say."""
        port = self._ask("get-master-addr-by-name").split()[1]
        return self.first if port == str(self.first.port) else self.second

    def _ask(self, question: str = "master") -> str:
        command = [_program("redis-cli"), "-p", str(self.ports[0]), "--raw", "sentinel", question, self.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


class RedisCluster:
    """Three masters that share the slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            RedisServer(
                folder / f"node{number}",
                config=("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
            )
            for number in range(3)
        ]
        for node in self.nodes:
            node.command += ["--databases", "1", "--cluster-port", str(free_port())]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.nodes[0].port}/0"

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        command = [_program("redis-cli"), "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        deadline = time.monotonic() + 30
        while not all("cluster_state:ok" in node.cli("cluster", "info") for node in self.nodes):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return self

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes:
            node.kill()
