"""Databases as observable source assets: where the log stands, and whether the tables' columns have changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from egress_assets import automation, failures
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.layout import escape, source_key
from egress_assets.specs import code_reference, owners
from egress_assets.stages import STAGE

if TYPE_CHECKING:
    from egress_assets.engine.dump.source import SourceSettings


def asset(catalog: Catalog, dataset: str) -> dg.AssetsDefinition | None:
    """The source of a dataset: its data version is the digest of the tables' columns, so it moves with the schema."""
    model = catalog.dataset(dataset)
    if model.source is None:
        return None
    key, resource = dg.AssetKey(source_key(dataset)), f"source_{model.source}"
    spec = dg.AssetSpec(
        key,
        description=f"The tables of {dataset} in `{model.source}`.",
        group_name=dataset,
        owners=owners(catalog, dataset),
        kinds={"postgres", "source"},
        tags={STAGE: "source"},
        metadata=code_reference(catalog, dataset, dataset),
        automation_condition=automation.observed(),
    )

    @dg.multi_observable_source_asset(
        name=f"source__{escape(dataset)}", specs=[spec], required_resource_keys={resource}
    )
    def observe(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        with failures.told(context):
            version, metadata = look(getattr(context.resources, resource).settings(), tuple(model.tables))
            yield dg.ObserveResult(asset_key=key, data_version=dg.DataVersion(version), metadata=metadata)

    return observe


def look(settings: "SourceSettings", tables: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """(schema digest, metadata) of the tables in one snapshot. Reads no row. Raises as `open_snapshot` does."""
    from egress_assets.engine.dump.snapshot import open_snapshot

    with open_snapshot(settings, tables, application_name="egress observe") as leader:
        columns = {t: [(c.name, c.type, c.nullable) for c in r.columns] for t, r in leader.relations.items()}
        metadata: dict[str, Any] = {
            "lsn": f"{leader.position.at >> 32:X}/{leader.position.at & 0xFFFFFFFF:X}",
            "as_of": leader.as_of,
            "server_version": leader.server_version,
            "tables": len(columns),
            "estimated_rows": sum(relation.estimated_rows for relation in leader.relations.values()),
            "heap_bytes": sum(relation.heap_bytes for relation in leader.relations.values()),
        }
    return digest(columns), metadata
