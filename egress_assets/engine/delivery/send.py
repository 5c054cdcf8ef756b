"""One file to its recipient: the callbacks that evidence's protocol needs, and what its endings mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NoReturn

from egress_assets.engine.delivery.files import Consignment, File
from egress_assets.engine.delivery.spec import Spec
from egress_assets.engine.errors import (
    ChecksumMismatch,
    DeliveryBusy,
    DeliveryRefused,
    DeliveryUnavailable,
    DeliveryUnknown,
    EgressError,
    Held,
    Superseded,
)
from egress_assets.engine.evidence import deliver
from egress_assets.engine.evidence.deliver import Delivered, Delivery, Sent
from egress_assets.engine.evidence.driver import process
from egress_assets.engine.evidence.proofs import Claim
from egress_assets.engine.holds import Watch
from egress_assets.engine.layout import receipt_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.transfers import Parcel, Transfer, send

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Dispatch:
    """One file of one run."""

    platform: Platform
    spec: Spec
    transfer: Transfer
    goods: Consignment
    file: File
    on: Listener
    watch: Watch
    failed: EgressError | None = field(default=None, init=False)  # what stopped the bytes on our side

    def deliver(self) -> Delivered:
        """Deliver it, or raise what its ending means.

        Raises Held, DeliveryBusy, DeliveryUnknown, DeliveryRefused, DeliveryUnavailable, ChecksumMismatch, Superseded,
        and what evidence raises.
        """
        self.transfer.admit(self.file.destination)
        ended = self.platform.evidence.deliver(self.delivery())
        if ended.ending not in ("delivered", "before"):
            raise_ending(ended, self)
        return ended

    def delivery(self) -> Delivery:
        """The protocol's view of this file."""
        spec, item = self.spec, self.file.item
        return Delivery(
            recipient=spec.recipient,
            pipeline=spec.pipeline,
            order=self.goods.order,
            destination=self.file.destination,
            sha256=item.sha256,
            bytes=item.bytes,
            knows=self.transfer.knows,
            by=process(),
            policy=lambda: spec.to.retry,
            check_bytes=self._is_as_released,
            send=self._send,
            ask=lambda: self.transfer.ask(self.file.destination),
            fields={"format": spec.model.format, "header": str(spec.model.header).lower()},
            source=self.goods.source,
            holds=spec.holds,
        )

    def _is_as_released(self) -> bool:
        """By length and ETag, when the evidence has one; every byte is compared again while it leaves."""
        item = self.file.item
        found = self.platform.store(item.store).head(item.key)
        return found is not None and found.bytes == item.bytes and item.etag in ("", found.etag)

    def _send(self, identity: str, not_after: int) -> Sent:
        """A failure of our own bytes is a definite no: nothing whole has left."""
        item = self.file.item
        parcel = Parcel(self.goods.release, item, self.file.destination)
        chunks = self._told(self.platform.store(item.store).get(item.key, etag=item.etag or None))
        deadline = _EPOCH + timedelta(microseconds=not_after)
        try:
            return send(self.transfer, parcel, chunks, identity=identity, not_after=deadline)
        except EgressError as error:
            self.failed = error
            return Sent("refused", {"reason": error.code})

    def _told(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        done, total = 0, self.file.item.bytes
        for chunk in chunks:
            self.watch.look()
            yield chunk
            done += len(chunk)  # taken by the transfer when it asks for the next one
            self.on(Tick("deliver", self.file.destination, done, total, finished=done == total))


def standing(dispatch: Dispatch) -> tuple[Literal["to send", "delivered", "superseded"], str]:
    """What a run would find of a file, and the delivery's identity; a claim of another run is not looked for."""
    evidence, wanted = dispatch.platform.evidence.store, dispatch.delivery()
    slot = evidence.read(deliver.slot_of(wanted))
    held = Claim.parse(slot[0]) if slot else None
    if held is not None and held.order > wanted.order:
        return "superseded", held.identity
    identity = deliver.identity_of(wanted, deliver.next_era(wanted, held))
    return ("delivered" if evidence.head(receipt_key(wanted.date, identity)) else "to send"), identity


def raise_ending(ended: Delivered, dispatch: Dispatch) -> NoReturn:
    """The error of an ending that is no success."""
    what = f"{dispatch.file.destination} to {dispatch.spec.recipient}"
    if dispatch.failed is not None and ended.ending == "refused":
        raise dispatch.failed
    if ended.ending == "superseded":
        raise Superseded(f"{what}: a newer release has this destination", hint="Nothing to do: the newer data stands.")
    if ended.ending == "busy":
        raise DeliveryBusy(
            f"{what}: another run has claimed this destination",
            hint="It is sent by that run; when that run died, its claim ends by itself and the next run goes on.",
        )
    if ended.ending == "held":
        dispatch.watch.require_none()
        raise Held(f"{what}: a hold was on and has been lifted since", hint="Run again: nothing was sent.")
    if ended.ending == "corrupt":
        raise ChecksumMismatch(
            f"{dispatch.file.item.key} is not what was released to {dispatch.spec.recipient}",
            hint="The stored object was replaced or is gone: materialise its stage again.",
        )
    said = ", ".join(f"{name} {value}" for name, value in sorted(ended.facts.items()) if name in ("status", "reason"))
    if ended.ending == "unknown":
        raise DeliveryUnknown(
            f"{what}: sent without an answer that can be relied on ({said or 'none'})",
            hint="When the claim has ended, the next run asks the recipient, or does what `retry` says.",
        )
    if ended.facts.get("retryable"):
        hint = "Nothing was stored there: run again later; `egress check --live` tells whether the way there is open."
        raise DeliveryUnavailable(f"{what}: not taken now ({said})", hint=hint)
    raise DeliveryRefused(
        f"{what}: refused ({said})", hint="Nothing was stored there: ask the recipient, or check its settings."
    )
