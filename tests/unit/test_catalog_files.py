"""Which files are a catalog: what would be ignored, is too large, or would fill the memory is told (S1-2)."""

from pathlib import Path

import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import CatalogError
from tests.catalogs import problems


def test_files_that_would_be_ignored_are_told(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "orders.yaml").touch()
    (tmp_path / "more.yml").touch()
    (tmp_path / "My Shop.yaml").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / ".hidden.yaml").touch()
    assert problems(tmp_path) == [
        "My Shop.yaml: 'My Shop' is not a dataset's name: lower-case letters, digits and `_`, beginning with a letter",
        "more.yml: is not read: rename it to .yaml",
        "team: catalog files in a folder below are not read: move them up",
    ]


def test_a_folder_without_a_dataset_or_endpoints_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path, "sandbox")
    assert caught.value.problems == (
        f"{tmp_path}: no dataset: a dataset is a file <name>.yaml beside endpoints.yaml",
        f"{tmp_path}/endpoints.yaml: can't be read: No such file or directory",
    )
    with pytest.raises(CatalogError, match="is not there") as caught:
        load_catalog(tmp_path / "nowhere")
    assert "EGRESS_CATALOG" in caught.value.hint


def test_a_file_that_is_no_catalog_file_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * 4_000_001)
    assert problems(tmp_path) == ["big.yaml: larger than 4,000,000 bytes: not a catalog file"]


def test_aliases_can_not_be_used_to_fill_the_memory(tmp_path: Path) -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"{n}: &{n} [{', '.join([f'*{chr(ord(n) - 1)}'] * 10)}]" for n in "bcdefghij"]
    (found,) = problems(tmp_path, "\n".join(levels))
    assert found == "shop.yaml:5: stands for more than 100,000 values"


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 100_000, "a: &a [*a]", "{" * 50 + "}" * 50])
def test_nesting_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, text)
    assert "nested deeper" in found or "names no anchor" in found or "a key must be a word" in found
