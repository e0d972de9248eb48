"""Where the embedded store lives, and whether a file may live there.

Nothing here creates anything: looking for the store must be free of side effects.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

from celery.brokers.base import BrokerRefused

FOLDER = ".celery"
FILE = "store.db"
ENVIRONMENT = "CELERY_EMBEDDED_STORE"

#: File systems on which SQLite's locks and shared memory do not work between machines.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "smb3", "9p", "afs", "ncpfs", "lustre", "davfs", "ceph"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.davfs", "fuse.s3fs", "fuse.rclone", "fuse.smbnetfs"}
)


def find_store(explicit: str | None = None) -> Path:
    """The file that holds the embedded store of the project in the current folder.

    Args:
        explicit: the setting `embedded_store`; it wins if given.

    Returns:
        An absolute path: `explicit`, else `$CELERY_EMBEDDED_STORE`, else `.celery/store.db` in the
        nearest folder upwards that has a `.celery/`, else in the current one. It need not exist.
    """
    named = explicit or os.environ.get(ENVIRONMENT)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER / FILE
    return here / FOLDER / FILE


def embedded_url(path: str | os.PathLike[str]) -> str:
    """The broker URL of a store file.

    >>> embedded_url('/srv/shop/.celery/store.db')
    'sqlite:////srv/shop/.celery/store.db'
    """
    return "sqlite:///" + quote(os.fsencode(os.path.abspath(path)))


def path_from_url(url: str) -> Path:
    """The file that a `sqlite://` URL names: three slashes for a relative path, four for an absolute one.

    Without any path it is the project's own store (`find_store`).

    Raises:
        BrokerRefused: the URL has a host, or asks for a database in memory (which no other process
            could reach; `memory://` is the broker for that).
    """
    parts = urlsplit(url)
    if parts.netloc:
        raise BrokerRefused(
            f"{url}: a SQLite store has no host. Write sqlite:///relative/path or sqlite:////absolute/path."
        )
    text = os.fsdecode(unquote_to_bytes(os.fsencode(parts.path)))
    if text in ("", "/"):
        return find_store()
    if text == "/:memory:":
        raise BrokerRefused(f"{url}: use memory:// for a broker that lives in this process only.")
    return Path(os.path.abspath(os.path.expanduser(text[1:])))


def synchronous_from_url(url: str) -> str | None:
    """`?synchronous=FULL` in a `sqlite://` URL, upper case; None if it does not say."""
    values = parse_qs(urlsplit(url).query).get("synchronous")
    return values[-1].upper() if values else None


def file_system_of(path: str | os.PathLike[str], mounts: str) -> str:
    """The type of the file system that holds `path`.

    Args:
        mounts: text in the form of Linux's `/proc/self/mounts`.

    Returns:
        Its name as the kernel has it (`ext4`, `nfs4`); empty if the table does not say.
    """
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = point == "/" or place == point or place.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def refuse_network(path: str | os.PathLike[str], mounts: str | None = None) -> None:
    """Refuse a store on a network file system, where two machines would corrupt it.

    Args:
        mounts: the mount table; None reads this machine's, where it has one to read.

    Raises:
        BrokerRefused: naming the file and its file system.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
        except OSError:
            return
    kind = file_system_of(path, mounts)
    if kind in NETWORK_TYPES:
        raise BrokerRefused(
            f"{os.fspath(path)}: it lies on a network file system ({kind}), where SQLite cannot keep a store "
            "safe. Put it on a local disk (setting embedded_store), or use a broker that has a server."
        )
