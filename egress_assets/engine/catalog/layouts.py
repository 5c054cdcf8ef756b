"""The layout of a `publish`: which key every table, part, schema and flag of a date gets. No bytes, no stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from egress_assets.engine.catalog.fixed_names import PublishModel
from egress_assets.engine.catalog.models import DatasetModel, Published
from egress_assets.engine.path_template import DIGIT, OF_DATES, OF_TABLES, Named, PathTemplate, common_head


@dataclass(frozen=True, slots=True)
class Layout:
    """`stored` is the format of the stage's parts, `tables` the catalog's."""

    dataset: str
    publish: PublishModel
    stored: str
    tables: tuple[str, ...]
    path: PathTemplate
    of_flag: PathTemplate | None
    of_schema: PathTemplate | None = None

    @property
    def format(self) -> str:
        return self.publish.format or self.stored

    @property
    def is_joined(self) -> bool:
        """One object a table; else one a part."""
        return "part" not in self.path.fields

    @property
    def is_text(self) -> bool:
        """Stored as rows of text, whose parts can be joined, compressed anew and given a header line."""
        return self.stored.partition(".")[0] == "csv"

    def key(self, table: str, date: str, part: int = 0) -> str:
        return self.path.key(self._named(table), date, part)

    def schema(self, table: str, date: str) -> str:
        """The key of what describes a table; '' where it is not published."""
        return self.of_schema.key(self._named(table), date) if self.of_schema else ""

    def flag(self, date: str) -> str:
        """The key of the flag; '' where none is written."""
        return self.of_flag.key(Named(self.dataset), date) if self.of_flag else ""

    def shapes(self) -> Iterator[tuple[str, str, str]]:
        """(shape, the catalog's key that decides it, table or '') of all that is ever written."""
        for table in self.tables:
            yield self.path.shape(self._named(table)), "path", table
        if self.of_schema:
            for table in self.tables:
                yield self.of_schema.shape(self._named(table)), "schema", table
        if self.of_flag:
            yield self.of_flag.shape(Named(self.dataset)), "flag", ""

    @property
    def head(self) -> str:
        """What every key begins with, whatever the date: a folder with its slash, or nothing."""
        common = common_head(shape.partition(DIGIT)[0] for shape, _, _ in self.shapes())
        return common[: common.rfind("/") + 1]

    def date_of(self, key: str) -> str:
        """The date that an object of this layout is of; '' for any other key."""
        templates = [self.path, *([self.of_schema] if self.of_schema else [])]
        dates = (each.date_of(self._named(table), key) for each in templates for table in self.tables)
        flag = self.of_flag.date_of(Named(self.dataset), key) if self.of_flag else ""
        return next(filter(None, dates), flag)

    def _named(self, table: str) -> Named:
        return Named(self.dataset, table, self.format)


def layout_of(dataset: str, model: DatasetModel, mirror: Published) -> Layout:
    """The layout of one `publish` of a dataset."""
    said = mirror.publish
    stage = model.dump if mirror.from_ == "dump" else model.scrub
    stored = stage.format if stage else ""
    flag = PathTemplate.parse(said.flag, OF_DATES) if said.flag else None
    schema = PathTemplate.parse(said.schema_, OF_TABLES) if said.schema_ else None
    return Layout(dataset, said, stored, tuple(model.tables), PathTemplate.parse(said.path), flag, schema)
