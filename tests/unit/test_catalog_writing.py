"""A catalog file is changed at once or not at all."""

from pathlib import Path

import pytest

from egress_assets.engine.catalog import writing
from egress_assets.engine.errors import CatalogError


def test_mode_link_and_line_ends_stay_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "shop.yaml", tmp_path / "shop.yaml"
    target.write_bytes(b"a: 1\r\n")
    target.chmod(0o640)
    link.symlink_to(target)
    writing.replace(link, writing.read(link), "a: 2\r\n")
    assert (target.read_bytes(), target.stat().st_mode & 0o777, link.is_symlink()) == (b"a: 2\r\n", 0o640, True)
    assert [path.name for path in target.parent.iterdir()] == ["shop.yaml"]


@pytest.mark.parametrize("before", ["a: 0\n", None])
def test_what_somebody_else_has_written_meanwhile_is_not_lost(tmp_path: Path, before: str | None) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("a: 1\n")
    with pytest.raises(CatalogError, match="has changed while the table was looked at"):
        writing.replace(file, before, "a: 2\n")
    assert file.read_text() == "a: 1\n"


def test_a_new_file_is_readable_by_all_and_one_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    writing.replace(file, None, "a: 1\n")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("a: 1\n", 0o644)
    file.unlink()
    with pytest.raises(CatalogError, match="has changed"):
        writing.replace(file, "a: 1\n", "a: 2\n")


def test_a_write_that_fails_leaves_the_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("a: 1\n")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(CatalogError, match="can't be written: No space left on device"):
        writing.replace(file, "a: 1\n", "a: 2\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("shop.yaml", "a: 1\n")]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file or directory"):
        writing.replace(tmp_path / "gone" / "shop.yaml", None, "a: 1\n")
