"""What a catalog says for those who operate it: ceilings, how fast a source is read, who is told, who starts what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from egress_assets.engine.catalog.values import Hours, Size, Strict, Value, written_as


class Limits(Strict):
    """What one date may come to at the most. Above, nothing of it is published or sent."""

    rows: int | None = Field(default=None, gt=0)
    bytes: Size | None = None  # of the uncompressed rows for a dataset; as sent for a recipient

    @model_validator(mode="after")
    def _one(self) -> Limits:
        if self.rows is None and self.bytes is None:
            raise ValueError("give `rows`, `bytes` or both")
        return self


class SigningKey(Strict):
    """Where the private key of certificates is: never in the catalog itself."""

    env: str | None = None
    file: str | None = None
    kms: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$")

    @model_validator(mode="after")
    def _one(self) -> SigningKey:
        if sum(each is not None for each in (self.env, self.file, self.kms)) != 1:
            raise ValueError("give exactly one of `env`, `file` and `kms`")
        return self


class CertificatesModel(Strict):
    """A signed certificate for every scrub that is one consistent whole."""

    key: SigningKey
    key_id: str = ""  # what signatures are labelled with; default: the public key's fingerprint
    trusted: list[Value] = []  # public keys in PEM whose certificates count, besides the current one
    required: bool = False  # a scrub without a certificate is not released


class Throttle(Strict):
    """How fast a source is read at the most, all workers of a run together."""

    rows_per_second: int | None = Field(default=None, gt=0)
    bytes_per_second: Size | None = None
    hours: list[Hours] = []  # when it holds; default: always

    @model_validator(mode="after")
    def _one(self) -> Throttle:
        if self.rows_per_second is None and self.bytes_per_second is None:
            raise ValueError("give `rows_per_second`, `bytes_per_second` or both")
        return self


OnDrift = Literal["fail", "warn", "accept"]
DriftKind = Literal["added", "removed", "retyped", "nullable", "reordered", "removed_table"]


class Drift(Strict):
    """What a run does when a table differs from the date before, by kind.

    A kind that is not said is, of a table, as the dataset says; of the dataset it is `fail`.
    """

    added: OnDrift | None = None
    removed: OnDrift | None = None
    retyped: OnDrift | None = None
    nullable: OnDrift | None = None
    reordered: OnDrift | None = None
    removed_table: OnDrift | None = None  # the dataset's alone: a table that left the catalog has no place in it

    @model_validator(mode="after")
    def _one(self) -> Drift:
        if not any(getattr(self, kind) for kind in type(self).model_fields):
            raise ValueError("say it of a kind, as in `{added: accept}`, or of all, as in `drift: accept`")
        return self


DriftPolicy = Annotated[Annotated[OnDrift, Tag("text")] | Annotated[Drift, Tag("mapping")], Discriminator(written_as)]


def on_drift(policy: DriftPolicy | None, kind: DriftKind) -> OnDrift | None:
    """What one policy says of a kind; None where it says nothing."""
    return getattr(policy, kind) if isinstance(policy, Drift) else policy


class MailModel(Strict):
    """Incidents by e-mail."""

    host: Value
    port: int = Field(default=587, ge=1, le=65535)
    tls: str = Field(default="starttls", pattern="^(starttls|tls|none)$")
    user: Value | None = None
    password: Value | None = None
    from_: str = Field(alias="from", pattern=r"^[^@\s]+@[^@\s]+$")
    to: list[str] = Field(min_length=1)


class WebhookModel(Strict):
    """Incidents as JSON by POST; `text` is what chat systems show."""

    url: Value
    headers: dict[str, Value] = {}


class NotifyModel(Strict):
    """Who is told of failures, one message an incident."""

    mail: MailModel | None = None
    webhook: WebhookModel | None = None
    ui: str = Field(default="", pattern=r"^(https?://\S+[^/\s])?$")  # where people open Dagster, for links in messages

    @model_validator(mode="after")
    def _one(self) -> NotifyModel:
        if self.mail is None and self.webhook is None:
            raise ValueError("give `mail`, `webhook` or both")
        return self


class TriggerModel(Strict):
    """What a POST to a path of `egress serve-trigger` starts."""

    start: str = Field(min_length=1)  # <dataset> or mirror/<name>
    token: Value | None = None
    open: str = ""  # why nobody has to show a token here

    @model_validator(mode="after")
    def _guarded(self) -> TriggerModel:
        if (self.token is None) == (not self.open):
            raise ValueError("give `token`, or `open: <why nobody has to show one>`")
        return self
