"""Aims beside what was reached: every number is read from a result file, and none stands without its file."""

from __future__ import annotations

import shutil
from pathlib import Path

from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.reporting import aims
from giellm_utils.reporting.documents import render

RESULTS = ROOT / "results"


def reached(table: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_numbers_are_those_of_the_files(tmp_path: Path) -> None:
    for name in ("training", "bench", "extract", "memory", "mini", "weights"):
        shutil.copytree(RESULTS / name, tmp_path / name)
    found = read_json(tmp_path / "training" / "scnm-open-amx.json")
    for key, speed in {"ours": 9.0, "ours_dropout": 7.5, "trainer": 1.0}.items():
        found["ways"][key]["sequences_per_second"] = speed
    write_json(tmp_path / "training" / "scnm-open-amx.json", found)
    rows = reached(aims.table(tmp_path))
    assert rows["AMX: sequences a second against ours without its levers"][1] == "1.20 ×"
    assert rows["AMX: against transformers' Trainer with its defaults"][1] == "9.0 ×"
    scores = read_json(RESULTS / "weights" / "scores.json")["tasks"]["scnm"]["joint"]["all"]
    assert [row[1].split()[0] for what, row in rows.items() if what.startswith("weights/")] == [
        f"{100 * scores[key]['value']:.1f}" for key in ("tl", "f1", "all")]
    assert all(row[2] == "–" or (RESULTS / row[2]).exists() for row in rows.values())


def test_the_loss_on_dev_is_said_where_it_was_measured(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "training", tmp_path / "training")
    what = "AMX: the loss after the same sequences"
    assert reached(aims.table(tmp_path))[what][3].endswith("over seeds was not measured")
    losses = {"recipe": [0.4, 0.6], "random": [0.5, 0.6], "dropout": [0.4, 0.5]}
    write_json(tmp_path / "dev-loss" / "scnm-open.json", {"seeds": [1, 2], "levers": {
        name: {"title": name, "losses": {"rows": dict(zip("12", found, strict=True))}}
        for name, found in losses.items()}})
    said = reached(aims.table(tmp_path))[what][3]
    assert "means of 2 seeds over the allowed rows: random +0.050, dropout -0.050 (dev-loss" in said


def test_what_was_not_measured_has_no_row(tmp_path: Path) -> None:
    assert list(reached(aims.table(tmp_path))) == ["the engine of DeepSpeed's ZeRO-3 at toy size"]
    assert "| 2.5 × |" in render("<!-- table:aims -->\n<!-- /table -->\n", RESULTS)
