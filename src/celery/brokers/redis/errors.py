"""What went wrong with Redis, for people, as the port's errors."""

from __future__ import annotations

import ssl

from celery.brokers.base import BrokerError, BrokerRefused, BrokerUnavailable
from celery.wire.resp import ErrorReply

#: The server is there, but not (or no longer) the one to talk to: find the right one and connect again.
ELSEWHERE = frozenset(
    {"READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN"}
)
#: It cannot do it now.
BUSY = frozenset({"OOM", "MISCONF", "BUSY", "NOREPLICAS", "-FAILOVER", "BUSYKEY"})
_ENTRY = frozenset({"WRONGPASS", "NOAUTH", "NOPERM"})

_WHAT_TO_DO = {
    "WRONGPASS": "check user name and password in the URL (redis://user:password@host:port/db)",
    "NOAUTH": "it wants a password: redis://:password@host:port/db",
    "NOPERM": "this user may not do that: see ACL SETUSER",
    "OOM": "it has reached maxmemory: give it more, or remove something",
    "MISCONF": "it cannot write its snapshot and refuses writes: see its log",
    "LOADING": "it is still loading its data",
    "READONLY": "it is a replica: writes go to the master",
    "MASTERDOWN": "its master is down",
    "CLUSTERDOWN": "the cluster does not serve this slot now",
}


def translate(error: Exception, where: str) -> BrokerError:
    """The error for whoever asked.

    Args:
        where: the server, without password.
    """
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, ErrorReply):
        advice = _WHAT_TO_DO.get(error.code)
        text = f"{where}: {error}" + (f" ({advice})" if advice else "")
        if error.code in _ENTRY or "invalid password" in str(error) or "without any password" in str(error):
            return BrokerRefused(text)
        if error.code in ELSEWHERE or error.code in BUSY or "max number of clients" in str(error):
            return BrokerUnavailable(text)
        return BrokerRefused(text)
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerRefused(
            f"{where}: the server's certificate is not accepted: {error.verify_message}"
            " (see ssl_ca_certs and ssl_cert_reqs)"
        )
    if isinstance(error, ssl.SSLError):
        return BrokerUnavailable(f"{where}: no TLS connection: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return BrokerUnavailable(f"{where}: no answer in time")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokerUnavailable(f"{where}: {reason}")
