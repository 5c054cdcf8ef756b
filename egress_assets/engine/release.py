"""What may leave: the one type that every writer to an external endpoint demands, made from evidence alone.

A `Release` stands for exact objects of one unit and date (or for one foreign prefix) and for the basis on which they
may go: `scrubbed` (each check over each table passed), `public` or `internal` (with a reason), `authorised` (for named
recipients, until a date). It can't be built by hand, copied with other fields or subclassed; `release_for` and
`release_prefix` are the only makers, and both refuse what the evidence or the catalog does not carry.

The mirror's Outlet and the Parcel of a transfer check it again for each object, so no writer can widen one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from datetime import date as day_type
from typing import Any, Literal, final
from zoneinfo import ZoneInfo

from egress_assets.engine.catalog.models import Basis
from egress_assets.engine.errors import ReleaseRefused
from egress_assets.engine.evidence.records import Entry, Manifest, ObjectRecord, Pointer, TableRecord
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform

_PROOF = object()
INVENTORY = "inventory"
"""Format of a foreign bucket's object set: its records are shards of a list, and what is released is its prefix."""
OBJECTS = "objects"
"""The one entry of a mirror's or delivery's pointer: their truth is an object set, not tables."""


@dataclass(frozen=True, slots=True)
class Content:
    """One table as the pointer names it: its record, and the store that holds its objects."""

    table: str
    store: str
    entry: Entry
    record: TableRecord
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Truth:
    """A pointer with the manifests it names, read once. Memory: the manifests."""

    pointer: Pointer
    contents: Mapping[str, Content]

    def narrowed(self, only: frozenset[str]) -> Truth:
        """The same pointer, seen through some of its tables. Raises ReleaseRefused when it lacks one."""
        if lacking := sorted(only - set(self.contents)):
            raise _lacking(self.pointer, lacking)
        return replace(self, contents={t: c for t, c in self.contents.items() if t in only})

    @property
    def parents(self) -> dict[str, Any]:
        """As a child's manifest notes it: {unit: {table: [attempt, content_digest]}}."""
        entries = {t: c.entry for t, c in sorted(self.contents.items())}
        return {str(self.pointer.unit): {t: [e.attempt, e.content_digest] for t, e in entries.items()}}


@dataclass(frozen=True, slots=True)
class ReleasedObject:
    """One stored object that may leave. `table` is its entry in the pointer."""

    table: str
    store: str
    key: str
    bytes: int
    sha256: str
    rows: int | None = None
    etag: str = ""


@final
@dataclass(frozen=True, slots=True)
class Release:
    """Objects that may go to an external endpoint, and why. Made by `release_for` and `release_prefix` only."""

    unit: Unit
    date: str
    generation: int
    basis: Mapping[str, Any]
    recipient: str
    objects: tuple[ReleasedObject, ...]
    scope: tuple[str, str] | None  # (store, prefix) where a foreign prefix is released instead of known objects
    proof: InitVar[object]
    certificate: str = ""  # digest of the scrub's, '' without one
    sidecars: tuple[ReleasedObject, ...] = ()  # may be mirrored beside the objects, are none of them
    _known: frozenset[ReleasedObject] = field(init=False, repr=False, compare=False)

    def __post_init__(self, proof: object) -> None:
        if proof is not _PROOF:
            raise ReleaseRefused(
                "a Release was about to be built by hand",
                hint="Call release_for(platform, unit, date, basis): it reads the evidence.",
            )
        object.__setattr__(self, "_known", frozenset((*self.objects, *self.sidecars)))

    @property
    def order(self) -> tuple[str, int]:
        """(date, generation): a destination never goes back behind a newer one."""
        return self.date, self.generation

    def require(self, item: ReleasedObject) -> None:
        """Raise ReleaseRefused unless this release covers exactly this object."""
        if item in self._known:
            return
        if self.scope and item.store == self.scope[0] and item.key.startswith(self.scope[1]):
            return
        raise ReleaseRefused(
            f"{item.store}/{item.key} ({item.bytes} bytes, sha256 {item.sha256[:12] or '?'}) is not of the release "
            f"of {self.unit.title} {self.date} generation {self.generation}",
            hint="Only objects that the pointer named when the release was made may leave: run the step again.",
        )


def _lacking(pointer: Pointer, tables: list[str]) -> ReleaseRefused:
    return ReleaseRefused(
        f"{pointer.unit.title} {pointer.date} does not have {', '.join(tables)}",
        hint="Materialise these tables of the date first.",
    )


def truth_of(pointer: Pointer, tables: Mapping[str, tuple[Manifest, TableRecord]]) -> Truth:
    """What `Evidence.read` hands to its consumer, as a Truth."""
    return Truth(
        pointer,
        {t: Content(t, m.draft.store, pointer.entries[t], record, m) for t, (m, record) in tables.items()},
    )


def read_truth(platform: Platform, unit: Unit, date: str) -> Truth | None:
    """Pointer -> manifests, each digest verified by the evidence; None when the date was never materialised."""
    pointer = platform.evidence.pointer(unit, date)
    return truth_of(pointer, platform.evidence.tables(pointer)) if pointer else None


def release_for(
    platform: Platform,
    unit: Unit,
    date: str,
    basis: Basis | Literal["scrubbed"] | None = None,
    *,
    recipient: str = "",
    only: frozenset[str] | None = None,
) -> Release:
    """Release what the pointer of `unit` and `date` names, or of it the tables in `only`.

    basis: of the catalog, or None for the one that the evidence itself carries: a scrub is `scrubbed`, so is a mirror
    of one, and the sealed bytes of a delivery have what their manifest notes. `recipient` is a recipient's name, or a
    store's for mirrors.
    Raises ReleaseRefused (with the way out), and what reading evidence raises.
    """
    truth = read_truth(platform, unit, date)
    if truth is None:
        raise ReleaseRefused(
            f"{unit.title} has no data of {date}", hint=f"Materialise {unit.stage} of {date} first, then send it."
        )
    return release_truth(platform, truth, basis, recipient=recipient, only=only)


def release_truth(
    platform: Platform,
    truth: Truth,
    basis: Basis | Literal["scrubbed"] | None = None,
    *,
    recipient: str = "",
    only: frozenset[str] | None = None,
) -> Release:
    """As `release_for`, over a pointer that the caller has read already, so that both see one generation."""
    pointer = truth.pointer
    require_consistent(platform, pointer, only)
    truth = truth.narrowed(only) if only is not None else truth
    _require_own_date(truth)
    said = _grounds(truth, basis)
    _require_grounds(platform, said, f"{pointer.unit.title} {pointer.date}", recipient)
    certificate = _certificate(platform, truth, said)
    scope = _scope(truth)
    contents = () if scope else tuple(truth.contents.values())
    objects = tuple(released(content, o) for content in contents for o in content.record.objects)
    sidecars = tuple(released(content, o) for content in contents for o in content.record.sidecars)
    return Release(
        pointer.unit, pointer.date, pointer.generation, said, recipient, objects, scope, _PROOF, certificate, sidecars
    )


def release_prefix(
    platform: Platform, unit: Unit, date: str, *, scope: tuple[str, str], basis: Basis | None, recipient: str
) -> Release:
    """Release a foreign (store, prefix), whose objects no evidence of ours describes: the catalog must say why."""
    if basis is None:
        raise ReleaseRefused(
            f"{unit.title} copies {scope[0]}/{scope[1]} to the external store {recipient} without a `release`",
            hint="Add `release: {basis: internal, reason: ...}` (or public, authorised) to the mirror.",
        )
    said = basis.model_dump(mode="json")
    _require_grounds(platform, said, f"{scope[0]}/{scope[1]}", recipient)
    return Release(unit, date, 0, said, recipient, (), scope, _PROOF)


def require_release(release: Release | None, *, zone: str, what: str) -> None:
    """Raise ReleaseRefused when an endpoint of this zone takes nothing without a Release."""
    if zone != "trusted" and not isinstance(release, Release):
        raise ReleaseRefused(
            f"{what} is of zone {zone} and was about to be written without a release",
            hint="Raw data stays in trusted stores; scrub it, or state a basis under `release:` in the catalog.",
        )


def _scope(truth: Truth) -> tuple[str, str] | None:
    """Where the objects lie that an inventory lists, as its sealed manifest says."""
    for content in truth.contents.values():
        if content.record.format == INVENTORY:
            facts = content.manifest.draft.facts
            return facts["store"], facts["prefix"]
    return None


def released(content: Content, o: ObjectRecord) -> ReleasedObject:
    """One object of a table's record, as a Release names it."""
    return ReleasedObject(content.table, content.store, o.key, o.bytes, o.sha256, o.rows, o.etag)


def require_consistent(platform: Platform, pointer: Pointer, only: frozenset[str] | None = None) -> None:
    """Raise ReleaseRefused for half a dataset, where the catalog asks for whole ones.

    A date that still has a table which left the catalog is whole for single tables, not for all that it has.
    """
    unit = pointer.unit
    if unit.stage not in ("dump", "scrub"):
        return
    dataset = platform.catalog.dataset(unit.names[0])
    if dataset.scrub is not None and dataset.scrub.consistency != "dataset":
        return
    known = frozenset(dataset.tables)
    left = sorted(set(pointer.entries) - known)
    if not pointer.consistent(known | set(left)):
        lacking = sorted(known - set(pointer.entries))
        why = f"lacks {', '.join(lacking)}" if lacking else "mixes snapshots of different runs"
        raise ReleaseRefused(
            f"{unit.title} {pointer.date} {why}: a partial materialisation is not a dataset",
            hint="Materialise all tables of the date in one run, or set `consistency: table` under `scrub`.",
        )
    if left and only is None:
        raise ReleaseRefused(
            f"{unit.title} {pointer.date} has {', '.join(left)}, which left the catalog",
            hint="What was sent of the date stays as it is. To send it again, materialise the date again, or where "
            "the source can't stand for it any more write the table back into the catalog.",
        )


def _require_own_date(truth: Truth) -> None:
    """Rows of another day under this date's name would be believed by whoever gets them."""
    relabelled = sorted(t for t, c in truth.contents.items() if c.manifest.draft.facts.get("relabelled"))
    if relabelled:
        raise ReleaseRefused(
            f"{', '.join(relabelled)} of {truth.pointer.unit.title} {truth.pointer.date} is of a later state",
            hint="Extracts made with --relabel stay inside; extract that date by `window`, or send a date of its own.",
        )


def _grounds(truth: Truth, basis: Basis | Literal["scrubbed"] | None) -> dict[str, Any]:
    """A stated basis never replaces the checks of a scrub. Only a scrubbed mirror passes its own basis on."""
    stage = truth.pointer.unit.stage
    said = _scrubbed(truth) if stage == "scrub" else {}
    if isinstance(basis, Basis):
        return basis.model_dump(mode="json")
    if stage in ("mirror", "delivery"):
        said = _inherited(truth)
    if not said or (stage != "delivery" and said["basis"] != "scrubbed") or basis not in (None, said["basis"]):
        raise _no_basis(truth)
    return said


def _scrubbed(truth: Truth) -> dict[str, Any]:
    unit, date = truth.pointer.unit, truth.pointer.date
    for content in truth.contents.values():
        checks = content.record.checks
        failed = sorted(c.name for c in checks if not c.passed)
        if failed or not checks:
            why = f"failed {', '.join(failed)}" if failed else "was never checked"
            raise ReleaseRefused(
                f"{content.table} of {unit.title} {date} {why}",
                hint="Correct the policy of the columns that the checks name, then scrub again.",
            )
    return {"basis": "scrubbed", "unit": str(unit), "audience": unit.names[-1]}


def _certificate(platform: Platform, truth: Truth, said: Mapping[str, Any]) -> str:
    """Digest of the certificate of what is released as scrubbed; of a mirror or delivery the one that it was made with.

    Raises ReleaseRefused where the catalog requires one and a trusted key has signed none.
    """
    wanted, pointer = platform.catalog.endpoints.certificates, truth.pointer
    if wanted is None or said["basis"] != "scrubbed":
        return ""
    from egress_assets.engine.certificate.standing import of_children, standing  # loads `cryptography`

    if pointer.unit.stage == "scrub":
        found = standing(platform, pointer)
    else:
        drafts = [content.manifest.draft for content in truth.contents.values()]
        found = of_children(platform, Unit.parse(said["unit"]), pointer.date, drafts)
    if wanted.required and not found:
        raise ReleaseRefused(
            f"{pointer.unit.title} {pointer.date} has no certificate of a trusted key, and the catalog requires one",
            hint="`egress certificate` makes the one that a killed run left out, and says why there can be none.",
        )
    return found.digest if found else ""


def _inherited(truth: Truth) -> dict[str, Any]:
    """A mirror or delivery noted the basis of the Release it held; of several attempts all must agree."""
    said = [dict(c.manifest.draft.basis) for c in truth.contents.values()]
    return said[0] if said and all(b == said[0] for b in said) else {}


def _no_basis(truth: Truth) -> ReleaseRefused:
    return ReleaseRefused(
        f"{truth.pointer.unit.title} {truth.pointer.date} is not scrubbed and no basis says that it may leave",
        hint="Send the scrub instead, or state `release: {basis: ..., reason: ...}` for it in the catalog.",
    )


def _require_grounds(platform: Platform, said: Mapping[str, Any], what: str, recipient: str) -> None:
    if said["basis"] != "authorised":
        return
    allowed = said["recipients"]
    if recipient not in allowed:
        raise ReleaseRefused(
            f"{what} is authorised for {', '.join(sorted(allowed))}, not for {recipient or 'anybody else'}",
            hint="Have the authorisation extended: it names recipients, purpose, legal basis, approver and end.",
        )
    today = now().astimezone(ZoneInfo(platform.catalog.endpoints.timezone)).date()
    if today > day_type.fromisoformat(said["until"]):
        raise ReleaseRefused(
            f"the authorisation of {what} for {recipient} ended on {said['until']}, today is {today.isoformat()}",
            hint="Have it renewed by its approver, then change `until` in the catalog.",
        )
