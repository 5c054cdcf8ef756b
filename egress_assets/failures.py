"""The one place where an EgressError becomes a Dagster failure.

Dagster has three retry mechanisms. `allow_retries` binds the op's retry policy only; run retries are told by a tag of
the run. Both say the same here: whether a retry can help is decided where the error was raised.
"""

from typing import Any

import dagster as dg

from egress_assets.engine.errors import CatalogError, EgressError

NO_RUN_RETRY = {"dagster/retry_on_asset_or_op_failure": "false"}


def failure(error: EgressError) -> dg.Failure:
    """A dg.Failure whose title in the UI is the error's own name, with code and way out as metadata."""
    kind = type(type(error).__name__, (dg.Failure,), {"__module__": "builtins"})  # builtins: shown without a module
    metadata: dict[str, Any] = {"code": error.code, "retryable": error.retryable}
    if error.hint:
        metadata["hint"] = error.hint
    if isinstance(error, CatalogError) and error.problems:
        metadata["problems"] = dg.MetadataValue.md("\n".join(f"- `{problem}`" for problem in error.problems))
    return kind(description=error.message, metadata=metadata, allow_retries=error.retryable)


def stop_run_retries(context: dg.AssetExecutionContext, error: EgressError) -> None:
    """A permanent error fails the same way again: run retries are switched off for this run."""
    if not error.retryable:
        context.instance.add_run_tags(context.run.run_id, NO_RUN_RETRY)
