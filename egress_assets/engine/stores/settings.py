"""How an object store is reached. The catalog, the Dagster resources and the engine share this one model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class StoreSettings(BaseModel):
    """Fields of an S3-compatible endpoint. Secrets are plain strings here and never in a repr."""

    name: str = ""
    kind: str = "s3"
    bucket: str
    prefix: str = ""
    zone: Literal["trusted", "external"] = "trusted"
    endpoint: str = ""  # empty: AWS for `region`
    region: str = "us-east-1"
    addressing: Literal["auto", "path", "virtual"] = "auto"  # auto: path when `endpoint` is given, virtual for AWS
    access_key: str = Field(default="", repr=False)  # empty: boto3's credential chain, refreshed as it says
    secret_key: str = Field(default="", repr=False)
    session_token: str = Field(default="", repr=False)
    profile: str = ""
    role_arn: str = ""
    external_id: str = Field(default="", repr=False)
    ca: str = ""  # path of a PEM bundle; empty: the system's
    sse: Literal["", "AES256", "aws:kms"] = ""
    sse_kms_key: str = ""
    acl: str = ""  # e.g. private, bucket-owner-full-control; empty sends none
    storage_class: str = ""
    part_bytes: int = 8 * 2**20
    parts_in_flight: int = 4
    max_parts: int = 10_000
    connect_timeout: float = 10.0  # seconds
    read_timeout: float = 60.0  # seconds without a byte, never over a whole body
    retry_deadline: float = 120.0  # seconds for one request with its tries
