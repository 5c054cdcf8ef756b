"""Deliver one date to one recipient: every file once, or said to be unknown."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from egress_assets.engine.certificate.standing import repair
from egress_assets.engine.delivery.allowance import require_allowance
from egress_assets.engine.delivery.files import Consignment, consignment
from egress_assets.engine.delivery.send import Dispatch
from egress_assets.engine.delivery.spec import Spec, find_delivery, require_environment
from egress_assets.engine.errors import EgressError, Held, ObjectMissing
from egress_assets.engine.evidence.deliver import Delivered
from egress_assets.engine.evidence.failures import noted
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.failures import Failures
from egress_assets.engine.holds import Watch
from egress_assets.engine.layout import manifest_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick, silent
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.result import StageResult, TableResult
from egress_assets.engine.transfers import Transfer, open_transfer

logger = logging.getLogger(__name__)
_NAMED = 20  # receipts named in the result; evidence has all


@dataclass(slots=True)
class _Totals:
    files: int = 0
    bytes: int = 0
    sent_files: int = 0
    sent_bytes: int = 0
    found_files: int = 0
    receipts: list[str] = field(default_factory=list)

    def add(self, size: int, ended: Delivered) -> None:
        self.files += 1
        self.bytes += size
        if len(self.receipts) < _NAMED:
            self.receipts.append(ended.identity)
        if ended.ending == "delivered" and ended.how == "found":
            self.found_files += 1
        elif ended.ending == "delivered":
            self.sent_files += 1
            self.sent_bytes += size


def run(platform: Platform, recipient: str, pipeline: str, date: str, *, on: Listener = silent) -> StageResult:
    """Send what the recipient does not have a receipt for, and put the receipts into the ledger.

    Idempotent: a second run sends nothing and says so (`nothing`). A file that fails does not stop the others; the run
    fails at its end. Memory: a chunk of a file, or the transfer's formula.
    Raises CatalogError, ReleaseRefused, Held, LimitExceeded (nothing was sent), ObjectMissing (no data of the date),
    the DeliveryErrors, Superseded.
    """
    spec = find_delivery(platform, recipient, pipeline)
    with noted(platform.evidence, spec.unit, date):
        return _delivered(platform, spec, date, on)


def _delivered(platform: Platform, spec: Spec, date: str, on: Listener) -> StageResult:
    began = time.monotonic()
    require_environment(platform, spec)
    watch = spec.watch(platform)
    watch.require_none()
    on(Tick("prepare", spec.title, unit="files"))  # what has to be converted or joined is made here
    repair(platform, spec.parent, date)
    goods = consignment(platform, spec, date)
    settings = platform.provider.recipient(spec.recipient)
    transfer = open_transfer(spec.to.transfer_type, settings, recipient=spec.recipient)
    totals, one = _Totals(), _Run(platform, spec, date, on, watch)
    require_allowance(platform, spec, date, lambda: one.dispatches(goods, transfer))
    try:
        content = one.send_all(goods, transfer, totals)
    finally:
        if totals.files:
            platform.evidence.append_ledger(date)
    logger.info(
        "delivered %s %s: %d files, %d of them sent, %d bytes sent in %.1f s",
        spec.title, date, totals.files, totals.sent_files, totals.sent_bytes, time.monotonic() - began,
    )  # fmt: skip
    return one.result(goods, totals, content, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Run:
    platform: Platform
    spec: Spec
    date: str
    on: Listener
    watch: Watch

    def send_all(self, goods: Consignment, transfer: Transfer, totals: _Totals) -> str:
        """Deliver file by file, until a hold comes; returns the digest of what the recipient has now."""
        failures, content = Failures("delivered"), sha256()
        for dispatch in self.dispatches(goods, transfer):
            file = dispatch.file
            try:
                ended = dispatch.deliver()
            except Held:
                raise
            except EgressError as error:
                failures.add(file.destination, error)
                continue
            failures.add(file.destination, None)
            totals.add(file.item.bytes, ended)
            content.update(canonical([file.destination, file.item.sha256]))
        failures.check()
        if not totals.files:
            raise ObjectMissing(
                f"{self.spec.title} of {self.date} has no file to deliver",
                hint="The mirror that it delivers copied nothing; zero files would look like success.",
            )
        return content.hexdigest()

    def dispatches(self, goods: Consignment, transfer: Transfer) -> Iterator[Dispatch]:
        """One a file, lazily."""
        for file in goods.files:
            yield Dispatch(self.platform, self.spec, transfer, goods, file, self.on, self.watch)

    def result(self, goods: Consignment, totals: _Totals, content: str, seconds: float) -> StageResult:
        entry, manifest = goods.content.entry, goods.content.manifest
        table = TableResult(
            table=OBJECTS,
            attempt=entry.attempt,
            manifest=manifest_key(manifest.unit, self.date, entry.attempt),
            content_digest=content,
            moved=bool(totals.sent_files or totals.found_files),
            bytes=totals.bytes,
            objects=totals.files,
            rows=goods.content.record.rows if self.spec.table else None,
        )
        facts = {"sent_files": totals.sent_files, "found_files": totals.found_files, "receipts": totals.receipts}
        return StageResult(
            unit=self.spec.unit,
            date=self.date,
            how="moved" if table.moved else "nothing",
            generation=goods.order[1],
            tables={OBJECTS: table},
            seconds=seconds,
            sent_bytes=totals.sent_bytes,
            facts=facts,
        )
