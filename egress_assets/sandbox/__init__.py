"""The embedded default: every system that Egress talks to, on this machine, from wheels.

    start()    PostgreSQL, two object stores, queue and table, an HTTPS recipient with mTLS; returns a Sandbox
    status()   health and endpoints, without secrets
    stop()     ends all of it, keeps the data
    remove()   ends all of it, deletes the data

Linux only; binds to loopback only; the production image leaves it out.
"""

from egress_assets.sandbox.errors import SandboxUnavailable
from egress_assets.sandbox.lifecycle import ServerStatus, Status, remove, start, status, stop
from egress_assets.sandbox.model import Dsn, Receiver, Sandbox

__all__ = [
    "Dsn",
    "Receiver",
    "Sandbox",
    "SandboxUnavailable",
    "ServerStatus",
    "Status",
    "remove",
    "start",
    "status",
    "stop",
]
