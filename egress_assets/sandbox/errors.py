"""What can go wrong with the embedded servers."""

from __future__ import annotations

from egress_assets.engine.errors import EgressError


class SandboxUnavailable(EgressError):
    """A server of the sandbox can't be started, or a package of the dependency group `sandbox` is not installed."""

    code = "sandbox_unavailable"
