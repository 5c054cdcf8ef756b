"""The bucket policy on real servers, looked at by another client (boto3). S0-6."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from egress_assets.engine.bucket_policy.report import Report
from egress_assets.engine.bucket_policy.run import apply, look
from egress_assets.engine.catalog.models import Catalog, DatasetModel, Endpoints
from egress_assets.engine.errors import StoreError
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores.settings import StoreSettings

SERVERS = [
    pytest.param(("seaweedfs", "s3"), id="seaweedfs"),
    pytest.param(("moto", "s3"), id="moto"),
    pytest.param(("ceph_rgw", "ceph"), id="rgw", marks=pytest.mark.ceph),
    pytest.param(("ceph_rgw", "s3"), id="rgw-called-s3", marks=pytest.mark.ceph),
]
LACKING = {"seaweedfs": {"public access"}, "moto": set(), "ceph": {"encryption", "public access"}}


@dataclass
class Place:
    """One bucket of its own, through the engine and through boto3."""

    server: str
    settings: StoreSettings
    boto: Any
    said: dict[str, Any] = field(default_factory=lambda: {"expire_days": {"dump": 7, "scrub": 14}})

    def platform(self) -> Platform:
        lake = {"bucket": self.settings.bucket, "policy": "apply", **self.said}
        stores = {"evidence": {"bucket": "e"}, "lake": lake}
        endpoints = {"evidence": {"store": "evidence"}, "sources": {"db": {"dsn": "x"}}, "stores": stores}
        shop = {"source": "db", "start": "2026-11-01", "dump": {}, "scrub": {"key": "k"}, "tables": {"public.t": {}}}
        catalog = Catalog(
            endpoints=Endpoints.model_validate(endpoints), datasets={"shop": DatasetModel.model_validate(shop)}
        )
        return Platform(catalog, self)  # type: ignore[arg-type]

    def store(self, name: str) -> StoreSettings:
        return self.settings.model_copy(update={"name": name})

    def apply(self) -> Report:
        return apply(self.platform(), "lake")

    def look(self) -> Report:
        return look(self.platform(), "lake")

    def rules(self) -> dict[str, dict[str, Any]]:
        found = self.boto.get_bucket_lifecycle_configuration(Bucket=self.settings.bucket)["Rules"]
        return {rule["ID"]: rule for rule in found}

    def put_rules(self, *rules: dict[str, Any]) -> None:
        given = {"Rules": list(rules)}
        self.boto.put_bucket_lifecycle_configuration(Bucket=self.settings.bucket, LifecycleConfiguration=given)

    def below(self, prefix: str) -> dict[str, Any]:
        """The one rule below the store's own prefix and this one."""
        (found,) = (r for r in self.rules().values() if prefix_of(r) == f"team/{prefix}")
        return found


def prefix_of(rule: dict[str, Any]) -> str:
    where = rule.get("Filter", {})
    return where.get("Prefix", where.get("And", {}).get("Prefix", rule.get("Prefix", "")))


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    import boto3
    from botocore.config import Config

    name, kind = request.param
    server = request.getfixturevalue(name)
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    settings = StoreSettings(
        name="lake", kind=kind, bucket=f"policy-{secrets.token_hex(6)}", prefix="team", endpoint=server.endpoint, **keys
    )
    server.open(kind, bucket=settings.bucket).ensure_bucket()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # botocore's own use of utcnow on newer Pythons
        boto = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )  # fmt: skip
        yield Place(server.name, settings, boto)
    boto.close()


def test_applied_twice_it_is_as_the_catalog_says_and_the_second_time_writes_nothing(place: Place) -> None:
    first = place.apply()
    assert set(first.changed) == {"lifecycle", "encryption", "public access"} - LACKING[place.server]
    assert first.is_as_said, first.drift
    again = place.apply()
    assert (again.changed, again.is_as_said) == ((), True)
    assert {rule["Expiration"]["Days"] for rule in place.rules().values()} == {7, 14}
    assert place.below("dump/")["Expiration"]["Days"] == 7
    assert place.below("scrub/")["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_what_a_server_lacks_is_said_and_is_no_drift(place: Place) -> None:
    states = {item.what: item.state for item in place.apply().items}
    lacking = {what for what, state in states.items() if state in ("not supported", "left alone")}
    assert lacking == LACKING[place.server]


def test_the_owner_can_still_write_afterwards_also_in_parts(place: Place) -> None:
    """Ceph refuses the owner's own uploads where public access is blocked."""
    place.apply()
    with_store = place.platform().store("lake")
    with_store.put("dump/one", b"x")
    with_store.upload("dump/large", iter([b"y" * 2**20] * 17))
    head = with_store.head("dump/large")
    assert head is not None
    assert head.bytes == 17 * 2**20


def test_rules_of_others_stay_as_they_are(place: Place) -> None:
    others = [
        {"ID": "logs of others", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 90}},
        {
            "ID": "tagged", "Filter": {"And": {"Prefix": "tmp/", "Tags": [{"Key": "a", "Value": "b c"}]}},
            "Status": "Disabled", "Expiration": {"Days": 1},
        },
        {
            "ID": "versions", "Filter": {"Prefix": "v/"}, "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
        },
    ]  # fmt: skip
    place.put_rules(*others)
    before = place.rules()
    assert place.apply().is_as_said
    place.said["expire_days"] = {"dump": 9}
    assert place.apply().changed == ("lifecycle",)
    after = place.rules()
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    kept = [item for item in place.look().items if item.state == "of others"]
    assert len(kept) == 3


def test_drift_is_told_with_both_and_made_right(place: Place) -> None:
    place.apply()
    changed = [rule | {"Expiration": {"Days": 30}} for rule in place.rules().values()]
    place.put_rules(*changed[:1])
    report = place.look()
    assert sorted(item.sign for item in report.drift) == ["*", "+"]
    (different,) = (item for item in report.drift if item.sign == "*")
    assert "expires after 30 d" in different.detail
    assert "catalog: " in different.detail
    assert place.apply().changed == ("lifecycle",)
    assert place.look().is_as_said


def test_what_the_catalog_no_longer_says_goes(place: Place) -> None:
    place.said["expire_days"] = {"dump": 7, "archive": 30}
    place.apply()
    assert place.below("archive/")["Expiration"]["Days"] == 30
    place.said["expire_days"] = {}
    assert [item.sign for item in place.look().drift] == ["*", "-"]
    assert place.apply().is_as_said
    assert not any("Expiration" in rule for rule in place.rules().values())


def test_a_rule_over_the_whole_bucket_that_deletes_earlier_is_a_conflict_and_is_kept(place: Place) -> None:
    place.put_rules({"ID": "all", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 3}})
    report = place.apply()
    assert [(item.sign, item.state) for item in report.drift] == [("!", "in conflict")]
    assert place.rules()["all"]["Expiration"]["Days"] == 3


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"bucket": "nobody-made-this"})
    with pytest.raises(StoreError, match="nobody-made-this"):
        place.look()


@pytest.mark.parametrize(
    "place", [each for each in SERVERS if "rgw" in str(each.id)], indirect=True, ids=["rgw", "rgw-called-s3"]
)
def test_public_access_block_is_never_set_on_ceph_whatever_it_is_called(place: Place) -> None:
    place.apply()
    found = place.boto.get_public_access_block(Bucket=place.settings.bucket).get("PublicAccessBlockConfiguration", {})
    assert not any(found.values())
