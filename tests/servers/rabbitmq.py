"""RabbitMQ, from Debian's rabbitmq-server package: a node with ports, files, cookie and epmd of its own."""

from __future__ import annotations

import itertools
import os
import secrets
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .process import Process, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The real scripts: the ones on the PATH change to another user.
_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
#: Schedulers that do not spin, or every idle node would take a core from the tests.
_QUIET = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none +A 8"

_vhosts = itertools.count(1)


def _script(name: str) -> str:
    found = _SCRIPTS / name
    assert found.exists(), (
        f"{found} is missing: `make test` installs it (Debian: apt-get install rabbitmq-server)"
    )
    return str(found)


class RabbitServer(Process):
    """One node, user guest, password guest.

    Args:
        config: further lines of rabbitmq.conf.
        tls: (certificate, key, CA) files; then `tls_port` listens too.
    """

    def __init__(
        self, folder: Path, *, config: Sequence[str] = (), tls: tuple[Path, Path, Path] | None = None
    ) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self._epmd_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            "loopback_users = none",
            "log.console = false",
            "log.file.level = warning",
            "vm_memory_high_watermark.absolute = 1GB",
            "disk_free_limit.absolute = 10MB",
            *config,
        ]
        if tls is not None:
            cert, key, authority = tls
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {authority}",
                f"ssl_options.certfile = {cert}",
                f"ssl_options.keyfile = {key}",
                "ssl_options.verify = verify_none",
                "ssl_options.fail_if_no_peer_cert = false",
            ]
        (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (folder / "plugins").write_text("[].\n")
        self._variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ")},
            "HOME": str(folder),  # the cookie lives there
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RUNNING_UNDER_SYSTEMD": "1",  # no shell between us and the node: signals reach it
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_QUIET} -kernel inet_dist_use_interface {{127,0,0,1}}",
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        cookie = folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        self._epmd = Process(
            [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            folder / "epmd",
            lambda: accepts(self._epmd_port),
            env=self._variables,
        )
        super().__init__(
            [_script("rabbitmq-server")], folder, lambda: accepts(self.port), env=self._variables
        )

    @property
    def url(self) -> str:
        """The vhost `/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self, *, wait: bool = True) -> None:
        if not self._epmd.running:
            self._epmd.start()
        super().start(wait=wait)

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._epmd.kill()

    def ctl(self, *words: str, timeout: float = 60) -> str:
        """Run rabbitmqctl (it takes about a second); return its output."""
        done = subprocess.run(
            [_script("rabbitmqctl"), "-q", *words],
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"rabbitmqctl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def write_ctl(self, path: Path) -> Path:
        """A script that is this node's rabbitmqctl, for programs of another Python."""
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self._variables.items())
        path.write_text(f'#!/bin/sh\nexec env -i {variables} {_script("rabbitmqctl")} -q "$@"\n')
        path.chmod(0o700)
        return path

    def vhost(self) -> str:
        """The URL of a new, empty vhost."""
        name = f"test{next(_vhosts)}"
        permit = f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"t">>)'
        self.ctl("eval", f'rabbit_vhost:add(<<"{name}">>, <<"t">>), {permit}.')
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{name}"
