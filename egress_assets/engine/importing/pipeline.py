"""AWS Data Pipeline definitions as exports: which table of which database went to which bucket.

Read are `objects`, `parameters` and `values`, as `aws datapipeline get-pipeline-definition` prints them; values may be
in a file of their own, one a table. Expressions are texts (`#{my_S3_path}/#{table}`), looked up and never run.

Source: AWS Data Pipeline Developer Guide (CopyActivity, SqlDataNode, S3DataNode, JdbcDatabase, Schedule, expressions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from egress_assets.engine.catalog.rows import DELIMITERS
from egress_assets.engine.importing.layouts import layout, mark, parse_place
from egress_assets.engine.importing.reading import Left, mappings, texts

_EXPRESSION = re.compile(r"#\{([^{}]*)\}")
_DATED = re.compile(r"(?i)[a-z]+\s*\(|@")
_MOST = 100  # expressions in one text, those within them included: they may go round, or double at each step
_LONGEST = 4000  # characters of a value that an expression stands for
_IDENTIFIER = r'(?:"(?:[^"\x00]|"")+"|[^\W\d][\w$]*)'
_TABLE = re.compile(rf"({_IDENTIFIER})(?:\.({_IDENTIFIER}))?")
_WHOLE_TABLE = re.compile(rf"(?i)\s*select\s+\*\s+from\s+(?P<table>{_IDENTIFIER}(?:\.{_IDENTIFIER})?)\s*;?\s*")
_PLAIN = ("RDS_jdbc", "RDS_username", "RDS_table_name", "S3_path")

_TAKEN: Mapping[str, frozenset[str]] = {
    "CopyActivity": frozenset({"input", "output", "schedule", "runsOn"}),
    "SqlDataNode": frozenset({"table", "selectQuery", "database", "schedule"}),
    "S3DataNode": frozenset({"directoryPath", "filePath", "compression", "dataFormat", "schedule"}),
    "CSV": frozenset({"escapeChar"}),
    "TSV": frozenset({"escapeChar", "columnSeparator", "recordSeparator"}),
    "Custom": frozenset({"columnSeparator", "recordSeparator"}),
    "JdbcDatabase": frozenset({"connectionString", "username", "*password", "jdbcDriverClass"}),
    "Schedule": frozenset({"period", "startDateTime", "startAt"}),
}
_NAMING = frozenset({"id", "name", "type", "parent"})
_WHY: Mapping[str, str] = {
    "Ec2Resource": "Egress runs where it is deployed",
    "EmrCluster": "Egress runs where it is deployed",
    "SnsAlarm": "people are told by `notify` in endpoints.yaml",
    "Default": "roles and logs are the deployment's",
    "RdsDatabase": "it names an instance and no address: write the source by hand",
}


@dataclass(frozen=True, slots=True)
class Export:
    """One table that a pipeline copied to S3."""

    file: str
    jdbc: str  # without its query, which may hold a password
    user: str
    table: str  # schema.table
    bucket: str
    prefix: str
    clock: str = ""  # HH:MM in UTC, of a daily schedule
    is_gzip: bool = False
    delimiter: str = ","
    layout: str = ""  # a `publish` path for the folders that it made; '' where none says it


@dataclass(slots=True)
class Definition:
    """One file's objects over one set of values; what is not taken over goes to `left`."""

    file: str
    objects: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Any]
    left: list[Left] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    marked: list[str] = field(default_factory=list)  # expressions that are another text each time, by their marks

    def exports(self) -> Iterator[Export]:
        for name, each in self.objects.items():
            kind = each.get("type")
            if kind == "CopyActivity":
                yield from self._copy(name, each)
            elif isinstance(kind, str) and kind.endswith("Activity"):
                self.leave(name, f"a {kind[:40]} is no copy of a table")
                self.seen.add(name)
        for name, each in self.objects.items():
            self._rest(name, each)

    def leave(self, what: str, why: str) -> None:
        self.left.append(Left(f"{self.file}: {what[:80]}", why))

    # ------------------------------------------------------------------------------------------------------ one copy
    def _copy(self, name: str, activity: Mapping[str, Any]) -> Iterator[Export]:
        self.seen.add(name)
        node, target = (self._object(activity.get(side)) for side in ("input", "output"))
        if node.get("type") != "SqlDataNode" or target.get("type") != "S3DataNode":
            self.leave(name, "it does not copy from a SqlDataNode to an S3DataNode")
            return
        database = self._object(node.get("database"))
        tables = self._tables(name, node)
        source = self._database(name, database)
        place = self._place(name, target, tables)
        clock, delimiter = self._clock(activity, node, target), self._delimiter(name, target)
        if source is None or place is None:
            return
        for table in tables:
            gzip = str(target.get("compression", "")).lower() == "gzip"
            bucket, prefix, form = place
            yield Export(self.file, source[0], source[1], table, bucket, prefix, clock, gzip, delimiter, form)

    def _database(self, name: str, database: Mapping[str, Any]) -> tuple[str, str] | None:
        kind = str(database.get("type", "nothing"))
        url = self.text(database, "connectionString")
        if kind != "JdbcDatabase" or url is None:
            self.leave(name, _WHY.get(kind, "its database has no JDBC URL that can be read"))
            return None
        user = self.text(database, "username") or ""
        return (found, user) if (found := self._jdbc(name, url)) else None

    def _jdbc(self, name: str, url: str) -> str:
        place, _, query = url.strip().partition("?")
        if not place.startswith("jdbc:postgresql:") or "@" in place:
            self.leave(name, "its JDBC URL is none of PostgreSQL's, or holds a password before its host")
            return ""
        for option in filter(None, query.split("&")):
            self.leave(
                f"{name}, JDBC option {option.partition('=')[0][:40]}", "the source says it, as in docs/catalog.md"
            )
        return place

    def _tables(self, name: str, node: Mapping[str, Any]) -> list[str]:
        """schema.table each; unquoted names are lower-case, as the server reads them."""
        written = self._many(node.get("table"))
        query = node.get("selectQuery")
        if isinstance(query, str) and not self._is_whole(query, node, written):
            self.leave(
                name, "its selectQuery is no `select * from #{table}`: a whole table would be more than it copied"
            )
            return []
        found: list[str] = []
        for text in written:
            if tables := parse_tables(text):
                found += tables
            else:
                self.leave(name, "its table is no name of a table, or is not known")
        if not written:
            self.leave(name, "it names no table, or one that no value is given for")
        return found

    def _is_whole(self, query: str, node: Mapping[str, Any], tables: Sequence[str]) -> bool:
        if re.fullmatch(r"(?i)\s*select\s+\*\s+from\s+#\{table\}\s*;?\s*", query):
            return True
        resolved = self.resolve(query, node)
        match = _WHOLE_TABLE.fullmatch(resolved or "")
        return bool(match) and [match["table"]] == list(tables)  # type: ignore[index]

    def _place(self, name: str, node: Mapping[str, Any], tables: Sequence[str]) -> tuple[str, str, str] | None:
        """(bucket, folder, layout below it)."""
        path = self.text(node, "directoryPath") or self.text(node, "filePath")
        found = parse_place(path or "", tables)
        if found is None:
            self.leave(name, "its S3 path is no s3://bucket/folder that is known")
            return None
        bucket, folder, last = found
        form = layout(last, self.marked, tables)
        if not form:
            why = "no `path` of a `publish` says them: objects lie below dump/<dataset>/date=<date>/"
            self.leave(f"{name}, folders", why)
        return bucket, folder, form

    def _delimiter(self, name: str, target: Mapping[str, Any]) -> str:
        """Of the target's data format. Without one it is the comma, records and escapes are the same in all of them."""
        form = self._object(target.get("dataFormat"))
        said = form.get("columnSeparator", "\t" if form.get("type") == "TSV" else ",")
        found = str(said).replace("\\t", "\t")
        usual = {"escapeChar": ("\\",), "recordSeparator": ("\n", "\\n")}
        other = [key for key, values in usual.items() if form.get(key, values[0]) not in values]
        other += [] if found in DELIMITERS else ["columnSeparator"]
        for key in other:
            self.leave(f"{name}, dataFormat.{key}", "a dump has another: see `csv` in docs/catalog.md")
        return "," if "columnSeparator" in other else found

    def _clock(self, *objects: Mapping[str, Any]) -> str:
        for each in objects:
            schedule = self._object(each.get("schedule"))
            if schedule:
                break
        else:
            schedule = self._object(self.objects.get("Default", {}).get("schedule"))
        period = str(schedule.get("period", "")).strip().lower()
        begins = re.search(r"T(\d\d:\d\d)", str(schedule.get("startDateTime", "")))
        if period in ("1 day", "1 days", "24 hours") and begins:
            return begins[1]
        if schedule:
            self.leave("Schedule", "it is not daily from a time on: write `schedule` in the dataset")
        return ""

    # ------------------------------------------------------------------------------------------------ looking things up
    def _object(self, ref: Any) -> Mapping[str, Any]:
        name = ref.get("ref") if isinstance(ref, Mapping) else None
        found = self.objects.get(name, {}) if isinstance(name, str) else {}
        if found:
            self.seen.add(str(name))
        return found

    def text(self, of: Mapping[str, Any], name: str) -> str | None:
        value = of.get(name)
        return self.resolve(value, of) if isinstance(value, str) else None

    def _many(self, value: Any) -> list[str]:
        """A table field; a parameter may hold a list."""
        whole = _EXPRESSION.fullmatch(value.strip()) if isinstance(value, str) else None
        if whole and isinstance(found := self.values.get(whole[1].strip()), list):
            return texts(found)
        return [text for each in texts(value) if (text := self.resolve(each, {}))]

    def resolve(self, text: str, of: Mapping[str, Any], tries: Iterator[int] | None = None) -> str | None:
        """The text with its expressions; None when one is not known. Functions of dates become a mark."""
        tries = iter(range(_MOST)) if tries is None else tries
        unknown = False

        def value(match: re.Match[str]) -> str:
            nonlocal unknown
            name = match[1].strip()
            found = self.values.get(name, of.get(name))
            if _DATED.match(name) or isinstance(found, list):
                self.marked.append("{table}" if isinstance(found, list) else name)
                return mark(len(self.marked) - 1)
            may = isinstance(found, str) and len(found) <= _LONGEST and next(tries, None) is not None
            inner = self.resolve(str(found), of, tries) if may else None
            unknown = unknown or inner is None
            return inner or ""

        resolved = _EXPRESSION.sub(value, text)
        return None if unknown else resolved

    def _rest(self, name: str, each: Mapping[str, Any]) -> None:
        kind = "Default" if name == "Default" else str(each.get("type", ""))
        if name not in self.seen:
            self.leave(name, _WHY.get(kind, "nothing that is copied uses it"))
            return
        if kind.endswith("Activity") and kind != "CopyActivity":
            return
        for key in each:
            if key not in _NAMING | _TAKEN.get(kind, frozenset()):
                self.leave(f"{name}.{key}", "it has no counterpart")


def definitions(file: str, data: Mapping[str, Any], values: Sequence[Mapping[str, Any]]) -> list[Definition]:
    """A file's pipeline, once for each set of values: its own, else each of the files that hold values alone."""
    objects = {each["id"]: each for each in mappings(data.get("objects")) if isinstance(each.get("id"), str)}
    defaults = {
        each["id"]: each["default"] for each in mappings(data.get("parameters"))
        if isinstance(each.get("id"), str) and "default" in each
    }  # fmt: skip
    own = values_of(data)
    return [Definition(file, objects, {**defaults, **one}) for one in ([own] if own or not values else values)]


def values_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found = data.get("values")
    return found if isinstance(found, Mapping) else {}


def plain(file: str, values: Mapping[str, Any]) -> Definition:
    """Values without any definition: the parameters' names, with or without `my`, say what they are."""
    known = {name.removeprefix("*").removeprefix("my_").removeprefix("my"): value for name, value in values.items()}
    objects = {
        "copy": {"id": "copy", "type": "CopyActivity", "input": {"ref": "table"}, "output": {"ref": "place"}},
        "table": {"id": "table", "type": "SqlDataNode", "table": "#{RDS_table_name}", "database": {"ref": "db"}},
        "place": {"id": "place", "type": "S3DataNode", "directoryPath":
                  "#{S3_path}/#{RDS_table_name}/#{format(@scheduledStartTime,'YYYY-MM-dd-HH-mm-ss')}"},
        "db": {
            "id": "db", "type": "JdbcDatabase", "connectionString": "#{RDS_jdbc}", "username": "#{RDS_username}",
        },
    }  # fmt: skip
    return Definition(file, objects, {name: known[name] for name in _PLAIN if name in known})


def parse_tables(text: str) -> list[str]:
    """`a, "B".c` as [public.a, B.c]; empty when it is anything else than names of tables."""
    found, end = [], 0
    text = text.strip()
    while end < len(text):
        match = _TABLE.match(text, end)
        gap = re.compile(r"\s*[\s,]\s*|\Z").match(text, match.end()) if match else None
        if match is None or gap is None:
            return []
        schema, name = (match[1], match[2]) if match[2] else ("public", match[1])
        if "." in _folded(schema) or any(not part.isprintable() for part in (schema, name)):
            return []
        found.append(f"{_folded(schema)}.{_folded(name)}")
        end = gap.end()
    return found


def _folded(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
