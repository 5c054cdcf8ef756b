"""Deliveries: to whom, of what, and to where; two of them must never write the same name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from string import Formatter

from egress_assets.engine.catalog.models import DatasetModel, DeliveryModel
from egress_assets.engine.catalog.problems import Problem, choices
from egress_assets.engine.catalog.view import View
from egress_assets.engine.partition import parse_date

_PROBE = parse_date("2026-11-20")  # any day whose year, month and day differ
_EXAMPLE = "only {date:...} may stand in braces, for example in/{date:%Y/%m/%d}/"
_DIGITS = {"Y": 4, "m": 2, "d": 2, "y": 2, "j": 3, "V": 2, "G": 4, "u": 1}


def deliveries_name_a_recipient(view: View) -> Iterator[Problem]:
    valid = view.names("recipients")
    for dataset, name, _ in view.deliveries():
        recipient, slash, _pipeline = name.partition("/")
        if slash and recipient not in valid:
            text = f"{recipient!r} is not a recipient; {choices(recipient, valid)}"
            yield view.problem(dataset, "deliveries", name, text=text)


def deliveries_have_a_source(view: View) -> Iterator[Problem]:
    mirrors = {name for each in view.documents for name in view.documents[each].names("mirrors")}
    for dataset, name, delivery in view.deliveries():
        stage, slash, rest = delivery.from_.partition("/")
        if slash and stage == "mirror":
            text = "" if rest in mirrors else f"{rest!r} is not a mirror; {choices(rest, mirrors)}"
        else:
            text = _table_problem(view, dataset, name, delivery)
        if text:
            yield view.problem(dataset, "deliveries", name, "from", text=text)


def _table_problem(view: View, dataset: str, name: str, delivery: DeliveryModel) -> str:
    model, tables = view.datasets[dataset], view.documents[dataset].names("tables")
    raw = delivery.from_.startswith("dump/")
    table = delivery.from_.removeprefix("dump/")
    if table not in tables:
        return f"{table!r} is not a table of {dataset}; {choices(table, tables)}"
    if raw:
        return "" if model.dump or view.says(dataset, "dump") else f"{dataset} has no raw dump: add `dump: {{}}`"
    return _audience_problem(view, dataset, name, model)


def _audience_problem(view: View, dataset: str, name: str, model: DatasetModel) -> str:
    if model.scrub is None:
        if view.says(dataset, "scrub"):
            return ""
        return f"{dataset} has no scrub: add `scrub: {{key: ...}}`, or deliver `dump/<schema.table>` with `authorised`"
    recipient = view.endpoints.recipients.get(name.partition("/")[0])
    if recipient and recipient.audience != model.scrub.audience:
        return (
            f"{dataset} is scrubbed for audience {model.scrub.audience!r}, "
            f"recipient {name.partition('/')[0]} belongs to {recipient.audience!r}"
        )
    return ""


def deliveries_fit_what_is_stored(view: View) -> Iterator[Problem]:
    """Parquet is sent as it is stored; everything else is made of CSV."""
    for dataset, name, delivery in view.deliveries():
        if not delivery.from_.startswith("mirror/") and (text := _format_problem(view.datasets[dataset], delivery)):
            yield view.problem(dataset, "deliveries", name, "format", text=text)


def _format_problem(model: DatasetModel, delivery: DeliveryModel) -> str:
    wants = delivery.format == "parquet"
    if not delivery.from_.startswith("dump/"):
        return "a scrub is CSV, only a raw dump can be parquet; valid: csv, csv.gz, csv.zst" if wants else ""
    if model.dump is None:  # said by another rule
        return ""
    if wants != (model.dump.format == "parquet"):
        way_out = "say `dump: {format: parquet}`" if wants else "say `format: parquet`, or dump as CSV"
        return f"is {delivery.format}, the dump is {model.dump.format}; neither is made of the other: {way_out}"
    return "a header line is for CSV: remove `header`" if wants and delivery.header else ""


def destinations_are_templates(view: View) -> Iterator[Problem]:
    for dataset, name, delivery in view.deliveries():
        if text := _template_problem(delivery.destination_prefix):
            yield view.problem(dataset, "deliveries", name, "destination_prefix", text=text)


def _template_problem(template: str) -> str:
    try:
        fields = list(Formatter().parse(template))
        if any(name not in (None, "date") or conversion for _, name, _, conversion in fields):
            return _EXAMPLE
        template.format(date=_PROBE)
    except (ValueError, KeyError, IndexError):
        return f"is not a template: {_EXAMPLE}"
    if any(spec and "%" not in spec for _, _, spec, _ in fields):
        return "a date is written with % codes, for example {date:%Y-%m-%d}"
    literal = "".join(text for text, *_ in fields)
    if re.search(r"[\x00-\x1f\x7f\\]", literal) or ".." in literal.split("/"):
        return "holds control characters, a backslash or `..`"
    return ""


def destinations_do_not_overlap(view: View) -> Iterator[Problem]:
    by_recipient: dict[str, list[tuple[str, str, DeliveryModel]]] = {}
    for dataset, name, delivery in view.deliveries():
        if not _template_problem(delivery.destination_prefix):
            by_recipient.setdefault(name.partition("/")[0], []).append((dataset, name, delivery))
    for deliveries in by_recipient.values():
        for (_, first, one), (dataset, second, other) in combinations(deliveries, 2):
            if first != second and _same_names(one, other) and _meet(one.destination_prefix, other.destination_prefix):
                text = f"delivers to the same names as {first}: give each its own destination_prefix"
                yield view.problem(dataset, "deliveries", second, "destination_prefix", text=text)


def _same_names(one: DeliveryModel, other: DeliveryModel) -> bool:
    """Files are named for their table; what a mirror's objects are called is only known when they are there."""
    if one.from_.startswith("mirror/") or other.from_.startswith("mirror/"):
        return True
    return one.from_.removeprefix("dump/") == other.from_.removeprefix("dump/") and one.format == other.format


def _meet(one: str, other: str) -> bool:
    """Whether two templates can give the same folder for some pair of dates."""
    return bool(_regex(one).fullmatch(other.format(date=_PROBE)) or _regex(other).fullmatch(one.format(date=_PROBE)))


def _regex(template: str) -> re.Pattern[str]:
    out = []
    for literal, name, spec, _ in Formatter().parse(template):
        out.append(re.escape(literal))
        if name is not None:
            pieces = re.split(r"%-?([A-Za-z])", spec or "%Y-%m-%d")
            out += [re.escape(p) if i % 2 == 0 else _digits(p) for i, p in enumerate(pieces)]
    return re.compile("".join(out))


def _digits(code: str) -> str:
    return rf"[0-9]{{{_DIGITS[code]}}}" if code in _DIGITS else "[^/]+"
