"""Asset specs out of a stage: what the UI's catalog shows of each asset, and what automation knows of it."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from egress_assets.engine.catalog.models import Catalog
from egress_assets.stages import STAGE, Stage


def specs(
    stage: Stage,
    description: str,
    *,
    condition: dg.AutomationCondition | None = None,
) -> list[dg.AssetSpec]:
    """One spec an asset of the stage. `{table}` in the description is the asset's table, as the catalog spells it."""
    fresh = freshness(stage)
    return [
        dg.AssetSpec(
            key,
            deps=stage.parents.get(table, ()),
            description=description.replace("{table}", table),
            group_name=stage.dataset,
            owners=owners(stage.catalog, stage.dataset),
            kinds=set(stage.kinds),
            tags={STAGE: stage.unit.stage},
            metadata=_metadata(stage, table),
            code_version=_code_version(stage, table),
            automation_condition=condition,
            freshness_policy=fresh,
            partitions_def=stage.partitions,
        )
        for table, key in stage.keys.items()
    ]


def freshness(stage: Stage) -> dg.FreshnessPolicy | None:
    """By when something was materialised every day: the dataset's `sla`, for a delivery the recipient's if earlier.

    None where the catalog says neither: nobody waits for it at an hour. An hour that is not after the schedule's is
    the next day's.
    """
    model = stage.catalog.dataset(stage.dataset)
    said = [model.sla]
    if stage.unit.stage == "delivery":
        said.append(stage.catalog.endpoints.recipients[stage.unit.names[0]].sla)
    hours = [hour for hour in said if hour]
    if not hours:
        return None
    hour, minute = min(hours, key=lambda at: (at <= (model.schedule or ""), at)).split(":")
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{int(minute)} {int(hour)} * * *",
        lower_bound_delta=timedelta(hours=23),
        timezone=stage.catalog.endpoints.timezone,
    )


def owners(catalog: Catalog, dataset: str) -> list[str]:
    owner = catalog.dataset(dataset).owner
    return [owner] if owner else []


def code_reference(catalog: Catalog, dataset: str, declared: str) -> dict[str, Any]:
    """A link to the line of YAML that declares an asset, where the loader knows it."""
    line, file = catalog.lines.get(declared), catalog.files.get(dataset)
    if line is None or file is None:
        return {}
    reference = dg.LocalFileCodeReference(file_path=str(Path(file).resolve()), line_number=line, label=Path(file).name)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _metadata(stage: Stage, table: str) -> dict[str, Any]:
    """The names as people write them: keys are escaped."""
    declared = f"{stage.declared}.{table}" if table else stage.declared
    names: dict[str, Any] = {"unit": stage.unit.title, "dataset": stage.dataset}
    if table:
        names["dagster/table_name"] = table
    if stage.store:
        names["dagster/uri"] = f"s3://{stage.store}/"
    return names | code_reference(stage.catalog, stage.dataset, declared)


def _code_version(stage: Stage, table: str) -> str:
    """Changes when the catalog says something else about the asset; the UI then calls older dates outdated.

    A scrub's key stays out of the digest: a catalog may hold it literally.
    """
    hidden = {"overlap", "late", "drift"} | ({"key"} if stage.gated else {"columns"})  # masks are no matter of raw rows
    said = [*stage.said, *([stage.catalog.dataset(stage.dataset).tables[table]] if table else [])]
    plain = [s.model_dump(mode="json", exclude=hidden) if isinstance(s, BaseModel) else s for s in said]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
