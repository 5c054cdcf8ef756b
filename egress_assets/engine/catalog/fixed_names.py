"""`publish:` as it is written, and on what basis anything leaves without being scrubbed."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from egress_assets.engine.catalog.values import Name, Strict
from egress_assets.engine.path_template import OF_DATES, OF_TABLES, PathTemplate


class Basis(Strict):
    """Why data may go to an external endpoint without being scrubbed."""

    basis: Literal["internal", "public", "authorised"]
    reason: str = Field(min_length=1)
    recipients: list[str] = Field(default=[])
    purpose: str = ""
    legal_basis: str = ""
    approved_by: str = ""
    until: date | None = None

    @model_validator(mode="after")
    def _complete(self) -> Basis:
        missing = [f for f in ("recipients", "purpose", "legal_basis", "approved_by", "until") if not getattr(self, f)]
        if self.basis == "authorised" and missing:
            raise ValueError(f"`authorised` needs {', '.join(missing)}")
        return self


def _of_objects(text: str) -> str:
    return _dated(text, PathTemplate.parse(text))


def _of_tables(text: str) -> str:
    return _dated(text, PathTemplate.parse(text, OF_TABLES))


def _of_dates(text: str) -> str:
    return _dated(text, PathTemplate.parse(text, OF_DATES))


def _dated(text: str, template: PathTemplate) -> str:
    if "date" not in template.fields:
        raise ValueError("has no {date}: each date would replace the one before it")
    return text


class PublishModel(Strict):
    """Fixed names for foreign readers: each table of a date as one object or as its parts, its schema, a flag last."""

    to: Name
    path: Annotated[str, Field(min_length=1), AfterValidator(_of_objects)]
    format: Literal["csv", "csv.gz", "csv.zst"] | None = None  # default: as it is stored
    header: bool = False
    schema_: Annotated[str, Field(min_length=1), AfterValidator(_of_tables)] | None = Field(
        default=None, alias="schema"
    )
    flag: Annotated[str, Field(min_length=1), AfterValidator(_of_dates)] | None = None
    release: Basis | None = None
