"""`egress explain`"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from egress_assets.cli._options import explained_argument, json_option
from egress_assets.cli._output import Shown, emit, number, size
from egress_assets.cli._state import State

_WHAT = ("what", "detail")


@click.command("explain")
@explained_argument
@json_option
@click.pass_obj
def command(state: State, words: tuple[str, ...]) -> None:
    """Tell the whole story of an object: from the source's LSN to the receipts.

    OBJECT is a key, s3://STORE-OR-BUCKET/KEY, a delivered file's name, an attempt's id, or a unit and a date. From
    evidence alone, and a HEAD of the object.
    """
    from egress_assets.engine.explain.document import document
    from egress_assets.engine.explain.story import explain

    said = document(explain(state.platform(), words))
    emit(state, said, *_shown(said))


def _shown(said: Mapping[str, Any]) -> Iterator[Shown | str]:
    for step in said["told"]:
        yield from _section(step)
    rows = [
        (each["now"], each["store"], each["key"], size(each["bytes"]), number(each["rows"]), each["sha256"],
         each["detail"])
        for each in said["objects"]
    ]  # fmt: skip
    if rows:
        yield Shown(("now", "store", "key", "bytes", "rows", "sha256", "detail"), rows, title="objects")
    yield from _around(said)
    yield from _ends(said)


def _section(step: Mapping[str, Any], before: str = "") -> Iterator[Shown]:
    title = " ".join(filter(None, (step["unit"], step["date"], step["table"])))
    yield Shown(_WHAT, list(_told(step)), title=f"{before}{title}")
    if any(column["mask"] for column in step.get("columns", ())):
        rows = [(each["name"], each["type"], each["mask"]) for each in step["columns"]]
        yield Shown(("column", "type", "mask"), rows)


def _told(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    detail = f", {step['detail']}" if step["detail"] else ""
    yield "state", f"{step['state']}{detail}"
    yield "attempt", step["attempt"]
    if step["generation"] is not None:
        yield "pointer", f"generation {step['generation']}, by {step['pointer_by']}"
    if "manifest" not in step:
        return
    yield "manifest", f"{step['manifest']} sha256 {step['manifest_digest']}"
    yield "source", _source(step)
    if again := step["confirmed"]:
        yield "confirmed", _position(again, again["snapshot"]) or f"as of {again['at']}"
    if "rows" not in step:
        return
    rows = f"{number(step['rows'])} rows, " if step["rows"] is not None else ""
    objects = " ".join(filter(None, (number(step["objects"]), step["format"], "objects")))
    yield "content", f"{rows}{size(step['bytes'])} in {objects}, {step['content_digest']}"
    if going := step["continues"]:
        yield "continues", _continues(going)
    if policy := step["policy"]:
        yield "policy", f"{policy['digest']}, audience {policy['audience']}"
        yield "key", f"{policy['key_id']}, epoch {policy['epoch']}"
    if step["basis"]:
        yield "basis", ", ".join(f"{name} {value}" for name, value in step["basis"].items() if value)
    for check in step["checks"]:
        yield "check", f"{check['name']}: {'passed' if check['passed'] else 'failed'}"


def _continues(going: Mapping[str, Any]) -> str:
    since = f"from {going['after']}" if going["after"] and not going["begins"] else f"begins anew: {going['begins']}"
    counts = {"late": "late_rows", "in the future": "ahead_rows", "below the overlap": "missed_rows"}
    said = [f"{number(going[name])} {what}" for what, name in counts.items() if going[name]]
    again = f"overlap taken again: {going['again']}" if going["again"] else ""
    return ", ".join(filter(None, (since, f"{going['column']} up to {going['watermark']}", *said, again)))


def _source(step: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (_position(step["source"], step["snapshot"]), f"as of {step['as_of']}")))


def _position(at: Mapping[str, Any], snapshot: str) -> str:
    if at["kind"] == "lsn":
        return f"LSN {at['lsn']} of system {at['system']}, timeline {at['timeline']}, snapshot {snapshot}"
    return f"generation {at['generation']} of {at['unit']}" if at["kind"] == "parent" else ""


def _around(said: Mapping[str, Any]) -> Iterator[Shown]:
    up: list[Mapping[str, Any]] = said["up"]
    if len(up) == 1:
        yield from _section(up[0], "made of ")
    for title, steps in (("made of", up if len(up) > 1 else []), ("made of it", said["down"])):
        if steps:
            rows = [
                (each["unit"], each["table"], each["state"], each["attempt"], _source(each) if "source" in each else "")
                for each in steps
            ]
            yield Shown(("unit", "table", "state", "attempt", "detail"), rows, title=title)


def _ends(said: Mapping[str, Any]) -> Iterator[Shown | str]:
    rows = [
        (each["recipient"], each["destination"], each["at"], each["how"], size(each["bytes"]), each["identity"],
         "pending" if each["ledger"] is None else str(each["ledger"]))
        for each in said["receipts"]
    ]  # fmt: skip
    if rows:
        columns = ("recipient", "destination", "at", "how", "bytes", "identity", "ledger")
        yield Shown(columns, rows, title="delivered")
    else:
        yield "delivered: no receipt"
    if said["receipts_left_off"]:
        yield f"{number(said['receipts_left_off'])} more receipts of the date were not looked at: ask by a file's name"
    for hold in said["holds"]:
        yield f"held: {hold['name']} by {hold['by']} since {hold['since']}: {hold['reason']}"
