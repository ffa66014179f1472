"""Result files: typed, written whole, refused with one sentence."""

from __future__ import annotations

import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Decodings, DecodingScores, FILES, MreFile, Score, STAGES, TasksFile
from giellm_utils.core.files import StorageError, write_json

SCORE = Score(value=0.5, low=0.25, high=0.75, n=4)


def test_written_and_read_back(tmp_path):
    record = Decodings(free=DecodingScores(items_per_second=None, scores={"tl": SCORE, "f1": None}))
    assert artifacts.read(artifacts.write(tmp_path / "a.json", record), Decodings) == record


@pytest.mark.parametrize("change", [{"value": "high"}, {"median": 0.5}, {"n": None}])
def test_what_does_not_fit_is_one_sentence_with_the_key(tmp_path, change):
    path = write_json(tmp_path / "a.json", {**SCORE.model_dump(), **change})
    with pytest.raises(StorageError, match=rf"a.json: {next(iter(change))} is not what a Score holds"):
        artifacts.read(path, Score)


def test_a_table_reads_like_the_mapping_it_holds():
    part = {"kind": "entity", "instruction": "抽出", "labels": ["人名"], "shape": "span"}
    table = TasksFile.model_validate({"scnm": {
        "name": "scnm", "title": "SCNM", "text_labels": ["社会"], "none": "無い", "parts": [part]}})
    assert list(table) == ["scnm"] and len(table) == 1 and table["scnm"].parts[0].labels == ["人名"]


def test_every_result_file_belongs_to_a_stage():
    assert {stage for stage, _ in FILES.values()} <= set(STAGES)
    assert FILES["mre.json"] == ("05_mutual_reinforcement", MreFile)
