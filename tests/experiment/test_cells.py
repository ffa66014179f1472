"""Cells from Answers, on disk and back."""

from __future__ import annotations

import gzip

import pytest
from pydantic import ValidationError

from giellm_utils.core.files import StorageError
from giellm_utils.experiment import cells
from support.cells import cell, synthetic
from support.records import answers, GOLD, gold_answers, RECORDS, TRIP

ABOUT = {"condition": "joint", "seed": 1, "texts": 100, "split": "test", "settings": {"epochs": 1},
         "seconds": 1.5, "decoding_seconds": {"constrained": 0.5}, "machine": "2 cores", "git": "abc"}


def test_counts_are_those_of_the_scores() -> None:
    given = answers("<旅行>抽出:地;東京:地;東京:地;東京関係:無い;", GOLD["2"].replace("仕事", "旅行"),
                    GOLD["3"])
    found = cells.make_cell(TRIP, RECORDS, "joint", {"constrained": given}, **ABOUT)
    counts = found.decoded["constrained"]
    assert (found.task, found.ids, found.gold) == ("trip", ["1", "2", "3"], [3, 3, 0])
    assert counts.tl == [1, 0, 1]
    assert (counts.predicted, counts.matched) == ([3, 3, 0], [2, 3, 0])
    assert counts.wl_exact == counts.wl_set == [0, 1, 1]


def test_a_dataset_may_have_a_name_of_its_own() -> None:
    given = {"free": gold_answers(RECORDS)}
    found = cells.make_cell(TRIP, RECORDS, "text", given, task="trip-blind", **ABOUT)
    assert found.address == "trip-blind/joint/seed-1"


@pytest.mark.parametrize("level, missing", [
    ("text", ("matched", "predicted", "wl_exact")), ("words", ("tl",))])
def test_a_level_has_its_own_columns_only(level, missing) -> None:
    found = cells.make_cell(TRIP, RECORDS, level, {"free": gold_answers(RECORDS, level)}, **ABOUT)
    counts = found.decoded["free"]
    assert all(getattr(counts, name) is None for name in missing)
    assert counts.well_formed == [1, 1, 1] and counts.truncated == [0, 0, 0]


def test_documents_of_one_text_are_one_cluster() -> None:
    a, b, other = (RECORDS[0].__class__(id, "trip", text, "旅行") for id, text in (
        ("x-1", "雨 が 降る"), ("y-1", "雨　が  降る"), ("y-2", "雪が降る")))
    assert cells.cluster(a) == cells.cluster(b) != cells.cluster(other)


def test_a_cell_comes_back_and_its_bytes_are_the_same_again(tmp_path) -> None:
    first = synthetic(n=4343, seeds=1)[0]
    path = cells.write_cell(tmp_path, first)
    assert path == tmp_path / "scnm" / "joint" / "seed-1.json.gz"
    written = path.read_bytes()
    assert cells.read_cell(path) == first and len(written) < 150_000
    cells.write_cell(tmp_path, first)
    assert path.read_bytes() == written and written[4:8] == b"\0\0\0\0"  # no time in the header
    assert b"texts" in gzip.decompress(written)


def test_all_cells_are_read_by_their_address(tmp_path) -> None:
    wanted = synthetic(n=5) + synthetic(n=5, arm="texts-100", texts=100)
    for c in wanted:
        cells.write_cell(tmp_path, c)
    (tmp_path / "analysis.json").write_text("{}")
    found = cells.read_cells(tmp_path)
    assert sorted(c.address for c in found) == sorted(c.address for c in wanted)
    assert (tmp_path / "scnm" / "joint" / "texts-100" / "seed-2.json.gz").exists()


def test_what_is_wrong_with_a_file_is_said(tmp_path) -> None:
    with pytest.raises(StorageError, match="holds no cells"):
        cells.read_cells(tmp_path)
    path = cells.write_cell(tmp_path, cell("text", 1, [1, 0]))
    moved = path.with_name("seed-2.json.gz")
    path.rename(moved)
    with pytest.raises(StorageError, match="holds the cell scnm/text/seed-1: move it to"):
        cells.read_cells(tmp_path)
    moved.write_bytes(b"no gzip")
    with pytest.raises(StorageError, match="not gzipped JSON"):
        cells.read_cell(moved)
    moved.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(StorageError, match="is not what a cell holds"):
        cells.read_cell(moved)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValidationError, match="gold has 3 values for 2 documents"):
        cell("text", 1, [1, 0], gold=[1, 1, 1])
    with pytest.raises(ValidationError, match="an id stands more than once"):
        cell("text", 1, [1, 0], ids=["a", "a"])
