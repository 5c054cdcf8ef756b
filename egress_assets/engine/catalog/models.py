"""The catalog's shape. Data owners write YAML; these models say what is allowed, and have the safe default elsewhere.

References are kept as references (never resolved while loading), so that a catalog can be checked, printed and
committed without a secret. How single values are written is values.py; what people operate with is operate.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from egress_assets.engine.catalog.fixed_names import Basis, PublishModel
from egress_assets.engine.catalog.operate import (
    CertificatesModel,
    Drift,
    DriftKind,
    DriftPolicy,
    Limits,
    NotifyModel,
    OnDrift,
    Throttle,
    TriggerModel,
    on_drift,
)
from egress_assets.engine.catalog.rows import CsvModel
from egress_assets.engine.catalog.values import (
    Clock,
    Condition,
    Hours,
    Name,
    Overlap,
    Size,
    Strict,
    Value,
    duration,
    written_as,
)
from egress_assets.engine.partition import Calendar

TableName = Annotated[str, Field(min_length=3, pattern=r"^[^.]+\..+$")]  # schema.table, split at the first dot
Format = Literal["csv", "csv.gz", "csv.zst"]
RawFormat = Literal["csv", "csv.gz", "csv.zst", "parquet"]
Verify = Literal["rows", "deep"]  # count what COPY wrote, or also compare what the store gives back with the server
PartSize = Annotated[Size, Field(ge=2**20)]  # bytes of a table in the server that one object holds


class SourceModel(Strict):
    """A Postgres database. Either `dsn` (libpq URL or keywords), `jdbc`, or fields."""

    dsn: Value | None = None
    jdbc: Value | None = None
    host: Value | None = None
    port: int = 5432
    database: Value | None = None
    user: Value | None = None
    password: Value | None = None
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    ca: Value | None = None
    iam: bool = False  # an RDS IAM token instead of a password
    region: str = ""
    workers: int | None = Field(default=None, ge=1, le=64)  # default: the cores of this machine, 4 at the most
    connect_timeout: int = Field(default=10, ge=1, description="seconds")
    lock_timeout: int = Field(default=60, ge=1, description="seconds")
    statement_timeout: int = Field(default=0, ge=0, description="seconds, 0 = none")
    max_snapshot_seconds: int = Field(default=0, ge=0, description="seconds, 0 = none")
    throttle: Throttle | None = None
    quiet_hours: list[Hours] = []  # no extract begins within them

    @model_validator(mode="after")
    def _address(self) -> SourceModel:
        if sum(x is not None for x in (self.dsn, self.jdbc, self.host)) != 1:
            raise ValueError("give exactly one of `dsn`, `jdbc` and `host`")
        return self


class StoreModel(Strict):
    """A bucket at an S3-compatible endpoint."""

    kind: str = "s3"
    bucket: Value
    prefix: str = ""
    zone: Literal["trusted", "external"] = "external"
    endpoint: Value = ""
    region: str = "us-east-1"
    addressing: Literal["auto", "path", "virtual"] = "auto"
    access_key: Value = ""
    secret_key: Value = ""
    session_token: Value = ""
    profile: str = ""
    role_arn: Value = ""
    external_id: Value = ""
    ca: Value = ""
    sse: Literal["", "AES256", "aws:kms"] = ""
    sse_kms_key: Value = ""
    acl: str = ""
    storage_class: str = ""
    part_bytes: int = Field(default=8 * 2**20, ge=5 * 2**20)
    max_parts: int = Field(default=10_000, ge=1, le=10_000)
    expire_days: dict[str, int] = {}  # by stage prefix: {dump: 7, scrub: 14}
    abort_days: int = Field(default=7, ge=2, description="days")  # a run and its retry may take two
    block_public: bool = True
    policy: Literal["report", "apply"] = "report"  # of the bucket as a whole: only told, or also made so


class RecipientModel(BaseModel):
    """Who gets files and how. Fields besides these belong to the transfer type (engine/transfers/<type>.py)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    transfer_type: str
    env: Literal["prod", "any"] = "any"  # prod: refused outside EGRESS_ENV=prod, where the stub store gets it instead
    sla: Clock | None = None
    limits: Limits | None = None  # of all that it gets for one date
    audience: Name = "shared"
    retry: Literal["hold", "resend"] = "hold"  # what to do with a send whose fate can't be known

    def settings(self) -> dict[str, Any]:
        """The fields of the transfer type, references unresolved."""
        return dict(self.__pydantic_extra__ or {})


class EvidenceModel(Strict):
    store: Name


class Endpoints(Strict):
    """catalog/endpoints.yaml"""

    timezone: str = "UTC"
    evidence: EvidenceModel
    sources: dict[Name, SourceModel] = {}
    stores: dict[Name, StoreModel]
    recipients: dict[Name, RecipientModel] = {}
    notify: NotifyModel | None = None
    certificates: CertificatesModel | None = None
    triggers: dict[str, TriggerModel] = {}  # by path, for example /mirror/shop

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError(f"{value!r} is not an IANA timezone, for example Europe/London") from error
        return value


class ColumnRule(Strict):
    """One column's mask and its parameters; `email` is short for `{mask: email}`."""

    mask: str
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"mask": value}
        if isinstance(value, dict) and "params" not in value:
            return {"mask": value.get("mask"), "params": {k: v for k, v in value.items() if k != "mask"}}
        return value


class TableModel(Strict):
    """One table: `window` names the column that dates a row (extract: window), `columns` the masks.

    `watermark` is the column that grows with each change (extract: incremental), `overlap` how far below the highest
    value read so far late rows are looked for. `where` chooses among the rows; `select` names the columns of a raw
    dump, in their order.
    """

    window: str | None = None
    watermark: str | None = None
    overlap: Overlap | None = None
    late: Literal["count", "ignore"] | None = None  # rows written since and dated below the overlap; default: count
    where: Condition | None = None
    select: Annotated[list[str], Field(min_length=1)] | None = None
    drift: DriftPolicy | None = None  # default: the dataset's
    columns: dict[str, ColumnRule] = {}


class DumpModel(Strict):
    """Raw dumps of the dataset's tables."""

    store: Name | None = None  # default: the dataset's
    format: RawFormat = "csv.zst"
    csv: CsvModel | None = None
    zstd_level: int = Field(default=1, ge=1, le=19)
    verify: Verify = "rows"
    part_size: PartSize = 256 * 2**20
    infinity: Literal["refuse", "text"] = "refuse"  # what parquet does about values that its types have not
    publish: dict[Name, PublishModel] = {}

    @model_validator(mode="after")
    def _of_parquet(self) -> DumpModel:
        if self.infinity == "text" and self.format != "parquet":
            raise ValueError("`infinity` is for `format: parquet`; CSV writes every value as it is")
        if self.csv and self.format == "parquet":
            raise ValueError("`csv` says how rows are written as text, `format: parquet` writes none: leave one out")
        if self.publish and self.format == "parquet":
            raise ValueError("`publish` joins parts, which parquet can't: mirror the dump, or dump as CSV")
        if self.verify == "deep" and self.format == "parquet":
            raise ValueError("`verify: deep` reads rows back as text: leave it out, or dump as CSV")
        return self


class ScrubModel(Strict):
    """The scrubbed dump: keyed masks in the source's own SELECT, a gate over the complete output."""

    key: Value
    epoch: str = Field(default="1", min_length=1)
    audience: Name = "shared"
    mode: Literal["inline"] = "inline"
    store: Name | None = None
    quarantine: Name | None = None  # a store for bytes that have not passed the gate; default: the unsealed attempt
    format: Format = "csv.zst"
    csv: CsvModel | None = None
    verify: Verify = "rows"
    part_size: PartSize = 256 * 2**20
    detectors: list[str] | None = None  # default: all
    consistency: Literal["dataset", "table"] = "dataset"
    publish: dict[Name, PublishModel] = {}
    log_settings: Literal["warn", "refuse"] = "warn"  # when the server would log the keys that it is sent

    @field_validator("format", mode="before")
    @classmethod
    def _scanned(cls, value: Any) -> Any:
        if value == "parquet":
            raise ValueError("parquet is for raw dumps, the gate scans CSV; valid: csv, csv.gz, csv.zst")
        return value


class MirrorFrom(Strict):
    """A foreign bucket as a mirror's source."""

    store: Name
    prefix: str = ""


MirrorSource = Annotated[
    Annotated[Literal["dump", "scrub"], Tag("text")] | Annotated[MirrorFrom, Tag("mapping")], Discriminator(written_as)
]


class MirrorModel(Strict):
    """Copy objects to another endpoint. Without `from`: this dataset's scrubbed dump, else its raw dump."""

    to: Name
    from_: MirrorSource | None = Field(default=None, alias="from")
    select: Literal["partition", "bucket"] = "partition"
    prefix: str = ""  # at the destination
    release: Basis | None = None

    @model_validator(mode="after")
    def _kind(self) -> MirrorModel:
        if isinstance(self.from_, MirrorFrom) and self.select != "bucket":
            raise ValueError("a mirror `from` a store needs `select: bucket`")
        if not isinstance(self.from_, MirrorFrom) and self.select == "bucket":
            raise ValueError("`select: bucket` needs `from: {store: ...}`")
        return self


class Published(MirrorModel):
    """A `publish` as the mirror that it is; `written` is its key below the stage. Not written in this form."""

    publish: PublishModel
    written: str

    @staticmethod
    def of(stage: Literal["dump", "scrub"], name: str, publish: PublishModel) -> Published:
        said = {"to": publish.to, "from": stage, "release": publish.release, "publish": publish, "written": name}
        return Published.model_validate(said)


class DeliveryModel(Strict):
    """Files for one recipient. `from: <schema.table>` is this dataset's scrub for the recipient's audience."""

    from_: str = Field(alias="from", min_length=1)  # schema.table | dump/<schema.table> | mirror/<name>
    format: RawFormat = "csv.gz"  # parquet: of a dump in parquet only
    header: bool = False
    destination_prefix: str = ""  # may hold {date:%Y/%m/%d}
    release: Basis | None = None


class WatchModel(Strict):
    """A foreign prefix whose flag object starts this dataset for the date in its key."""

    store: Name
    pattern: str  # e.g. "in/{date:%Y-%m-%d}/pipeline_success.flag"; exactly one {date:...}

    @field_validator("pattern")
    @classmethod
    def _one_date(cls, value: str) -> str:
        if len(re.findall(r"\{date(?::[^}]*)?\}", value)) != 1:
            raise ValueError("the pattern needs exactly one {date:...}, for example in/{date:%Y-%m-%d}/done.flag")
        return value


class DatasetModel(Strict):
    """catalog/<dataset>.yaml"""

    source: Name | None = None
    description: str = ""
    owner: str = ""
    start: date
    schedule: Clock | None = None
    sla: Clock | None = None  # by when a date's whole chain is done, on the day of its run
    limits: Limits | None = None  # of all tables of one date
    drift: DriftPolicy = "fail"
    date_label: Literal["data_day", "run_day"] = "data_day"
    extract: Literal["full", "window", "incremental"] = "full"
    grace: timedelta = timedelta(hours=36)
    store: Name = "lake"
    dump: DumpModel | None = None
    scrub: ScrubModel | None = None
    tables: dict[TableName, TableModel] = {}
    mirrors: dict[Name, MirrorModel] = {}
    deliveries: dict[str, DeliveryModel] = {}  # <recipient>/<pipeline_name>
    watch: list[WatchModel] = []

    _grace = field_validator("grace", mode="before")(duration)

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        """`dump:` or `dump: {}` alike; with `scrub`, a table may be its columns alone."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if "dump" in value and value["dump"] is None:
            value["dump"] = {}
        if isinstance(value.get("tables"), dict):
            value["tables"] = {
                name: _table(t, scrubbed=bool(value.get("scrub"))) for name, t in value["tables"].items()
            }
        return value

    @model_validator(mode="after")
    def _whole(self) -> DatasetModel:
        wrong: list[tuple[tuple[str, ...], str]] = []
        if self.tables and not self.source:
            wrong.append((("tables",), "`tables` need a `source`"))
        if self.tables and not (self.dump or self.scrub):
            text = "`tables` without `dump` or `scrub` do nothing: add `scrub: {key: ...}` or `dump: {}`"
            wrong.append((("tables",), text))
        if self.source and not self.tables:
            wrong.append((("tables",), "a `source` needs `tables`"))
        wrong += [(("tables", name), text) for name, table in self.tables.items() if (text := self._wrong(table))]
        wrong += [((stage, "verify"), text) for stage, text in self._not_deep()]
        if wrong:
            raise _errors(wrong)
        return self

    def _wrong(self, table: TableModel) -> str:
        if self.extract == "window" and table.window is None:
            return "`extract: window` needs the column that dates a row: `window: <column>`"
        if self.extract != "window" and table.window is not None:
            return f"`window` does nothing in a dataset of `extract: {self.extract}`"
        if self.extract == "incremental" and table.watermark is None:
            return "`extract: incremental` needs the column that grows with each change: `watermark: <column>`"
        said = [name for name in ("watermark", "overlap", "late") if getattr(table, name) is not None]
        if self.extract != "incremental" and said:
            return f"`{said[0]}` does nothing in a dataset of `extract: {self.extract}`"
        if table.select is not None and self.scrub:
            return "`select` is for datasets without `scrub`: there every column has a mask, or the run stops"
        if isinstance(table.drift, Drift) and table.drift.removed_table:
            return "`removed_table` is said of the dataset: a table that left the catalog has no place in it"
        twice = sorted({name for name in table.select or () if (table.select or []).count(name) > 1})
        return f"`select` names {', '.join(twice)} twice" if twice else ""

    def _not_deep(self) -> Iterator[tuple[str, str]]:
        for stage, model in (("dump", self.dump), ("scrub", self.scrub)):
            if model and model.verify == "deep" and self.extract == "incremental":
                yield stage, "`deep` can't compare `extract: incremental`: late rows are chosen one by one, use `rows`"

    def publishes(self) -> Iterator[tuple[Literal["dump", "scrub"], str, PublishModel]]:
        """(stage, name as written, publish) of both stages."""
        for name, each in (self.dump.publish if self.dump else {}).items():
            yield "dump", name, each
        for name, each in (self.scrub.publish if self.scrub else {}).items():
            yield "scrub", name, each

    def named(self, dataset: str) -> DatasetModel:
        """With every `publish` among the mirrors, as `<dataset>_<name>`. A mirror that is written so stays itself."""
        found = {published_name(dataset, n): Published.of(stage, n, each) for stage, n, each in self.publishes()}
        return self.model_copy(update={"mirrors": {**found, **self.mirrors}}) if found else self

    def on_drift(self, table: str, kind: DriftKind) -> OnDrift:
        """What a run does on schema drift of a table, which may have left the catalog."""
        own = self.tables[table].drift if table in self.tables else None
        return on_drift(own, kind) or on_drift(self.drift, kind) or "fail"

    def calendar(self, timezone: str) -> Calendar:
        return Calendar(ZoneInfo(timezone), self.start, self.date_label, self.grace)


def published_name(dataset: str, name: str) -> str:
    """What the mirror of a `publish` is called in the whole catalog."""
    return f"{dataset}_{name}"


def _errors(wrong: list[tuple[tuple[str, ...], str]]) -> ValidationError:
    """Several errors of one model validator, each with its place."""
    lines = [
        InitErrorDetails(type=PydanticCustomError("catalog", "{text}", {"text": text}), loc=place, input=None)
        for place, text in wrong
    ]
    return ValidationError.from_exception_data("catalog", lines)


def _table(value: Any, *, scrubbed: bool) -> Any:
    """The long form has `columns` and more as the models spell them; the short one maps columns to masks."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not scrubbed:
        return value
    columns = value.get("columns")
    long = isinstance(columns, dict) and "mask" not in columns
    return value if long else {"columns": value}


class Catalog(Strict):
    """The whole catalog, cross-checked by the loader.

    `lines` has every key of every file, for messages and code references: `shop` (1), `shop.tables.public.orders`,
    `shop.mirrors.shop`, `endpoints.stores.lake`, 1-based. `files` has the absolute path of `shop` and of `endpoints`,
    and of single keys of `endpoints` where an overlay says them.
    """

    endpoints: Endpoints
    datasets: dict[str, DatasetModel]
    files: dict[str, str] = {}
    lines: dict[str, int] = {}
    lapsed: tuple[str, ...] = ()  # problems that came by time alone: authorisations whose `until` has passed

    @field_validator("datasets")
    @classmethod
    def _named(cls, value: dict[str, DatasetModel]) -> dict[str, DatasetModel]:
        return {name: model.named(name) for name, model in value.items()}

    def place(self, key: str) -> str:
        """`/etc/catalog/shop.yaml:12` of a key, or of the nearest key above it; '' when nothing is known."""
        while key:
            if key in self.lines:
                top = key.partition(".")[0]
                return f"{self.files.get(key, self.files.get(top, top))}:{self.lines[key]}"
            key = key.rpartition(".")[0]
        return ""

    def dataset(self, name: str) -> DatasetModel:
        return self.datasets[name]

    def calendar(self, name: str) -> Calendar:
        return self.datasets[name].calendar(self.endpoints.timezone)
