"""Every mistake that a catalog can hold, told with file, line and the way out; all of them in one run (S1-2)."""

import re
from pathlib import Path

import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import CatalogError
from tests.catalogs import ENDPOINTS, SHOP, problems

PUBLIC = "release: {basis: public, reason: r}"


def authorised(recipient: str) -> str:
    fields = "reason: r, purpose: p, legal_basis: l, approved_by: a, until: 2099-01-01"
    return f"release: {{basis: authorised, recipients: [{recipient}], {fields}}}"


RAW = "source: shop_db\nstart: 2026-11-01\ndump: {}\ntables:\n  public.orders: {}\n"
PARQUET = RAW.replace("dump: {}", "dump: {format: parquet, infinity: text}")


def test_the_catalogs_that_the_cases_start_from_are_right(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    assert problems(tmp_path, RAW) == []
    delivery = "deliveries:\n  acme/o: {from: dump/public.orders, format: parquet, " + authorised("acme") + "}\n"
    assert problems(tmp_path, PARQUET + delivery) == []


SYNTAX = {
    "unknown key": (SHOP + "scheduel: '02:15'\n", "6: scheduel: unknown key; valid: .*did you mean schedule\\?"),
    "missing key": (SHOP.replace("start: 2026-11-01\n", "") + "#", ": start: is required"),
    "wrong type": (SHOP.replace("{key: {env: K}}", "[x]"), "3: scrub: must be a mapping"),
    "number where text belongs": (SHOP + "description: 3\n", "6: description: must be text: put it in quotes"),
    "not a date": (SHOP.replace("2026-11-01", "soon"), "2: start: must be a date, for example"),
    "bare number as a duration": (SHOP + "grace: 36\n", "6: grace: 36 is not a duration: .*for example 36h"),
    "not a time": (SHOP + "schedule: 2am\n", "6: schedule: '2am' is not a time of day"),
    "not a choice": (SHOP + "date_label: runday\n", "6: date_label: 'runday' is not valid; .*did you mean run_day"),
    "reference of two": (SHOP.replace("{env: K}", "{env: K, file: F}"), "3: scrub.key: give exactly one of `env` and"),
    "reference misspelt": (SHOP.replace("env", "evn"), "3: scrub.key.evn: unknown key; valid: env, file"),
    "bad table name": (
        SHOP + "  orders: {id: keep}\n",
        "6: tables.orders: 'orders' is not a table: write schema",
    ),
    "duplicate key": (SHOP + "start: 2026-11-02\n", "6: start: duplicate key, first written in line 2"),
    "duplicate column": (
        SHOP.replace("email: email", "id: null"),
        "5: tables.public.orders.id: duplicate key, first written in line 5",
    ),
    "second document": (SHOP + "---\na: b\n", "6: a second document"),
    "tag": (SHOP + "x: !!python/name:os.system\n", "6: tag .* is not allowed"),
    "merge key": (SHOP + "<<: {a: b}\n", "6: <<: unknown key"),
    "not YAML": (SHOP + "x: [\n", "7: is not YAML: did not find expected node content"),
    "not a mapping": ("- a\n", "must be a mapping"),
    "empty": ("# nothing\n", "is empty"),
    "not UTF-8": (SHOP + "owner: team:\udcff\n", "6: is not UTF-8"),
}


@pytest.mark.parametrize(("text", "expected"), SYNTAX.values(), ids=SYNTAX)
def test_what_is_written_wrong_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bytes.yaml"
    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path, "sandbox")
    (found,) = caught.value.problems
    assert found.startswith(str(path))
    assert_matches(found.removeprefix(str(path)).lstrip(":").lstrip(), expected.lstrip(": "))


def assert_matches(found: str, expected: str) -> None:
    assert re.match(expected, found), f"{found!r} does not begin as {expected!r}"


DATASET = {
    "unknown mask": (
        SHOP.replace("email: email", "email: emial"),
        "shop.yaml:5: tables.public.orders.email.mask: 'emial' is not a mask; valid: .*email.*did you mean email",
    ),
    "unknown mask in the long form": (
        SHOP.replace("{id: keep, email: email}", "\n    columns:\n      id: keep\n      email: {mask: emial}"),
        "shop.yaml:8: tables.public.orders.columns.email.mask: 'emial' is not a mask",
    ),
    "unknown mask parameter": (
        SHOP.replace("email: email", "email: {mask: email, domian: x}"),
        "shop.yaml:5: tables.public.orders.email.domian: unknown parameter of mask email; .*did you mean domain",
    ),
    "wrong mask parameter": (
        SHOP.replace("email: email", "email: {mask: hash, length: many}"),
        "shop.yaml:5: tables.public.orders.email.length: must be a whole number",
    ),
    "missing mask parameter": (
        SHOP.replace("email: email", "born: {mask: date_shift}"),
        "shop.yaml:5: tables.public.orders.born.by: is required",
    ),
    "column without a mask": (
        SHOP.replace("{id: keep, email: email}", "\n    email:\n    id: keep"),
        "shop.yaml:6: tables.public.orders.email: must be a mapping",
    ),
    "table without columns": (
        SHOP.replace("{id: keep, email: email}", "{}"),
        "shop.yaml:5: tables.public.orders: no column has a mask",
    ),
    "masks without scrub": (
        RAW.replace("public.orders: {}", "public.orders: {columns: {id: keep}}"),
        "shop.yaml:5: tables.public.orders.columns: masks do nothing without `scrub",
    ),
    "name that Postgres cuts off": (
        SHOP.replace("id:", "i" * 64 + ":"),
        "shop.yaml:5: tables.public.orders: 'i+' has 64 bytes, Postgres cuts names off at 63",
    ),
    "unknown source": (
        SHOP.replace("shop_db", "shopdb"),
        "shop.yaml:1: source: 'shopdb' is not a source; valid: shop_db .did you mean shop_db",
    ),
    "unknown store": (SHOP + "store: laek\n", "shop.yaml:6: store: 'laek' is not a store; .*did you mean lake"),
    "unknown detector": (
        SHOP.replace("{key: {env: K}}", "{key: {env: K}, detectors: [email, fone]}"),
        "shop.yaml:3: scrub.detectors.1: 'fone' is not a detector; .*did you mean phone",
    ),
    "unknown quarantine": (
        SHOP.replace("{key: {env: K}}", "{key: {env: K}, quarantine: q}"),
        "shop.yaml:3: scrub.quarantine: 'q' is not a store",
    ),
    "tables without a stage": (
        RAW.replace("dump: {}\n", ""),
        "shop.yaml:3: tables: `tables` without `dump` or `scrub` do nothing",
    ),
    "window without extract": (
        RAW.replace("public.orders: {}", "public.orders: {window: at}"),
        "shop.yaml:5: tables.public.orders: `window` does nothing in a dataset of `extract: full`",
    ),
    "extract without window": (
        RAW.replace("dump: {}", "dump: {}\nextract: window"),
        "shop.yaml:6: tables.public.orders: `extract: window` needs the column that dates a row",
    ),
    "incremental without watermark": (
        RAW.replace("dump: {}", "dump: {}\nextract: incremental"),
        "shop.yaml:6: tables.public.orders: `extract: incremental` needs the column that grows with each change",
    ),
    "watermark without extract": (
        RAW.replace("public.orders: {}", "public.orders: {watermark: at}"),
        "shop.yaml:5: tables.public.orders: `watermark` does nothing in a dataset of `extract: full`",
    ),
    "overlap of a window": (
        RAW.replace("dump: {}", "dump: {}\nextract: window").replace("orders: {}", "orders: {window: at, overlap: 1h}"),
        "shop.yaml:6: tables.public.orders: `overlap` does nothing in a dataset of `extract: window`",
    ),
    "an overlap of nothing": (
        RAW.replace("public.orders: {}", "public.orders: {watermark: at, overlap: 0}"),
        "shop.yaml:5: tables.public.orders.overlap: 0 is no overlap: write a duration such as 1h",
    ),
    "columns of a raw dump that are named twice": (
        RAW.replace("public.orders: {}", "public.orders: {select: [a, b, a, b]}"),
        "shop.yaml:5: tables.public.orders: `select` names a, b twice",
    ),
    "columns of a scrub that are chosen": (
        SHOP.replace("{id: keep, email: email}", "{columns: {id: keep}, select: [id]}"),
        "shop.yaml:5: tables.public.orders: `select` is for datasets without `scrub`",
    ),
    "a condition that ends its statement": (
        RAW.replace("public.orders: {}", 'public.orders: {where: "true; DROP TABLE x"}'),
        "shop.yaml:5: tables.public.orders.where: .*a condition can't hold `;`",
    ),
    "a condition that hides what follows it": (
        RAW.replace("public.orders: {}", 'public.orders: {where: "true -- "}'),
        "shop.yaml:5: tables.public.orders.where: .*a condition can't hold `--`",
    ),
    "a condition of nothing": (
        RAW.replace("public.orders: {}", 'public.orders: {where: "  "}'),
        "shop.yaml:5: tables.public.orders.where: .*a condition is an SQL expression",
    ),
    "owner that Dagster refuses": (SHOP + "owner: shop\n", "shop.yaml:6: owner: 'shop' is not an owner"),
    "mirror to an unknown store": (
        SHOP + "mirrors:\n  m: {to: cehp}\n",
        "shop.yaml:7: mirrors.m.to: 'cehp' is not a store; .*did you mean ceph",
    ),
    "mirror of a stage that is not there": (
        SHOP + "mirrors:\n  m: {to: ceph, from: dump, release: {basis: public, reason: r}}\n",
        "shop.yaml:7: mirrors.m.from: shop has no dump",
    ),
    "raw mirror to an external zone": (
        RAW + "mirrors:\n  m: {to: ceph}\n",
        "shop.yaml:7: mirrors.m: a raw dump goes to ceph, of zone external, without `release`",
    ),
    "foreign bucket to an external zone": (
        "start: 2026-11-01\nmirrors:\n  m: {to: ceph, select: bucket, from: {store: other}}\n",
        "shop.yaml:3: mirrors.m: a foreign bucket goes to ceph, of zone external, without `release`",
    ),
    "raw rows in an external zone": (
        RAW + "store: ceph\n",
        "shop.yaml:6: store: store ceph is of zone external: dump and scrub to one of `zone: trusted`",
    ),
    "authorised for somebody else": (
        RAW + "mirrors:\n  m: {to: ceph, " + authorised("acme") + "}\n",
        "shop.yaml:7: mirrors.m.release.recipients: ceph is not among the authorised recipients .acme",
    ),
    "basis without its fields": (
        RAW + "mirrors:\n  m: {to: ceph, release: {basis: authorised, reason: r}}\n",
        "shop.yaml:7: mirrors.m.release: `authorised` needs recipients, purpose, legal_basis, approved_by, until",
    ),
    "mirror of a bucket that we write": (
        SHOP + "mirrors:\n  m: {to: ceph, select: bucket, from: {store: lake}, release: {basis: public, reason: r}}\n",
        "shop.yaml:7: mirrors.m.from: scrub/shop/shared writes there: a bucket to mirror must be foreign",
    ),
    "watched prefix that we write": (
        SHOP + 'watch:\n  - {store: lake, pattern: "scrub/{date:%Y}/done"}\n',
        "shop.yaml:7: watch.0.pattern: scrub/shop/shared writes there: only foreign prefixes can be watched",
    ),
    "watch without a date": (
        SHOP + "watch:\n  - {store: other, pattern: done}\n",
        "shop.yaml:7: watch.0.pattern: the pattern needs exactly one {date:...}",
    ),
    "quarantine beside the scrub": (
        SHOP.replace("{key: {env: K}}", "{key: {env: K}, quarantine: lake}"),
        "shop.yaml:3: scrub.*: .* writes where .* does: give each its own bucket or prefix",
    ),
    "scrub among the evidence": (
        SHOP + "store: evidence\n",
        "shop.yaml:3: scrub: scrub/shop/shared writes where the evidence does",
    ),
    "two mirrors in one place": (
        SHOP + "mirrors:\n  m: {to: ceph}\n  n: {to: ceph}\n",
        "shop.yaml:8: mirrors.n: mirror/n writes where mirror/m does",
    ),
    "delivery without a pipeline": (
        SHOP + "deliveries:\n  acme: {from: public.orders}\n",
        "shop.yaml:7: deliveries.acme: is not <recipient>/<pipeline name>",
    ),
    "delivery to an unknown recipient": (
        SHOP + "deliveries:\n  acem/o: {from: public.orders}\n",
        "shop.yaml:7: deliveries.acem/o: 'acem' is not a recipient; .*did you mean acme",
    ),
    "delivery of an unknown table": (
        SHOP + "deliveries:\n  acme/o: {from: public.order}\n",
        "shop.yaml:7: deliveries.acme/o.from: 'public.order' is not a table of shop; .*did you mean public.orders",
    ),
    "delivery of an unknown mirror": (
        SHOP + "deliveries:\n  acme/o: {from: mirror/shpo}\n",
        "shop.yaml:7: deliveries.acme/o.from: 'shpo' is not a mirror; there are none",
    ),
    "delivery of a scrub that is not there": (
        RAW + "deliveries:\n  acme/o: {from: public.orders}\n",
        "shop.yaml:7: deliveries.acme/o.from: shop has no scrub",
    ),
    "scrub as parquet": (
        SHOP.replace("{env: K}", "{env: K}, format: parquet"),
        "shop.yaml:3: scrub.format: parquet is for raw dumps, the gate scans CSV; valid: csv, csv.gz, csv.zst",
    ),
    "delivery of a scrub as parquet": (
        SHOP + "deliveries:\n  acme/o: {from: public.orders, format: parquet}\n",
        "shop.yaml:7: deliveries.acme/o.format: a scrub is CSV, only a raw dump can be parquet",
    ),
    "csv of a dump in parquet": (
        PARQUET + "deliveries:\n  acme/o: {from: dump/public.orders, " + authorised("acme") + "}\n",
        "shop.yaml:7: deliveries.acme/o.format: is csv.gz, the dump is parquet; .*`format: parquet`, or dump as CSV",
    ),
    "parquet of a dump in csv": (
        RAW + "deliveries:\n  acme/o: {from: dump/public.orders, format: parquet, " + authorised("acme") + "}\n",
        "shop.yaml:7: deliveries.acme/o.format: is parquet, the dump is csv.zst; .*say `dump: .format: parquet.`",
    ),
    "a header line in parquet": (
        PARQUET
        + "deliveries:\n  acme/o: {from: dump/public.orders, format: parquet, header: true, "
        + authorised("acme")
        + "}\n",
        "shop.yaml:7: deliveries.acme/o.format: a header line is for CSV",
    ),
    "infinity without parquet": (
        RAW.replace("dump: {}", "dump: {infinity: text}"),
        "shop.yaml:3: dump: `infinity` is for `format: parquet`",
    ),
    "csv options of parquet": (
        RAW.replace("dump: {}", "dump: {format: parquet, csv: {dialect: datapipeline}}"),
        "shop.yaml:3: dump: `csv` says how rows are written as text",
    ),
    "published parquet": (
        RAW.replace(
            "dump: {}", "dump: {format: parquet, publish: {fixed: {to: ceph, path: 'x/{table}/{date}.{ext}'}}}"
        ),
        "shop.yaml:3: dump: `publish` joins parts, which parquet can't",
    ),
    "raw delivery of a dump that is not there": (
        SHOP + "deliveries:\n  acme/o: {from: dump/public.orders, " + authorised("acme") + "}\n",
        "shop.yaml:7: deliveries.acme/o.from: shop has no raw dump",
    ),
    "raw delivery without authorisation": (
        RAW + "deliveries:\n  acme/o: {from: dump/public.orders, release: {basis: public, reason: r}}\n",
        "shop.yaml:7: deliveries.acme/o: raw rows leave without `authorised`",
    ),
    "raw delivery by way of a mirror": (
        RAW + "mirrors:\n  m: {to: ceph, " + PUBLIC + "}\ndeliveries:\n  acme/o: {from: mirror/m}\n",
        "shop.yaml:9: deliveries.acme/o: raw rows leave without `authorised`",
    ),
    "raw delivery for somebody else": (
        RAW + "deliveries:\n  acme/o: {from: dump/public.orders, " + authorised("beta") + "}\n",
        "shop.yaml:7: deliveries.acme/o.release.recipients: acme is not among the authorised recipients",
    ),
    "delivery to another audience": (
        SHOP + "deliveries:\n  beta/o: {from: public.orders}\n",
        "shop.yaml:7: deliveries.beta/o.from: shop is scrubbed for audience 'shared', recipient beta belongs to",
    ),
    "destination that is no template": (
        SHOP + 'deliveries:\n  acme/o: {from: public.orders, destination_prefix: "in/{day}/"}\n',
        "shop.yaml:7: deliveries.acme/o.destination_prefix: only {date:...} may stand in braces",
    ),
    "destination that reads attributes": (
        SHOP + 'deliveries:\n  acme/o: {from: public.orders, destination_prefix: "in/{date.__class__}/"}\n',
        "shop.yaml:7: deliveries.acme/o.destination_prefix: only {date:...} may stand in braces",
    ),
    "destination with another language's dates": (
        SHOP + 'deliveries:\n  acme/o: {from: public.orders, destination_prefix: "in/{date:YYYY-MM-DD}/"}\n',
        "shop.yaml:7: deliveries.acme/o.destination_prefix: a date is written with % codes",
    ),
    "destination that climbs": (
        SHOP + 'deliveries:\n  acme/o: {from: public.orders, destination_prefix: "in/../out/"}\n',
        "shop.yaml:7: deliveries.acme/o.destination_prefix: holds control characters, a backslash or `..`",
    ),
    "mirror that climbs": (
        SHOP + "mirrors:\n  m: {to: ceph, prefix: ../../x}\n",
        "shop.yaml:7: mirrors.m.prefix: is no plain folder: without `.`, `..`, `//`",
    ),
    "two deliveries of the same names": (
        SHOP
        + 'deliveries:\n  acme/a: {from: public.orders, destination_prefix: "in/{date:%Y}/"}\n'
        + '  acme/b: {from: public.orders, destination_prefix: "in/2026/"}\n',
        "shop.yaml:8: deliveries.acme/b.destination_prefix: delivers to the same names as acme/a",
    ),
}
WITH_OTHER = ENDPOINTS.replace("recipients:", "  other: {bucket: o}\nrecipients:")


@pytest.mark.parametrize(("text", "expected"), DATASET.values(), ids=DATASET)
def test_what_a_dataset_says_wrong_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(tmp_path, text, WITH_OTHER)
    assert_matches(found, expected)


PLACES = {
    "unknown kind": ("kind: ceph", "kind: cehp", "8: stores.ceph.kind: 'cehp' is not a kind of store; .*mean ceph"),
    "unknown zone": ("{kind: s3, bucket: l, zone: trusted}", "{bucket: l, zone: safe}", "7: stores.lake.zone: 'safe'"),
    "no timezone": ("Europe/London", "Europe/Londn", "1: timezone: 'Europe/Londn' is not an IANA timezone"),
    "bad name": ("  acme:", "  Acme:", "10: recipients.Acme: 'Acme' is not a name: lower-case letters"),
    "unknown evidence": ("{store: evidence}", "{store: evidense}", "2: evidence.store: 'evidense' is not a store"),
    "external evidence": ("bucket: e, zone: trusted", "bucket: e", "2: evidence.store: evidence lies in a store of"),
    "two addresses": ("{dsn: {env: SHOP_DSN}}", "{dsn: x, host: y}", "4: sources.shop_db: give exactly one of `dsn`,"),
    "unknown transfer": (
        "{transfer_type: sft, url: \"https://acme.example/DA\"}",
        "{transfer_type: stf}",
        "10: recipients.acme.transfer_type: 'stf' is not a transfer type; .*did you mean sft",
    ),
    "unknown transfer field": (
        'url: "https://acme.example/DA"',
        'ulr: "https://acme.example/DA", url: {env: U}',
        "10: recipients.acme.ulr: unknown key of transfer type sft; .*did you mean url",
    ),
    "missing transfer field": ("url: \"https://acme.example/DA\"", "env: any", "10: recipients.acme.url: is required"),
    "wrong transfer field": ("https://acme.example/DA", "http://acme.example/DA", "10: recipients.acme.url: must be "),
    "prefix that climbs": (
        "bucket: l, zone: trusted",
        "bucket: l, zone: trusted, prefix: a/../b",
        "7: stores.lake.prefix: is no plain folder: without `.`, `..`",
    ),
    "prefix of another system": (
        "bucket: l, zone: trusted",
        "bucket: l, zone: trusted, prefix: 'a\\b'",
        "7: stores.lake.prefix: is no plain folder",
    ),
    "expiring evidence": (
        "bucket: e, zone: trusted",
        "bucket: e, zone: trusted, expire_days: {dump: 90}",
        "6: stores.evidence.expire_days.dump: evidence never expires",
    ),
    "expiry of no stage": (
        "bucket: l, zone: trusted",
        "bucket: l, zone: trusted, expire_days: {dmup: 90}",
        "7: stores.lake.expire_days.dmup: 'dmup' is not a stage; .*did you mean dump",
    ),
    "expiry before a retry": (
        "bucket: l, zone: trusted",
        "bucket: l, zone: trusted, expire_days: {dump: 1}",
        "7: stores.lake.expire_days.dump: 1 d is shorter than a run and its retries: at least 2 d",
    ),
    "expiry before the delivery": (
        "bucket: l, zone: trusted",
        "bucket: l, zone: trusted, expire_days: {scrub: 2}",
        "7: stores.lake.expire_days.scrub: 2 d is shorter than the SLA of acme/o and its retries: at least 3 d",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), PLACES.values(), ids=PLACES)
def test_what_the_endpoints_say_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in ENDPOINTS
    delivered = SHOP if "Acme" in new else SHOP + "deliveries:\n  acme/o: {from: public.orders}\n"
    (found,) = problems(tmp_path, delivered, ENDPOINTS.replace(old, new))
    assert_matches(found, "endpoints.yaml:" + expected)


def test_names_are_unique_across_datasets(tmp_path: Path) -> None:
    mirror = 'mirrors:\n  m: {to: ceph, prefix: "%s/"}\n'
    delivery = 'deliveries:\n  acme/o: {from: public.orders, destination_prefix: "%s/"}\n'
    other = SHOP + mirror % "b" + delivery % "b"
    unique = ": it is unique in the whole catalog"
    assert problems(tmp_path, SHOP + mirror % "a" + delivery % "a", another=other) == [
        f"shop.yaml:7: mirrors.m: this name is taken by {tmp_path}/another.yaml:7{unique}",
        f"shop.yaml:9: deliveries.acme/o: this name is taken by {tmp_path}/another.yaml:9{unique}",
    ]


@pytest.mark.parametrize("name", ["housekeeping", "bucket_policy", "shop_range"])
def test_a_dataset_is_not_called_as_a_job_is(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, **{name: SHOP})
    assert_matches(found, rf"{name}.yaml(:\d+)?: .*no dataset can be called {name}: ")


def test_all_mistakes_of_all_files_are_told_in_one_run(tmp_path: Path) -> None:
    """A mistake of shape in one place doesn't hide the other ones, nor invent any."""
    shop = (
        SHOP.replace("email: email", "email: emial") + "scheduel: x\nstore: laek\nmirrors:\n  m: {to: cehp, selct: x}\n"
    )
    found = problems(
        tmp_path, shop, ENDPOINTS.replace("zone: trusted}\n  ceph", "zone: safe}\n  ceph"), other="start: no\n"
    )
    assert [problem.partition(" ")[0] for problem in found] == [
        "endpoints.yaml:7:", "other.yaml:1:", "shop.yaml:5:", "shop.yaml:6:", "shop.yaml:7:", "shop.yaml:9:",
        "shop.yaml:9:",
    ]  # fmt: skip


def test_a_mistake_is_told_without_the_secret_beside_it(tmp_path: Path) -> None:
    wrong = ENDPOINTS.replace("{dsn: {env: SHOP_DSN}}", "{host: h, port: hunter2, password: [hunter2]}")
    text = "must be text: put it in quotes, or write {env: NAME} or {file: PATH} where a reference is allowed"
    assert problems(tmp_path, endpoints=wrong) == [
        f"endpoints.yaml:4: sources.shop_db.password: {text}",
        "endpoints.yaml:4: sources.shop_db.port: must be a whole number",
    ]
