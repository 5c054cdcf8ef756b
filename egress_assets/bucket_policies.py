"""Buckets as assets: materialising one makes it as the catalog says, its check `drift` tells what differs.

The check reads and never writes, so it runs by itself once a day. A store of `policy: report` is an asset that can't be
materialised: the catalog does not let Egress write there.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from egress_assets import failures, previews, running
from egress_assets.engine.bucket_policy.wanted import written_stores
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import StoreError
from egress_assets.engine.layout import bucket_policy_key, escape
from egress_assets.specs import code_reference
from egress_assets.stages import STAGE

if TYPE_CHECKING:
    from egress_assets.engine.bucket_policy.report import Report

DRIFT = "drift"
AT = time(5, 40)  # in the catalog's timezone: after housekeeping, before people come
_COLUMNS = ("sign", "what", "state", "detail")
_SAID = ("prefix", "expire_days", "abort_days", "block_public", "sse")


def assets(catalog: Catalog) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """One a store that something writes to."""
    return [_asset(catalog, store) for store in written_stores(catalog)]


def checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """`drift` of each of them."""
    return [_check(catalog, store) for store in written_stores(catalog)]


def schedule(catalog: Catalog) -> dg.ScheduleDefinition:
    """The job `bucket_policy`: every check, every day. It reads three documents a bucket."""
    keys = [_key(store) for store in written_stores(catalog)]
    job = dg.define_asset_job(
        "bucket_policy",
        selection=dg.AssetSelection.checks(*(dg.AssetCheckKey(key, DRIFT) for key in keys)),
        description="Compare every bucket with what the catalog says of it. Writes nothing.",
        executor_def=dg.in_process_executor,
    )
    return dg.ScheduleDefinition(
        name="bucket_policy_daily",
        job=job,
        cron_schedule=f"{AT.minute} {AT.hour} * * *",
        execution_timezone=catalog.endpoints.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def _asset(catalog: Catalog, store: str) -> dg.AssetsDefinition | dg.AssetSpec:
    spec = _spec(catalog, store)
    if catalog.endpoints.stores[store].policy != "apply":
        return spec

    @dg.multi_asset(
        name=f"bucket_policy__{escape(store)}",
        specs=[spec],
        required_resource_keys={f"store_{store}"},
        pool="bucket_policy",
    )
    def make(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        from egress_assets.engine.bucket_policy.run import apply

        with failures.told(context):
            report = apply(running.platform(context.resources, catalog), store)
            _require_done(report)
            metadata = _metadata(report) | {"changed": ", ".join(report.changed) or "nothing"}
            yield dg.MaterializeResult(asset_key=spec.key, metadata=metadata)

    return make


def _check(catalog: Catalog, store: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=_key(store),
        name=DRIFT,
        description="Whether the bucket is as the catalog says.",
        required_resource_keys={f"store_{store}"},
    )
    def drift(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from egress_assets.engine.bucket_policy.run import look

        with failures.told(context.op_execution_context):
            return _told(look(running.platform(context.resources, catalog), store), catalog)

    return drift


def _spec(catalog: Catalog, store: str) -> dg.AssetSpec:
    model = catalog.endpoints.stores[store]
    said = {name: getattr(model, name) for name in _SAID}
    how = "Materialising applies it." if model.policy == "apply" else "It is only looked at: `policy: report`."
    return dg.AssetSpec(
        _key(store),
        group_name="egress",
        description=f"Expiry, unfinished uploads, encryption and public access of the bucket of store `{store}`. {how}",
        kinds={"s3"},
        tags={STAGE: "bucket_policy"},
        code_version=hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12],
        metadata={"store": store, **code_reference(catalog, "endpoints", f"endpoints.stores.{store}")},
    )


def _told(report: "Report", catalog: Catalog) -> dg.AssetCheckResult:
    """A warning; an error where evidence is in danger: what a rule of others deletes there can't be made again."""
    is_evidence = report.store == catalog.endpoints.evidence.store
    in_danger = is_evidence and any(item.state == "in conflict" for item in report.drift)
    bad = (*report.unknown, *report.drift)
    return dg.AssetCheckResult(
        passed=report.is_as_said,
        severity=dg.AssetCheckSeverity.ERROR if in_danger else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{item.what} {item.state}: {item.detail}" for item in bad) or "as the catalog says",
        metadata=_metadata(report),
    )


def _metadata(report: "Report") -> dict[str, Any]:
    rows: Sequence[dict[str, Any]] = [item.to_json() for item in report.items]
    return {
        "bucket": report.bucket,
        "drift": len(report.drift),
        "not_permitted": len(report.unknown),
        "items": previews.table(_COLUMNS, rows),
    }


def _require_done(report: "Report") -> None:
    """Raises StoreError for what could not be set; what others' rules do is the check's to tell."""
    left = [item for item in (*report.unknown, *report.drift) if item.state != "in conflict"]
    if left:
        said = "; ".join(f"{item.what} {item.state}: {item.detail}" for item in left)
        hint = "The rest is set. docs/providers.md says what each server takes."
        raise StoreError(
            f"bucket {report.bucket!r} of store {report.store} is not as the catalog says: {said}", hint=hint
        )


def _key(store: str) -> dg.AssetKey:
    return dg.AssetKey(bucket_policy_key(store))
