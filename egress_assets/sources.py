"""Databases as observable source assets: where the log stands, and whether the tables' columns have changed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from egress_assets import automation, failures, previews
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.evidence.records import Position, digest
from egress_assets.engine.layout import escape, source_key
from egress_assets.specs import code_reference, owners
from egress_assets.stages import STAGE

if TYPE_CHECKING:
    from egress_assets.engine.dump.source import SourceSettings
    from egress_assets.engine.dump.tasks import Relation

MANY_COLUMNS = 1000  # an observation is stored every hour: with more columns it would be hundreds of kilobytes
_TABLE = ("table", "columns", "leaves", "estimated_rows", "heap_bytes")


def asset(catalog: Catalog, dataset: str) -> dg.AssetsDefinition | None:
    """The source of a dataset: its data version is the digest of the tables' columns, so it moves with the schema."""
    model = catalog.dataset(dataset)
    if model.source is None:
        return None
    key, resource = dg.AssetKey(source_key(dataset)), f"source_{model.source}"
    spec = dg.AssetSpec(
        key,
        description=f"The {len(model.tables)} tables of `{dataset}` in `{model.source}`. {model.description}".rstrip(),
        group_name=dataset,
        owners=owners(catalog, dataset),
        kinds={"postgres", "source"},
        tags={STAGE: "source"},
        metadata={
            "dataset": dataset,
            "source": model.source,
            "dagster/uri": f"postgresql://{model.source}/",
            **code_reference(catalog, dataset, dataset),
        },
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
        relations, position = dict(leader.relations), leader.position
        metadata: dict[str, Any] = {"as_of": leader.as_of, "server_version": leader.server_version}
    schema = {t: [(c.name, c.type, c.nullable) for c in r.columns] for t, r in relations.items()}
    version = digest(schema)
    metadata |= {
        **at(position),
        "schema_digest": version,
        "tables": len(relations),
        "columns": sum(len(columns) for columns in schema.values()),
        "estimated_rows": sum(relation.estimated_rows for relation in relations.values()),
        "heap_bytes": sum(relation.heap_bytes for relation in relations.values()),
    }
    if metadata["columns"] <= MANY_COLUMNS:
        metadata["by_table"] = previews.table(_TABLE, map(_row, relations.values()))
        metadata["dagster/column_schema"] = dg.TableSchema(list(_columns(relations)))
    return version, metadata


def at(position: Position) -> dict[str, str]:
    """Where the log stands, or only when it was where the server does not tell: a standby of some services."""
    if position.line == "as_of":
        moment = datetime.fromtimestamp(position.at // 1_000_000, UTC)
        return {"position": f"as of {moment:%Y-%m-%dT%H:%M:%SZ}; the server does not tell its LSN"}
    return {"lsn": f"{position.at >> 32:X}/{position.at & 0xFFFFFFFF:X}", "timeline": position.line}


def _row(relation: "Relation") -> dict[str, Any]:
    counts = (len(relation.columns), len(relation.leaves), relation.estimated_rows, relation.heap_bytes)
    return dict(zip(_TABLE, (relation.table, *counts), strict=True))


def _columns(relations: "Mapping[str, Relation]") -> Iterator[dg.TableColumn]:
    """Columns as the lineage of what is made from them names them: `<schema>.<table>.<column>`."""
    for table, relation in relations.items():
        for c in relation.columns:
            constraints = dg.TableColumnConstraints(nullable=c.nullable)
            yield dg.TableColumn(f"{table}.{c.name}", type=c.type, constraints=constraints)
