"""Loopback ports of the sandbox: configured by EGRESS_SANDBOX_PORT, else any free block, kept from then on."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable

from egress_assets.sandbox.errors import SandboxUnavailable

HOST = "127.0.0.1"
# Below Linux' default ephemeral range (32768 on), so that no outgoing connection takes a port while its server is down.
LOWEST, HIGHEST = 20_000, 32_000
OFFSETS = {"postgres": 0, "aws": 1, "receiver": 2, "s3": 10, "ceph": 20}


def choose(name: str, count: int, *, kept: int | None, taken: Iterable[int]) -> int:
    """First port of a free block of `count`: the configured one, else the kept one, else another.

    Raises SandboxUnavailable when the configured block is in use: what was asked for is not replaced silently.
    """
    asked = os.environ.get("EGRESS_SANDBOX_PORT", "")
    if asked:
        base = _number(asked) + OFFSETS[name]
        if not all(free(port) for port in range(base, base + count)):
            raise SandboxUnavailable(
                f"a port of {base}..{base + count - 1} for {name} is in use, EGRESS_SANDBOX_PORT is {asked}",
                hint="Choose another EGRESS_SANDBOX_PORT (the 30 ports from it are used), or unset it.",
            )
        return base
    if kept is not None and all(free(port) for port in range(kept, kept + count)):
        return kept
    return _free_block(count, set(taken))


def _number(asked: str) -> int:
    if not asked.isdecimal() or not 1024 <= int(asked) <= 65_500:
        hint = "Give the first of 30 free ports, for example 25000."
        raise SandboxUnavailable(f"EGRESS_SANDBOX_PORT is {asked!r}, a number of 1024..65500 is needed", hint=hint)
    return int(asked)


def _free_block(count: int, taken: set[int]) -> int:
    for _ in range(200):
        base = random.randrange(LOWEST, HIGHEST - count)
        block = range(base, base + count)
        if taken.isdisjoint(block) and all(free(port) for port in block):
            return base
    raise SandboxUnavailable(
        f"no {count} free ports in a row between {LOWEST} and {HIGHEST}",
        hint="Set EGRESS_SANDBOX_PORT to the first of 30 free ports.",
    )


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no obstacle, a listener is
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port: int, *, timeout: float = 1.0) -> bool:
    """Whether something accepts connections."""
    try:
        socket.create_connection((HOST, port), timeout=timeout).close()
    except OSError:
        return False
    return True
