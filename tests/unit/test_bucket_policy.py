"""What the catalog wants of a bucket, and how it is brought in beside the rules of others. S0-6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.bucket_policy import access, lifecycle, run
from egress_assets.engine.bucket_policy.report import Item
from egress_assets.engine.bucket_policy.wanted import Rule, Wanted, wanted, written_stores
from egress_assets.engine.catalog.models import Catalog, DatasetModel, Endpoints
from egress_assets.engine.errors import CatalogError, StoreDenied, StoreUnavailable
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores.control import ROOTS, Configuration, Subject
from egress_assets.engine.stores.settings import StoreSettings

LAKE = Wanted(
    "lake", "egress/lake/00000000/", "x/",
    (Rule("egress/lake/00000000/dump", "x/dump/", 7, 7), Rule("egress/lake/00000000/scrub", "x/scrub/", 14, 7)),
    sse="", sse_kms_key="", block_public=True, is_evidence=False, applies=True,
)  # fmt: skip
EVIDENCE = replace(LAKE, store="evidence", owner="egress/evidence/0/", prefix="", rules=(), is_evidence=True)


def lifecycles(*rules: str) -> Element:
    return ET.fromstring(f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>")


def rule(name: str, prefix: str, actions: str, status: str = "Enabled") -> str:
    return f"<Rule><ID>{name}</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>{status}</Status>{actions}</Rule>"


ABORT = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
MARKER = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"


def expiry(days: int) -> str:
    return f"<Expiration><Days>{days}</Days></Expiration>"


def signs(found: Element, asked: Wanted = LAKE) -> str:
    return "".join(item.sign for item in lifecycle.compared(found, asked))


def catalog(dataset: Mapping[str, object], **stores: Mapping[str, object]) -> Catalog:
    said = {
        "evidence": {"store": "evidence"},
        "sources": {"db": {"dsn": "postgresql://x/y"}},
        "stores": {"evidence": {"bucket": "e"}, "lake": {"bucket": "l"}, **stores},
    }
    base = {"source": "db", "start": "2026-11-01", "tables": {"public.t": {}}, **dataset}
    return Catalog(endpoints=Endpoints.model_validate(said), datasets={"shop": DatasetModel.model_validate(base)})


# ------------------------------------------------------------------------------------------------------ what is wanted
def test_rules_lie_below_what_is_written_and_below_the_stores_own_prefix() -> None:
    lake = {"bucket": "l", "expire_days": {"dump": 7, "scrub": 14}, "abort_days": 3}
    made = catalog({"dump": {}, "scrub": {"key": "k"}}, lake=lake)
    found = wanted(made, "lake", prefix="team/x", sse_kms_key="")
    assert [(r.prefix, r.days, r.abort_days) for r in found.rules] == [
        ("team/x/dump/", 7, 3), ("team/x/scrub/", 14, 3),
    ]  # fmt: skip
    assert all(r.id.startswith(found.owner) for r in found.rules)
    assert found.applies is False, "report is the default"


def test_a_stage_that_nobody_writes_yet_expires_as_the_catalog_says() -> None:
    made = catalog({"dump": {}}, lake={"bucket": "l", "expire_days": {"scrub": 14}})
    found = wanted(made, "lake", prefix="", sse_kms_key="")
    assert [(r.prefix, r.days) for r in found.rules] == [("dump/", None), ("scrub/", 14)]


def test_a_mirrors_bucket_has_rules_below_the_mirrors_prefix() -> None:
    mirrors = {"a": {"to": "far"}, "b": {"to": "far", "prefix": "copy"}, "c": {"to": "far", "prefix": "in/place",
               "select": "bucket", "from": {"store": "lake"}}}  # fmt: skip
    made = catalog({"scrub": {"key": "k"}, "mirrors": mirrors}, far={"bucket": "f", "expire_days": {"scrub": 30}})
    found = wanted(made, "far", prefix="", sse_kms_key="")
    assert [(r.prefix, r.days) for r in found.rules] == [("copy/scrub/", 30), ("in/place/", None), ("scrub/", 30)]


def test_the_evidence_store_has_no_rules_and_is_written() -> None:
    made = catalog({"dump": {}})
    assert wanted(made, "evidence", prefix="", sse_kms_key="").rules == ()
    assert written_stores(made) == ("evidence", "lake")


def test_two_deployments_and_two_stores_in_one_bucket_never_own_each_others_rules() -> None:
    made = catalog({"dump": {}, "mirrors": {"m": {"to": "far"}}}, far={"bucket": "l", "prefix": "far"})
    owners = {
        wanted(made, store, prefix=prefix, sse_kms_key="").owner
        for store, prefix in (("lake", ""), ("lake", "dev/"), ("lake", "prod/"), ("far", "far/"))
    }
    assert len(owners) == 4
    assert not any(a != b and a.startswith(b) for a in owners for b in owners)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), min_size=2, max_size=5))
def test_ids_of_rules_are_short_plain_and_one_a_prefix(prefixes: list[str]) -> None:
    prefixes = [prefix.strip("/") or "x" for prefix in prefixes] + ["", "all"]
    mirrors = {f"m{n}": {"to": "far", "prefix": p, "select": "bucket", "from": {"store": "lake"}}
               for n, p in enumerate(prefixes)}  # fmt: skip
    found = wanted(catalog({"dump": {}, "mirrors": mirrors}, far={"bucket": "f"}), "far", prefix="", sse_kms_key="")
    ids = [r.id for r in found.rules]
    assert len(set(ids)) == len(ids) == len({r.prefix for r in found.rules})
    assert all(len(i) <= 255 and i.isascii() and i.isprintable() for i in ids)


# ----------------------------------------------------------------------------------------------------------- lifecycle
def test_an_empty_bucket_gets_all_rules_and_then_nothing_is_left_to_do() -> None:
    assert signs(lifecycles()) == "++"
    done = lifecycle.merged(lifecycles(), LAKE)
    assert signs(done) == "=="
    assert ET.tostring(lifecycle.merged(done, LAKE)) == ET.tostring(done)


WHAT = st.sampled_from(
    [expiry(9), "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>",
     "<NewAction deep='1'><Odd>x</Odd></NewAction>",
     ABORT.format(1)]
)  # fmt: skip
NAMES = st.text("abyz/ -_.", max_size=12)
FOREIGN = st.builds(rule, NAMES, NAMES, WHAT, st.sampled_from(["Enabled", "Disabled"]))
OURS = st.builds(
    rule,
    st.sampled_from([LAKE.rules[0].id, LAKE.owner + "gone", LAKE.owner + "older/one"]),
    st.sampled_from(["x/dump/", "x/other/", ""]),
    WHAT,
)


@given(st.lists(st.one_of(FOREIGN, OURS), max_size=6, unique_by=lambda text: ET.fromstring(text).findtext("ID")))
def test_rules_of_others_are_kept_as_they_are_and_a_second_plan_is_empty(rules: list[str]) -> None:
    found = lifecycles(*rules)
    others = [ET.tostring(r) for r in found.findall("Rule") if not (r.findtext("ID") or "").startswith(LAKE.owner)]
    done = lifecycle.merged(found, LAKE)
    assert [ET.tostring(r) for r in done.findall("Rule")][: len(others)] == others
    assert [r.findtext("ID") for r in done.findall("Rule")][len(others) :] == [r.id for r in LAKE.rules]
    assert set(signs(done)) <= {"=", "!"}, "what is in conflict stays in conflict, and is not ours to change"
    assert ET.tostring(lifecycle.merged(done, LAKE)) == ET.tostring(done)


def test_a_rule_that_differs_tells_both_and_is_replaced() -> None:
    found = lifecycles(rule(LAKE.rules[0].id, "x/dump/", expiry(30), "Disabled"))
    first, second = lifecycle.compared(found, LAKE)
    assert (first.sign, second.sign, first.state) == ("*", "+", "different")
    assert first.detail == (
        "bucket: 'x/dump/': expires after 30 d, disabled; "
        "catalog: 'x/dump/': expires after 7 d, unfinished uploads end after 7 d, old versions go after 1 d"
    )


def test_a_rule_that_the_catalog_no_longer_has_goes_and_the_last_one_leaves_nothing() -> None:
    found = lifecycles(rule(LAKE.owner + "scrub_old", "x/old/", expiry(3)))
    nothing = replace(LAKE, rules=())
    assert signs(found, nothing) == "-"
    assert len(lifecycle.merged(found, nothing)) == 0


@pytest.mark.parametrize(
    "spelled",
    [
        "<Rule><Status> Enabled </Status><Prefix>x/dump/</Prefix><ID>{id}</ID>{abort}{expiry}{old}</Rule>",
        "<Rule>{expiry}<ID>{id}</ID><Filter><Prefix>x/dump/</Prefix></Filter><Status>Enabled</Status>{old}{abort}</Rule>",
        "<Rule><ID>{id}</ID><Filter><And><Prefix>x/dump/</Prefix></And></Filter><Status>Enabled</Status>{old}{expiry}{abort}</Rule>",
    ],
)
def test_servers_may_spell_a_rule_in_their_own_way(spelled: str) -> None:
    parts = {
        "id": LAKE.rules[0].id,
        "expiry": expiry(7),
        "abort": ABORT.format(7),
        "old": "<NoncurrentVersionExpiration>\n <NoncurrentDays>1</NoncurrentDays>\n</NoncurrentVersionExpiration>",
    }
    assert signs(lifecycles(spelled.format(**parts))) == "=+"


@pytest.mark.parametrize(
    ("text", "is_conflict"),
    [
        (rule("all", "", expiry(6)), True),  # the reference system's own rule: the whole bucket after some days
        (rule("all", "", expiry(14)), False),
        (rule("inside", "x/scrub/shop/", expiry(3)), True),
        (rule("beside", "x/other/", expiry(1)), False),
        (rule("off", "", expiry(1), "Disabled"), False),
        (rule("day", "x/dump/", "<Expiration><Date>2026-01-01T00:00:00Z</Date></Expiration>"), True),
        (rule("marker", "", MARKER), False),
        (rule("odd", "", "<Expiration><Days>soon</Days></Expiration>"), True),
        ("<Rule><ID>t</ID><Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Status>Enabled</Status>"
         + expiry(1) + "</Rule>", False),
    ],
)  # fmt: skip
def test_a_rule_of_others_that_deletes_what_the_catalog_keeps_is_a_conflict(text: str, is_conflict: bool) -> None:
    found = lifecycle.merged(lifecycles(text), LAKE)
    states = [item.state for item in lifecycle.compared(found, LAKE)]
    assert ("in conflict" in states) is is_conflict
    assert ET.tostring(found.findall("Rule")[0]) == ET.tostring(ET.fromstring(text)), "kept all the same"


def test_any_expiry_over_the_evidence_is_a_conflict() -> None:
    (item,) = lifecycle.compared(lifecycles(rule("years", "", expiry(3650))), EVIDENCE)
    assert (item.sign, item.state) == ("!", "in conflict")
    assert "evidence never expires" in item.detail


# ------------------------------------------------------------------------------------------------ encryption and access
def encrypted_by(algorithm: str, key: str = "") -> Element:
    key = f"<KMSMasterKeyID>{key}</KMSMasterKeyID>" if key else ""
    return ET.fromstring(
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
        f"<SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault>"
        "<BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
    )


NO_ENCRYPTION = ET.Element(ROOTS["encryption"])


@pytest.mark.parametrize(
    ("found", "sse", "key", "sign"),
    [
        (NO_ENCRYPTION, "", "", "+"),
        (NO_ENCRYPTION, "aws:kms", "k", "+"),
        (encrypted_by("AES256"), "", "", "="),
        (encrypted_by("AES256"), "AES256", "", "="),
        (encrypted_by("AES256"), "aws:kms", "", "*"),
        (encrypted_by("aws:kms", "other"), "AES256", "", "="),  # stronger than asked: never weakened
        (encrypted_by("aws:kms:dsse", "k"), "aws:kms", "k", "="),
        (encrypted_by("aws:kms", "arn:aws:kms:eu-west-2:1:key/k"), "aws:kms", "k", "="),
        (encrypted_by("aws:kms", "other"), "aws:kms", "k", "*"),
        (encrypted_by("aws:kms"), "aws:kms", "k", "*"),
    ],
)
def test_default_encryption_is_brought_up_to_what_is_asked(found: Element, sse: str, key: str, sign: str) -> None:
    asked = replace(LAKE, sse=sse, sse_kms_key=key)
    assert access.encryption(found, asked, is_rgw=False).sign == sign
    if sign != "=":
        done = access.encrypted(found, asked)
        assert access.encryption(done, asked, is_rgw=False).sign == "="
        assert done.findtext("Rule/BucketKeyEnabled") == found.findtext("Rule/BucketKeyEnabled"), "kept as it was"


def test_ceph_is_left_without_encryption_unless_it_is_asked_for() -> None:
    assert access.encryption(NO_ENCRYPTION, LAKE, is_rgw=True).state == "left alone"
    assert access.encryption(NO_ENCRYPTION, replace(LAKE, sse="AES256"), is_rgw=True).sign == "+"


def flags(**said: str) -> Element:
    root = ET.Element(ROOTS["publicAccessBlock"])
    for name, value in said.items():
        ET.SubElement(root, name).text = value
    return root


def test_public_access_is_blocked_whole_or_left_alone_and_never_touched_on_ceph() -> None:
    part = flags(BlockPublicAcls="true", IgnorePublicAcls="TRUE", BlockPublicPolicy="false")
    assert access.public_access(flags(), LAKE, is_rgw=False).sign == "+"
    item = access.public_access(part, LAKE, is_rgw=False)
    assert item.detail == "bucket: blocked, but for BlockPublicPolicy, RestrictPublicBuckets; catalog: blocked"
    assert access.public_access(access.blocked(part), LAKE, is_rgw=False).sign == "="
    assert access.public_access(part, replace(LAKE, block_public=False), is_rgw=False).state == "left alone"
    assert access.public_access(part, LAKE, is_rgw=True).state == "not supported"


# --------------------------------------------------------------------------------------------------------------- a run
@dataclass
class Bucket:
    """A bucket that keeps what it is told; `answers` says what it does not have or does not let us see."""

    bucket: str = "l"
    kept: dict[Subject, Element] = field(default_factory=dict)
    answers: dict[Subject, str] = field(default_factory=dict)
    refuses: dict[Subject, Exception] = field(default_factory=dict)
    stale: int = 0  # answers that still show the old state after a write
    written: list[Subject] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    _old: dict[Subject, Element] = field(default_factory=dict)

    def configuration(self, subject: Subject) -> Configuration:
        empty = ET.Element(ROOTS[subject])
        if state := self.answers.get(subject):
            return Configuration(state, empty, {})  # type: ignore[arg-type]
        shown = self.kept
        if self.stale and self.written:
            self.stale, shown = self.stale - 1, self._old
        found = shown.get(subject)
        return Configuration("unset", empty, {}) if found is None else Configuration("set", found, {"x-kept": subject})

    def configure(self, subject: Subject, document: Element, headers: Mapping[str, str]) -> None:
        if error := self.refuses.get(subject):
            raise error
        self._old = dict(self.kept)
        self.kept[subject] = ET.fromstring(ET.tostring(document))
        self.written.append(subject)
        self.headers.append(headers)


class Settings:
    def store(self, name: str) -> StoreSettings:
        return StoreSettings(name=name, bucket="l", prefix="p")


def platform(bucket: Bucket, policy: str = "apply") -> Platform:
    lake = {"bucket": "l", "expire_days": {"dump": 7}, "policy": policy}
    return Platform(catalog({"dump": {}}, lake=lake), Settings(), _stores={"lake": bucket})  # type: ignore[arg-type]


def told(items: tuple[Item, ...]) -> list[tuple[str, str, str]]:
    return [(item.sign, item.what, item.state) for item in items]


def test_applying_twice_writes_once() -> None:
    bucket = Bucket()
    assert told(run.look(platform(bucket), "lake").items) == [
        ("+", "lifecycle", "missing"), ("+", "encryption", "missing"), ("+", "public access", "missing"),
    ]  # fmt: skip
    assert bucket.written == [], "looking writes nothing"
    first = run.apply(platform(bucket), "lake")
    assert (first.changed, first.is_as_said) == (("lifecycle", "encryption", "public access"), True)
    assert run.apply(platform(bucket), "lake").changed == ()
    assert bucket.written == ["lifecycle", "encryption", "publicAccessBlock"]


def test_only_what_differs_is_written_with_the_headers_that_came() -> None:
    bucket = Bucket()
    run.apply(platform(bucket), "lake")
    bucket.kept["lifecycle"] = lifecycles(rule("others", "logs/", expiry(9)))
    assert run.apply(platform(bucket), "lake").changed == ("lifecycle",)
    assert bucket.headers[-1] == {"x-kept": "lifecycle"}


def test_a_store_of_report_is_never_written() -> None:
    bucket = Bucket()
    with pytest.raises(CatalogError, match="store lake is not managed: the catalog says `policy: report`"):
        run.apply(platform(bucket, "report"), "lake")
    assert bucket.written == []


def test_a_store_that_nothing_writes_to_is_named_with_those_that_are() -> None:
    with pytest.raises(CatalogError, match="'laek' is not a store that the catalog writes to") as caught:
        run.look(platform(Bucket()), "laek")
    assert "lake" in caught.value.hint


def test_what_a_server_lacks_is_told_by_item_and_the_rest_is_done() -> None:
    bucket = Bucket(answers={"publicAccessBlock": "not supported"})
    done = run.apply(platform(bucket), "lake")
    assert told(done.items)[-1] == ("!", "public access", "not supported")
    assert done.is_as_said, "what the server can't do is no drift"


def test_what_we_may_not_see_is_neither_right_nor_written() -> None:
    bucket = Bucket(answers={"lifecycle": "denied"})
    done = run.apply(platform(bucket), "lake")
    assert ("!", "lifecycle", "not permitted") in told(done.items)
    assert not done.is_as_said
    assert not done.drift
    assert "lifecycle" not in bucket.written


def test_a_refusal_of_one_thing_is_told_and_the_others_are_done() -> None:
    bucket = Bucket(refuses={"encryption": StoreDenied("PUT default encryption: answer 403 AccessDenied")})
    done = run.apply(platform(bucket), "lake")
    assert done.changed == ("lifecycle", "public access")
    (item,) = done.drift
    assert (item.sign, item.state) == ("!", "refused")
    assert item.detail.endswith("answer 403 AccessDenied")


def test_a_store_that_is_away_is_an_error_that_a_retry_can_help() -> None:
    bucket = Bucket(refuses={"lifecycle": StoreUnavailable("no answer")})
    with pytest.raises(StoreUnavailable):
        run.apply(platform(bucket), "lake")


def test_a_store_that_shows_the_old_state_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PAUSE", 0.001)
    bucket = Bucket(stale=7)
    assert run.apply(platform(bucket), "lake").is_as_said
    assert bucket.stale == 0
