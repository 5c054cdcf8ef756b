"""Who signs: static keys, boto3's provider chain, a profile, an assumed role; all refreshed before they expire.

boto3 knows environment, shared files, profiles, SSO, web identity, containers and instance metadata, and refreshes
them; it is imported only where it is needed (0.3 s). Keys never enter a message, a log line or a repr.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from egress_assets.engine.errors import StoreDenied, StoreError, StoreUnavailable
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stores.sigv4 import Credentials

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotoCredentials

logger = logging.getLogger(__name__)

_KEEP = 30.0  # seconds between looks at botocore's refresh clock, which acts 15 to 10 minutes before expiry


class Provider(Protocol):
    """Where a client gets its credentials, one request at a time. Safe to call from many threads."""

    def current(self) -> Credentials:
        """Raises StoreDenied when there are none, StoreUnavailable when their service does not answer."""
        ...

    def renew(self) -> bool:
        """Forget what the store called expired; False when nothing else can be had."""
        ...


class _Static:
    def __init__(self, settings: StoreSettings) -> None:
        self._credentials = Credentials(settings.access_key, settings.secret_key, settings.session_token)

    def current(self) -> Credentials:
        return self._credentials

    def renew(self) -> bool:
        return False


class _Chain:
    """boto3's session, resolved at first use; with `role_arn` an STS session on top of it."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._source: BotoCredentials | None = None
        self._kept: Credentials | None = None
        self._kept_until = 0.0

    def current(self) -> Credentials:
        kept = self._kept
        if kept is not None and time.monotonic() < self._kept_until:
            return kept
        with self._lock:
            return self._look()

    def renew(self) -> bool:
        with self._lock:
            self._source = self._kept = None
        return True

    def _look(self) -> Credentials:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._source is None:
                self._source = _resolve(self._settings)
            frozen = self._source.get_frozen_credentials()
        except ClientError as error:
            raise _sts_refusal(self._settings, error) from None
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"credentials of store {self._settings.name!r}: {type(error).__name__}",
                hint="Check profile, role and the metadata or token service that boto3's chain asks.",
            ) from None
        self._kept = Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")
        self._kept_until = time.monotonic() + _KEEP
        return self._kept


def provider_for(settings: StoreSettings) -> Provider:
    """Static keys when given, else boto3's chain; `role_arn` assumes a role with whichever it is."""
    if settings.access_key and not settings.role_arn:
        return _Static(settings)
    return _Chain(settings)


def _resolve(settings: StoreSettings) -> BotoCredentials:
    import boto3
    from botocore.credentials import DeferredRefreshableCredentials

    given = {
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
        "aws_session_token": settings.session_token,
        "profile_name": settings.profile,
    }
    session = boto3.Session(region_name=settings.region, **{name: value or None for name, value in given.items()})
    source: Any = session.get_credentials()
    if source is None:
        raise StoreDenied(
            f"store {settings.name!r} has no credentials",
            hint="Give access_key and secret_key, a profile, or run where boto3's credential chain finds some.",
        )
    if not settings.role_arn:
        return source
    return DeferredRefreshableCredentials(lambda: _assume(session, settings), "assume-role")


def _assume(session: Any, settings: StoreSettings) -> dict[str, str]:
    """One AssumeRole, in the shape that botocore's refreshing credentials take."""
    client = session.client("sts", endpoint_url=_sts_endpoint(settings), verify=settings.ca or None)
    extra = {"ExternalId": settings.external_id} if settings.external_id else {}
    answer = client.assume_role(RoleArn=settings.role_arn, RoleSessionName="egress", **extra)["Credentials"]
    logger.info("assumed role %s until %s", settings.role_arn, answer["Expiration"])
    return {
        "access_key": answer["AccessKeyId"],
        "secret_key": answer["SecretAccessKey"],
        "token": answer["SessionToken"],
        "expiry_time": answer["Expiration"].isoformat(),
    }


def _sts_endpoint(settings: StoreSettings) -> str | None:
    """Ceph and others answer STS at the endpoint itself; AWS has one of its own, also behind a VPC endpoint for S3."""
    host = urlsplit(settings.endpoint).hostname or ""
    if not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or os.environ.get("AWS_ENDPOINT_URL_STS"):
        return None
    return settings.endpoint


def _sts_refusal(settings: StoreSettings, error: Any) -> StoreError:
    code = error.response.get("Error", {}).get("Code", "unknown")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"role {settings.role_arn!r} of store {settings.name!r}: STS answered {status} {code}"
    if status >= 500 or code in ("Throttling", "ThrottlingException", "RequestLimitExceeded"):
        return StoreUnavailable(message, hint="Try again later.")
    return StoreDenied(message, hint="Allow sts:AssumeRole on the role, and check its trust policy and external_id.")
