"""Who a process runs as."""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from celery.exceptions import SecurityError, SecurityWarning
from celery.local import try_import

from .system import IS_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

pwd = try_import("pwd")
grp = try_import("grp")

ROOT_DISALLOWED = """\
Running a worker with superuser privileges when the
worker accepts messages serialized with pickle is a very bad idea!

If you really want to continue then you have to set the C_FORCE_ROOT
environment variable (but please think about this before you do).

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""

ROOT_DISCOURAGED = """\
You're running the worker with superuser privileges: this is
absolutely not recommended!

Please specify a different user using the --uid option.

User information: uid={uid} euid={euid} gid={gid} egid={egid}
"""


def parse_uid(uid: int | str) -> int:
    """A user's number, by number, digits or name.

    Raises:
        KeyError: there is no such user.
    """
    try:
        return int(uid)
    except ValueError:
        pass
    try:
        return int(pwd.getpwnam(uid).pw_uid)
    except (AttributeError, KeyError):
        raise KeyError(f"User does not exist: {uid}") from None


def parse_gid(gid: int | str) -> int:
    """A group's number, by number, digits or name.

    Raises:
        KeyError: there is no such group.
    """
    try:
        return int(gid)
    except ValueError:
        pass
    try:
        return int(grp.getgrnam(gid).gr_gid)
    except (AttributeError, KeyError):
        raise KeyError(f"Group does not exist: {gid}") from None


def setgroups(groups: Collection[int]) -> None:
    """Set the supplementary groups of this process; those it may not set are left alone if it has them."""
    allowed = None
    with suppress(ValueError, OSError, AttributeError):
        allowed = os.sysconf("SC_NGROUPS_MAX")
    try:
        os.setgroups(list(groups)[:allowed])
    except OSError as exc:
        if exc.errno != errno.EPERM or any(group not in os.getgroups() for group in groups):
            raise


def initgroups(uid: int, gid: int) -> None:
    """Set the supplementary groups to those of a user, `gid` among them."""
    os.initgroups(pwd.getpwuid(uid).pw_name, gid)


def setgid(gid: int | str) -> None:
    """Run as this group, by number or name."""
    os.setgid(parse_gid(gid))


def setuid(uid: int | str) -> None:
    """Run as this user, by number or name."""
    os.setuid(parse_uid(uid))


def maybe_drop_privileges(uid: int | str | None = None, gid: int | str | None = None) -> None:
    """Run as another user and group, for good.

    Args:
        uid: the group is that of the user unless `gid` says another.
        gid: alone: only the group changes.

    Raises:
        SecurityError: root could be had back.
        OSError: this user may not.
        KeyError: there is no such user or group.
    """
    if IS_WINDOWS:
        return
    if os.geteuid() and not os.getuid():
        # Effectively not root, but able to become it: nothing to build on.
        raise SecurityError("The effective user is not root but the real user is: refusing to go on.")
    uid = parse_uid(uid) if uid else None
    gid = parse_gid(gid) if gid else None
    if uid:
        _become_user(uid, gid)
    elif gid:
        setgid(gid)


def _become_user(uid: int, gid: int | None) -> None:
    if not gid and pwd:
        gid = pwd.getpwuid(uid).pw_gid
    if gid:
        # In this order: afterwards this process may not change its groups any more.
        setgid(gid)
        if os.geteuid() == 0:
            initgroups(uid, gid)
    setuid(uid)
    try:
        setuid(0)
    except PermissionError:
        return
    raise SecurityError("non-root user able to restore privileges after setuid.")


def check_privileges(accept_content: Iterable[str]) -> None:
    """Object to running as root.

    Args:
        accept_content: serializers accepted. With pickle, whoever can reach the broker can run anything.

    Raises:
        SecurityError: root, pickle, and the environment variable `C_FORCE_ROOT` is not set.
    """
    if not hasattr(os, "getuid"):
        return
    ids = {"uid": os.getuid(), "gid": os.getgid(), "euid": os.geteuid(), "egid": os.getegid()}
    if ids["uid"] and ids["euid"] and not _in_admin_group(ids["gid"], ids["egid"]):
        return
    pickles = {"pickle", "application/x-python-serialize"}
    if pickles.intersection(accept_content) and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(ROOT_DISALLOWED.format(**ids))
    warnings.warn(ROOT_DISCOURAGED.format(**ids), SecurityWarning, stacklevel=2)


def _in_admin_group(*gids: int) -> bool:
    names = set()
    for gid in gids:
        with suppress(KeyError, AttributeError):  # a group without an entry has no privileges by its name
            names.add(grp.getgrgid(gid).gr_name)
    return bool(names & {"sudo", "wheel"})
