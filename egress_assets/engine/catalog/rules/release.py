"""Nothing raw leaves: what goes to an external endpoint without being scrubbed says why, and until when."""

from __future__ import annotations

from collections.abc import Iterator

from egress_assets.engine.catalog.models import Basis, DatasetModel
from egress_assets.engine.catalog.problems import Path, Problem
from egress_assets.engine.catalog.view import ENDPOINTS, View, mirrored


def stages_write_to_trusted_stores(view: View) -> Iterator[Problem]:
    if view.is_external(view.endpoints.evidence.store):
        text = "evidence lies in a store of zone external: give that store `zone: trusted`"
        yield view.problem(ENDPOINTS, "evidence", "store", text=text)
    for dataset, model in view.datasets.items():
        for path, store in _stage_stores(model):
            if view.is_external(store):
                text = f"store {store} is of zone external: dump and scrub to one of `zone: trusted`, then mirror"
                yield view.problem(dataset, *path, text=text)


def _stage_stores(model: DatasetModel) -> Iterator[tuple[Path, str]]:
    if model.dump:
        yield (("dump", "store") if model.dump.store else ("store",)), model.dump.store or model.store
    if model.scrub:
        yield (("scrub", "store") if model.scrub.store else ("store",)), model.scrub.store or model.store
        if model.scrub.quarantine:
            yield ("scrub", "quarantine"), model.scrub.quarantine


def mirrors_have_a_source(view: View) -> Iterator[Problem]:
    for dataset, name, mirror in view.mirrors():
        if mirrored(view.datasets[dataset], mirror):
            continue
        if mirror.from_ is None and not (view.says(dataset, "dump") or view.says(dataset, "scrub")):
            yield view.problem(dataset, "mirrors", name, text=f"{dataset} has neither a dump nor a scrub to mirror")
        elif isinstance(mirror.from_, str) and not view.says(dataset, mirror.from_):
            text = f"{dataset} has no {mirror.from_}: add `{mirror.from_}:`"
            yield view.problem(dataset, "mirrors", name, "from", text=text)


def external_mirrors_are_released(view: View) -> Iterator[Problem]:
    what = {"dump": "a raw dump", "bucket": "a foreign bucket"}
    for dataset, name, mirror in view.mirrors():
        kind = mirrored(view.datasets[dataset], mirror)
        said = view.says(dataset, "mirrors", name, "release")
        if kind in what and not said and view.is_external(mirror.to):
            text = (
                f"{what[kind]} goes to {mirror.to}, of zone external, without `release`: mirror the scrub, or say "
                "`release: {basis: public | internal | authorised, reason: ...}`"
            )
            yield view.problem(dataset, "mirrors", name, text=text)


def raw_deliveries_are_authorised(view: View) -> Iterator[Problem]:
    kinds = {name: mirrored(view.datasets[dataset], mirror) for dataset, name, mirror in view.mirrors()}
    for dataset, name, delivery in view.deliveries():
        stage, _, name_of_mirror = delivery.from_.partition("/")
        kind = kinds.get(name_of_mirror, "") if stage == "mirror" else stage
        if delivery.release is None and view.says(dataset, "deliveries", name, "release"):
            continue  # what is wrong with it is told already
        if kind == "dump" and (delivery.release is None or delivery.release.basis != "authorised"):
            text = (
                "raw rows leave without `authorised`: deliver the scrub, or say `release: {basis: authorised, "
                "reason, recipients, purpose, legal_basis, approved_by, until}`"
            )
            yield view.problem(dataset, "deliveries", name, text=text)
        elif kind == "bucket" and delivery.release is None:
            text = "objects of a foreign bucket go to a recipient without `release`"
            yield view.problem(dataset, "deliveries", name, text=text)


def authorisations_name_who_gets_it(view: View) -> Iterator[Problem]:
    for path, who, release in _releases(view):
        if release.basis == "authorised" and who not in release.recipients:
            text = f"{who} is not among the authorised recipients ({', '.join(release.recipients)})"
            yield view.problem(*path, "recipients", text=text)


def required_certificates_can_be_made(view: View) -> Iterator[Problem]:
    said = view.endpoints.certificates
    for dataset, model in view.datasets.items():
        if said and said.required and model.scrub and model.scrub.consistency == "table":
            text = (
                "endpoints.yaml requires certificates, and a scrub of `consistency: table` gets none: "
                "leave `consistency` out, or `required`"
            )
            yield view.problem(dataset, "scrub", "consistency", text=text)


def authorisations_that_lapsed(view: View) -> Iterator[Problem]:
    """Apart from the other rules: what holds today ends by itself, and must not stop the datasets beside it."""
    for path, _, release in _releases(view):
        if release.until and release.until < view.today:
            text = f"{release.until.isoformat()} has passed: have it approved again, or take the entry out"
            yield view.problem(*path, "until", text=text)


def _releases(view: View) -> Iterator[tuple[Path, str, Basis]]:
    """(place, the recipient or the mirror's store, release)."""
    for dataset, name, mirror in view.mirrors():
        if mirror.release:
            yield (dataset, "mirrors", name, "release"), mirror.to, mirror.release
    for dataset, name, delivery in view.deliveries():
        if delivery.release:
            yield (dataset, "deliveries", name, "release"), name.partition("/")[0], delivery.release
