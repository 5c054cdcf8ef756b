"""docs/catalog.md has every key, mask and transfer type, each with its own table, and nothing that is not there."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from egress_assets.engine import masks, transfers
from egress_assets.engine.catalog import models, operate, values
from egress_assets.engine.endpoints import NOT_SETTINGS
from egress_assets.engine.scrub.detectors import DETECTORS

PAGE = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text()
SECTIONS = {
    heading.strip(): set(re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE))
    for heading, body in re.findall(r"^##+ (.+?)$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
MODELS = {
    "endpoints.yaml": models.Endpoints, "evidence": models.EvidenceModel, "sources": models.SourceModel,
    "stores": models.StoreModel, "recipients": models.RecipientModel, "A dataset": models.DatasetModel,
    "dump": models.DumpModel, "csv": models.CsvModel, "scrub": models.ScrubModel, "mirrors": models.MirrorModel,
    "mirrors from a bucket": models.MirrorFrom, "deliveries": models.DeliveryModel, "watch": models.WatchModel,
    "release": models.Basis, "throttle": operate.Throttle, "drift": operate.Drift, "limits": operate.Limits,
    "notify": operate.NotifyModel, "publish": models.PublishModel, "mail": operate.MailModel,
    "webhook": operate.WebhookModel, "triggers": operate.TriggerModel, "certificates": operate.CertificatesModel,
}  # fmt: skip


def keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(("section", "model"), MODELS.items(), ids=MODELS)
def test_every_key_has_its_line(section: str, model: type[BaseModel]) -> None:
    assert SECTIONS[section] == keys(model)


def test_every_model_of_the_catalog_has_its_section() -> None:
    known = {*MODELS.values(), models.TableModel, models.ColumnRule, models.Published, operate.SigningKey}
    named = {**vars(models), **vars(operate)}.values()
    parts = {m for m in named if isinstance(m, type) and issubclass(m, values.Strict)}
    assert parts - known == {values.Strict, models.Catalog}
    assert SECTIONS["tables"] == keys(models.TableModel) | {"mask"}


def test_every_mask_has_its_parameters() -> None:
    found = {name.removeprefix("mask: "): has for name, has in SECTIONS.items() if name.startswith("mask: ")}
    assert found == {name: keys(mask.Params) for name, mask in masks.registry().items()}


def test_every_transfer_type_has_its_fields() -> None:
    found = {n.removeprefix("transfer_type: "): has for n, has in SECTIONS.items() if n.startswith("transfer_type: ")}
    found["s3"] |= keys(models.StoreModel) - NOT_SETTINGS
    assert found == {name: keys(module.Settings) for name, module in transfers.registry().items()}


def test_every_detector_is_named() -> None:
    (line,) = re.findall(r"^\| `detectors` \|(.*)", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", line) == list(DETECTORS)
