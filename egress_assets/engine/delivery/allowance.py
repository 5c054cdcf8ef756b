"""What a recipient with `limits` may still get for a date: asked before the first claim, over all its deliveries.

Counted are the receipts of the date (corrections too: they were sent), what other deliveries have announced, and what
this one is about to send; a file that has its receipt already counts once. Announce first, read second: two deliveries
at once can't both pass, though both may be refused. Two runs of one delivery at once count as one.

Cost: a request for each receipt of the date and two for each file. Memory: two numbers a delivery, and the objects of
the manifests that the receipts name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from egress_assets.engine.catalog.operate import Limits
from egress_assets.engine.delivery.send import Dispatch, standing
from egress_assets.engine.delivery.spec import Spec
from egress_assets.engine.errors import LimitExceeded
from egress_assets.engine.evidence.announced import Announced, announce, announced
from egress_assets.engine.evidence.driver import process
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.layout import Unit
from egress_assets.engine.platform import Platform


@dataclass(frozen=True, slots=True)
class Load:
    """What was or will be sent. `rows` is None as soon as those of one file are unknown."""

    rows: int | None = 0
    bytes: int = 0

    def plus(self, other: Load) -> Load:
        known = self.rows is not None and other.rows is not None
        return Load(self.rows + other.rows if known else None, self.bytes + other.bytes)  # type: ignore[operator]

    def most(self, other: Load) -> Load:
        """The larger of two accounts of the same delivery."""
        known = self.rows is not None and other.rows is not None
        return Load(max(self.rows, other.rows) if known else None, max(self.bytes, other.bytes))  # type: ignore[type-var]


def require_allowance(platform: Platform, spec: Spec, date: str, files: Callable[[], Iterable[Dispatch]]) -> None:
    """Announce this delivery and refuse it when the recipient would get more of the date than it may.

    Raises LimitExceeded; the announcement then says what was sent before. Raises what evidence raises.
    """
    if spec.to.limits is None:
        return
    counted = _Count(platform, spec, date, spec.to.limits)
    before = counted.receipts()
    had, wanted = before.get(spec.pipeline, Load()), counted.to_send(files())
    counted.announce(had.plus(wanted))
    try:
        counted.require(before, wanted)
    except LimitExceeded:
        counted.announce(had)
        raise


def refuse_above(platform: Platform, spec: Spec, date: str, files: Callable[[], Iterable[Dispatch]]) -> None:
    """The same for a plan, which announces nothing."""
    if spec.to.limits is not None:
        counted = _Count(platform, spec, date, spec.to.limits)
        counted.require(counted.receipts(), counted.to_send(files()))


@dataclass(frozen=True, slots=True)
class _Count:
    platform: Platform
    spec: Spec
    date: str
    limits: Limits

    def receipts(self) -> dict[str, Load]:
        """What the recipient has of the date, by delivery."""
        rows_of = _rows_of_sources(self.platform)
        found: dict[str, Load] = {}
        for receipt in self.platform.evidence.receipts(self.date):
            if receipt.recipient == self.spec.recipient:
                load = Load(rows_of(receipt), receipt.bytes)
                found[receipt.pipeline] = found.get(receipt.pipeline, Load()).plus(load)
        return found

    def to_send(self, files: Iterable[Dispatch]) -> Load:
        """What has no receipt yet."""
        total = Load()
        for dispatch in files:
            if standing(dispatch)[0] == "to send":
                total = total.plus(Load(dispatch.file.item.rows, dispatch.file.item.bytes))
        return total

    def announce(self, load: Load) -> None:
        mine = Announced(self.spec.recipient, self.spec.pipeline, self.date, load.rows, load.bytes, process())
        announce(self.platform.evidence, mine)

    def require(self, before: Mapping[str, Load], wanted: Load) -> None:
        """Raises LimitExceeded."""
        if wanted == Load():
            return  # it has all of it already
        others = self._others(before)
        total = before.get(self.spec.pipeline, Load()).plus(wanted)
        for load in others.values():
            total = total.plus(load)
        for what in ("rows", "bytes"):
            limit, amount = getattr(self.limits, what), getattr(total, what)
            if limit is not None and amount is None:
                raise self._unknown(limit)
            if limit is not None and amount > limit:
                under_way = sorted(p for p, load in others.items() if load != before.get(p, Load()))
                raise self._exceeded(what, getattr(wanted, what), amount, under_way)

    def _others(self, before: Mapping[str, Load]) -> dict[str, Load]:
        others = {pipeline: load for pipeline, load in before.items() if pipeline != self.spec.pipeline}
        known = {name for model in self.platform.catalog.datasets.values() for name in model.deliveries}
        for said in announced(self.platform.evidence, self.spec.recipient, self.date):
            if said.pipeline != self.spec.pipeline and f"{said.recipient}/{said.pipeline}" in known:
                others[said.pipeline] = others.get(said.pipeline, Load()).most(Load(said.rows, said.bytes))
        return others

    def _exceeded(self, what: str, wanted: int, total: int, under_way: list[str]) -> LimitExceeded:
        counted = f", with what {', '.join(under_way)} announced and has no receipt for" if under_way else ""
        return LimitExceeded(
            f"{self.spec.title} of {self.date} would send {wanted:,} {what}, recipient {self.spec.recipient} would "
            f"then have {total:,} of the date{counted}; its limit is {getattr(self.limits, what):,}",
            hint=f"Nothing was sent. When so many {what} are right, raise `limits` at {self._place()}"
            + ("; or run what was announced to its end first." if under_way else "."),
        )

    def _unknown(self, limit: int) -> LimitExceeded:
        return LimitExceeded(
            f"{self.spec.title} of {self.date}: recipient {self.spec.recipient} may get {limit:,} rows of a date, and "
            "how many rows some of its files have is not known",
            hint=f"Nothing was sent. Files of foreign buckets have no known rows: limit `bytes` at {self._place()}.",
        )

    def _place(self) -> str:
        return self.platform.catalog.place(f"endpoints.recipients.{self.spec.recipient}.limits") or "the recipient"


def _rows_of_sources(platform: Platform) -> Callable[[Receipt], int | None]:
    """Rows of what a receipt is for, by the manifest that it names."""
    known: dict[str, dict[str, int | None]] = {}

    def rows(receipt: Receipt) -> int | None:
        source = receipt.source
        if source["manifest_digest"] not in known:
            unit = Unit.parse(source["unit"])
            manifest = platform.evidence.manifest(unit, receipt.date, source["attempt"], source["manifest_digest"])
            objects = (o for table in manifest.draft.tables.values() for o in table.objects)
            known[source["manifest_digest"]] = {o.sha256: o.rows for o in objects}
        return known[source["manifest_digest"]].get(receipt.sha256)

    return rows
