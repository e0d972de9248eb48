"""PostgreSQL, MariaDB and memcached, from Debian's packages postgresql, mariadb-server and memcached."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .process import Process, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

_names = itertools.count(1)


def _program(name: str, package: str, *folders: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *folders])
    found = shutil.which(name, path=path)
    assert found, f"{name} is missing: `make test` installs it (Debian: apt-get install {package})"
    return found


def _newest(pattern: str) -> str:
    found = sorted(Path("/").glob(pattern), key=lambda path: [int(n) for n in path.parts if n.isdigit()])
    return str(found[-1]) if found else "/nowhere"


class PostgresServer(Process):
    """One cluster, database and user `postgres`, no password. It refuses to run as root, so then another user runs it."""

    def __init__(self) -> None:
        self.port = free_port()
        # Not below the folder of the tests: the other user could not enter it.
        folder = Path(tempfile.mkdtemp(prefix="test-postgres-"))
        binaries = _newest("usr/lib/postgresql/*/bin")
        initdb = _program("initdb", "postgresql", binaries)
        self._psql = _program("psql", "postgresql", binaries)
        become = self._become(folder)
        data = folder / "data"
        done = subprocess.run(
            [*become, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"initdb: {done.stdout}{done.stderr}"
        command = [
            *become,
            *(_program("postgres", "postgresql", binaries), "-D", str(data), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
            *("-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=200"),
        ]
        super().__init__(command, folder, self._answers)

    @staticmethod
    def _become(folder: Path) -> Sequence[str]:
        if os.getuid() != 0:
            return ()
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        return (
            _program("setpriv", "util-linux"),
            *(
                "--reuid",
                str(user.pw_uid),
                "--regid",
                str(user.pw_gid),
                "--clear-groups",
                "--pdeathsig",
                "KILL",
            ),
        )

    def stop(self, timeout: float = 30) -> None:
        """As `Process.stop`, without waiting for its clients."""
        if self.running:
            os.kill(self.pid, signal.SIGINT)
        super().stop(timeout)

    def _answers(self) -> bool:
        return self._query("SELECT 1").returncode == 0

    def _query(self, sql: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        words = [
            self._psql,
            "-X",
            "-q",
            "-t",
            "-A",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "postgres",
        ]
        return subprocess.run([*words, "-d", database, "-c", sql], capture_output=True, text=True, timeout=30)

    def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test{next(_names)}"
        done = self._query(f"CREATE DATABASE {name}")
        assert done.returncode == 0, done.stderr
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{name}"

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.folder, ignore_errors=True)


class MariaServer(Process):
    """One server that asks for no password; user `root`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._client = _program("mariadb", "mariadb-server")
        folder = Path(tempfile.mkdtemp(prefix="test-mariadb-"))  # a socket's path must be short
        (folder / "data").mkdir()
        command = [
            *(_program("mariadbd", "mariadb-server"), "--no-defaults", f"--datadir={folder / 'data'}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={folder / 'socket'}"),
            *("--skip-grant-tables", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"),
            *("--character-set-server=utf8mb4", f"--pid-file={folder / 'pid'}", "--skip-name-resolve"),
        ]
        if os.getuid() == 0:
            command.append("--user=root")
        super().__init__(command, folder, self._answers)

    def _answers(self) -> bool:
        return self._query("SELECT 1").returncode == 0

    def _query(self, sql: str) -> subprocess.CompletedProcess[str]:
        words = [
            self._client,
            "--no-defaults",
            "-h",
            "127.0.0.1",
            "-P",
            str(self.port),
            "-u",
            "root",
            "-e",
            sql,
        ]
        return subprocess.run(words, capture_output=True, text=True, timeout=30)

    def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test{next(_names)}"
        done = self._query(f"CREATE DATABASE {name}")
        assert done.returncode == 0, done.stderr
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{name}"

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.folder, ignore_errors=True)


class MemcachedServer(Process):
    """One memcached of 16 MB."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [
            *(_program("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-m", "16"),
            *(("-u", "root") if os.getuid() == 0 else ()),
        ]
        super().__init__(command, folder, lambda: accepts(self.port))

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"
