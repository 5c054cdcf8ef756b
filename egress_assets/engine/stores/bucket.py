"""Questions about the bucket itself: does it exist, and does its conditional PUT keep its word."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores.answers import error_code, refusal
from egress_assets.engine.stores.client import Client, Request

if TYPE_CHECKING:
    from egress_assets.engine.stores import Store

_RACERS = 8


def has_bucket(client: Client) -> bool:
    """A 403 proves existence as well: the bucket may not be listed, or is another's."""
    return client.send(Request("HEAD", judge=frozenset({403, 404}))).status != 404


def require_bucket(client: Client) -> None:
    """Raises StoreError when the bucket is absent: HEAD answers 404 for that as for an absent object."""
    if not has_bucket(client):
        raise StoreError(
            f"bucket {client.settings.bucket!r} of store {client.settings.name!r} does not exist",
            hint="Create the bucket, or correct its name in endpoints.yaml.",
        )


def create_bucket(client: Client) -> bool:
    """Create the bucket when it is absent; whether it was created by this call."""
    if has_bucket(client):
        return False
    region = client.settings.region
    body = b""
    if client.dialect.takes_location and client.is_aws and region != "us-east-1":
        body = (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        ).encode()
    request = Request("PUT", body=body, sha256=sha256(body).hexdigest(), judge=frozenset({409}))
    response = client.send(request)
    if response.status == 409:
        if error_code(response) != "BucketAlreadyOwnedByYou":
            raise refusal(client.where(request), response)
        return False
    return True


def probe_conditional_put(store: Store, key: str) -> str:
    """Prove conditional PUT with real races at `key`, which is gone afterwards; returns a line for people.

    Exactly one of eight racers creates the key, a later create is refused, a wrong If-Match is refused, a right one is
    not. Raises StoreError when the store breaks one of these: evidence must not be kept there.
    """
    store.delete(key)
    try:
        with ThreadPoolExecutor(_RACERS) as pool:
            answers = list(pool.map(lambda n: store.put_if(key, b"racer %d" % n, etag=None), range(_RACERS)))
        _expect(store, "racers that created it", answers.count("ok"), 1)
        _expect(store, "second create", store.put_if(key, b"second", etag=None), "refused")
        _expect(store, "wrong If-Match", store.put_if(key, b"wrong", etag="0" * 32), "refused")
        head = store.head(key)
        _expect(store, "right If-Match", store.put_if(key, b"right", etag=head.etag if head else ""), "ok")
        found = store.read(key)
        _expect(store, "content after all", found[0] if found else None, b"right")
    finally:
        store.delete(key)
    return f"conditional PUT holds at {store.kind} store {store.name!r}: 1 of {_RACERS} racers won"


def _expect(store: Store, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise StoreError(
            f"conditional PUT of store {store.name!r} does not hold: {what} is {found!r}, expected {expected!r}",
            hint="Keep evidence at an endpoint whose If-None-Match and If-Match work: AWS S3, Ceph RGW, SeaweedFS.",
        )
