"""What the sandbox offers to others: where each server is and how to come in. No secret is in any repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from egress_assets.sandbox.ports import HOST
from egress_assets.sandbox.signing import signing_key
from egress_assets.sandbox.state import BUCKETS, State

if TYPE_CHECKING:
    from egress_assets.engine.stores.settings import StoreSettings

DATABASES = ("shop", "events")
ADMIN_ROLE, READER_ROLE = "egress_admin", "egress_reader"
EXTERNAL_BUCKETS = frozenset({"mirror", "recipient-inbox"})


@dataclass(frozen=True, slots=True)
class Dsn:
    """One role at one database of the embedded Postgres (which knows no TLS)."""

    port: int
    database: str
    user: str
    password: str = field(repr=False)
    host: str = HOST

    @property
    def settings(self) -> dict[str, str]:
        """Keywords of libpq, for `psycopg.connect(**settings)`; holds the password."""
        place = {"host": self.host, "port": str(self.port), "dbname": self.database}
        return place | {"user": self.user, "password": self.password, "sslmode": "disable"}

    @property
    def conninfo(self) -> str:
        """A libpq connection string; holds the password. No value here needs quoting."""
        return " ".join(f"{name}={value}" for name, value in self.settings.items())


@dataclass(frozen=True, slots=True)
class Receiver:
    """The HTTPS recipient: `url` takes POST, the client shows `cert` and `key`, files appear in `inbox`."""

    url: str
    ca: Path
    cert: Path
    key: Path
    inbox: Path
    faults: Path  # a JSON file of faults to commit, read at every request; see receiver.py


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    state: State

    def endpoints(self) -> Mapping[str, str]:
        """Where each server is, for people; no secret in it."""
        base = {name: f"http://{HOST}:{port}" for name, port in self.state.ports.items()}
        databases = f"postgresql://{HOST}:{self.state.ports['postgres']}/{{{','.join(DATABASES)}}}"
        return base | {"postgres": databases, "receiver": self.receiver.url}

    def dsn(self, database: str) -> Dsn:
        """The role that may only SELECT from the sample tables."""
        return self._dsn(database, READER_ROLE, "postgres_reader")

    def admin_dsn(self, database: str = "postgres") -> Dsn:
        return self._dsn(database, ADMIN_ROLE, "postgres_admin")

    def _dsn(self, database: str, user: str, secret: str) -> Dsn:
        return Dsn(port=self.state.ports["postgres"], database=database, user=user, password=self.state.secrets[secret])

    @property
    def stores(self) -> Mapping[str, StoreSettings]:
        """Settings by bucket name; each bucket has its own credentials, which open no other bucket."""
        pairs = ((server, bucket) for server, buckets in BUCKETS.items() for bucket in buckets)
        return {bucket: store_settings(self.state, server, bucket) for server, bucket in pairs}

    @property
    def receiver(self) -> Receiver:
        home = self.state.folder / "receiver"
        return Receiver(
            url=f"https://{HOST}:{self.state.ports['receiver']}/DA",
            ca=home / "ca.pem",
            cert=home / "client.pem",
            key=home / "client.key",
            inbox=home / "inbox",
            faults=home / "faults.json",
        )

    @property
    def folder(self) -> Path:
        """A recipient's drop folder."""
        return self.state.folder / "drop"

    @property
    def aws_endpoint(self) -> str:
        """SQS, DynamoDB, SSM and KMS in memory; any credentials are accepted."""
        return f"http://{HOST}:{self.state.ports['aws']}"

    @property
    def scrub_key(self) -> str:
        """64 hexadecimal digits (32 random bytes), kept as long as the sandbox's folder."""
        return self.state.secrets["scrub_key"]

    @property
    def signing_key(self) -> str:
        """PEM of the Ed25519 key that signs certificates; `signing.pem` in the sandbox's folder."""
        return signing_key(self.state.folder)


def store_settings(state: State, server: str, bucket: str, *, identity: str = "") -> StoreSettings:
    """How `bucket` is reached as `identity`, by default the one that may use this bucket only."""
    from egress_assets.engine.stores.settings import StoreSettings  # pydantic: 0.1 s that most callers don't need

    credentials = f"{server}/{identity or bucket}"
    return StoreSettings(
        name=bucket,
        # Also for the server that stands in for Ceph: the client for RGW trusts its listings to be in byte order, and
        # SeaweedFS lists `b/x` before `b-x`.
        kind="s3",
        bucket=bucket,
        zone="external" if bucket in EXTERNAL_BUCKETS else "trusted",
        endpoint=f"http://{HOST}:{state.ports[server]}",
        access_key=state.secrets[f"{credentials}/access_key"],
        secret_key=state.secrets[f"{credentials}/secret_key"],
    )
