"""The one place where an error becomes a Dagster failure: a sentence on top, code and way out as metadata.

Dagster has three retry mechanisms. `allow_retries` binds the op's retry policy only; run retries are told by a tag of
the run. Both say the same here: whether a retry can help is decided where the error was raised.

An error that nobody foresaw may quote data in its text. What is shown of it is its kind and its place.
"""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg

from egress_assets import previews
from egress_assets.engine.errors import EgressError

logger = logging.getLogger(__name__)

RUN_RETRY = "dagster/retry_on_asset_or_op_failure"
NO_RUN_RETRY = {RUN_RETRY: "false"}
_OURS = tuple(str(Path(__file__).resolve().parents[1] / name) for name in ("egress_assets", "resources", "sensors"))


class Unexpected(EgressError):
    """A mistake of ours: nothing that a user did or can correct."""

    code: ClassVar[str] = "unexpected"


@contextmanager
def told(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """Around the body of every op: whatever is raised inside leaves as a failure that people can read.

    A dg.Failure goes through as it is, and so does the interrupt of a terminated run, which is no Exception.
    """
    try:
        yield
    except dg.Failure:
        raise
    except EgressError as error:
        tell_run_retries(context, error)
        raise failure(error) from error
    except Exception as error:  # noqa: BLE001 - the last place before Dagster, which would store its text and stack
        found = foreseen(error)
        tell_run_retries(context, found)
        raise failure(found) from None


def foreseen(error: Exception) -> EgressError:
    """An EgressError as it is. Any other one as Unexpected, without its text; its stack's places go to the log.

    EGRESS_DEBUG=1 in the run's environment puts the text there too.
    """
    if isinstance(error, EgressError):
        return error
    if os.environ.get("EGRESS_DEBUG") == "1":
        logger.error("unexpected error", exc_info=error)
    else:
        logger.error("unexpected %s, raised in:\n%s", type(error).__name__, "".join(_places(error)))
    return Unexpected(
        f"unexpected {type(error).__name__} at {_place(error)}",
        hint="This is a defect of Egress, not of your catalog or data. The log above has the stack without its text, "
        "which may quote data; EGRESS_DEBUG=1 in the run's environment logs that too. Earlier results stand.",
    )


def failure(error: EgressError) -> dg.Failure:
    """A dg.Failure whose title in the UI is the error's own name, with code and way out as metadata."""
    kind = type(type(error).__name__, (dg.Failure,), {"__module__": "builtins"})  # builtins: shown without a module
    metadata: dict[str, Any] = {"code": error.code, "retryable": error.retryable}
    if error.hint:
        metadata["hint"] = error.hint
    if problems := getattr(error, "problems", ()):  # of a CatalogError or a RangeFailed
        metadata["problems"] = dg.MetadataValue.md("\n".join(f"- `{problem}`" for problem in problems))
    if found := getattr(error, "found", ()):  # of a SchemaDrift
        metadata["drift"] = previews.drift(found)
    return kind(description=error.message, metadata=metadata, allow_retries=error.retryable)


def tell_run_retries(context: dg.OpExecutionContext | dg.AssetExecutionContext, error: EgressError) -> None:
    """A permanent error fails the same way again: run retries are switched off for this run.

    A run that was started again by hand inherits its parent's tags, so a passing trouble may have to switch them on.
    """
    if not error.retryable:
        context.instance.add_run_tags(context.run.run_id, NO_RUN_RETRY)
    elif context.run.tags.get(RUN_RETRY) == "false":
        context.instance.add_run_tags(context.run.run_id, {RUN_RETRY: "true"})


def _place(error: Exception) -> str:
    """The innermost line of ours: what it called is the libraries' business."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if frame.filename.startswith(_OURS)), frames[-1])
    return f"{Path(last.filename).name}:{last.lineno}"


def _places(error: Exception) -> list[str]:
    """File, line and source code of each frame: no values."""
    return traceback.format_tb(error.__traceback__)
