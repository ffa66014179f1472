"""Claims beside what was found: numbers are those of the files, and nothing measured is nothing claimed."""

from __future__ import annotations

import ast
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.paths import ROOT
from giellm_utils.reporting import claims, published
from giellm_utils.reporting.documents import render

RESULTS = ROOT / "results"
#: Beginnings of the rows that rest on no result file: what is not compared yet, and the tasks of the package.
ALWAYS = ("The two levels", "Every task")


def rows(results: Path) -> dict[str, tuple[str, ...]]:
    """The rows by the beginning of their claim."""
    cells = [line.strip("| ").split(" | ") for line in claims.table(results).splitlines()[2:]
             if line.startswith("|")]
    assert len(cells) == len(claims.ROWS) and all(len(row) == 4 for row in cells)
    return {row[0]: tuple(row[1:]) for row in cells}


def row(results: Path, start: str) -> tuple[str, ...]:
    return next((claim, *rest) for claim, rest in rows(results).items() if claim.startswith(start))


def changed(path: Path, *keys: str | int, **values: float) -> None:
    """The file at `path` with `values` in the mapping that `keys` lead to."""
    content = found = read_json(path)
    for key in keys:
        found = found[key]
    assert set(values) <= set(found)
    found.update(values)
    write_json(path, content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results that the claims rest on, to be changed."""
    for name in ("mini", "open-six", "open-scnm", "scnm-slg-gemma", "usa-gemma", "weights", "plan", "corpus",
                 "systems", "mre"):
        shutil.copytree(RESULTS / name, tmp_path / name)
    (tmp_path / "mre" / "analysis.json").unlink(missing_ok=True)
    return tmp_path


# -- the numbers -------------------------------------------------------------------------------------------


def test_ours_are_those_of_the_files(folder: Path) -> None:
    scored = ("tasks", "scnm", "joint", "all", "tl")
    for name, value in (("open-six", 0.111), ("scnm-slg-gemma", 0.222), ("open-scnm", 0.333)):
        changed(folder / name / "scores.json", *scored, value=value, low=value - 0.01, high=value + 0.01)
    found = row(folder, "GIELLM against SLG")[2]
    assert all(f" {said}" in found for said in ("11.1 [10.1, 12.1]", "22.2 [21.2, 23.2]",
                                                "33.3 [32.3, 34.3]"))
    assert "33.3 [32.3, 34.3]" in row(folder, "One model does all")[2]
    changed(folder / "open-six" / "decodings.json", "tasks", "scpos-n", "joint", "free", "scores",
            "format_accuracy", value=0.5, low=0.4, high=0.6)
    assert "`open-six`, free: 50.0 [40.0, 60.0] on SCPOS:N" in row(folder, "Outputs keep")[2]
    in_context = folder / "systems" / "in-context-gemma-3-270m-q4km" / "open" / "tcree.json"
    changed(in_context, "scores", "all", "tl", value=0.44, low=0.4, high=0.5)
    assert "in context 44.0 [40.0, 50.0] /" in row(folder, "GIELLM against GPT")[2]
    changed(folder / "corpus" / "statistics.json", "datasets", "tcree", "open", "splits", test=77)
    assert "TCREE: 1,000 / 77" in row(folder, "Sequences of train")[2]
    assert "SCPOS:N&Adj, TCREE;" in row(folder, "Sequences of train")[3]
    changed(folder / "plan" / "8xA800-80GB.json", "plans", 0, capacity=100 * 2**30)
    assert "of 100.0 GiB" in row(folder, "Three base models")[2]


def test_the_experiment_is_compared_by_its_analysis(folder: Path) -> None:
    state, found = row(folder, "The two levels")[3], row(folder, "The two levels")[2]
    assert "Experiment: nothing compared before" in found and state.startswith("**under way**")
    effect = {"role": "primary", "task": "tcree", "arm": "main", "decoding": "constrained", "metric": "tl",
              "a": "joint", "b": "text", "seeds": [1, 2], "differences": [0.01, 0.02], "value": 0.0123,
              **{f"{kind}{end}": 0.05 for kind in ("", "seed_", "document_") for end in ("low", "high")},
              **dict.fromkeys(("p_value", "tost_p", "document_sd", "seed_sd", "residual_sd"), 0.5),
              "holm_p": 0.321, "tost_holm_p": None, "n": 1000, "clusters": 1000, "verdict": "undecided",
              "within_margin": False}
    write_json(folder / "mre" / "analysis.json", {
        "margin": 0.015, "confidence": 0.95, "planned": 8, "missing": [], "scores": [], "runs": [],
        "strata": [], "effects": [effect]})
    claim, _, found, state = row(folder, "The two levels")
    assert "joint minus text only, 2 seeds: +1.23 [+5.00, +5.00] (over documents and seeds, alone), " in found
    assert "Holm p of a difference 0.321, of none beyond ±1.5 –, over 8 planned, 1 made: undecided" in found
    assert "nothing compared" not in found and state.startswith("**compared")
    write_json(folder / "mre" / "analysis.json",
               {**read_json(folder / "mre" / "analysis.json"), "partial": True})
    assert row(folder, "The two levels")[3].startswith("**looked at before it is whole")


def test_the_small_corpus_has_its_differences(folder: Path) -> None:
    effects = read_json(folder / "mini" / "mre.json")["effects"]
    at = next(i for i, e in enumerate(effects) if (e["task"], e["metric"]) == ("tcree", "tl"))
    changed(folder / "mini" / "mre.json", "effects", at, joint=0.5, difference=-0.4321)
    for i, effect in enumerate(effects):
        if effect["task"] != "tcree":
            changed(folder / "mini" / "mre.json", "effects", i, verdict="undecided")
    found = row(folder, "The two levels")[2]
    assert "joint 50.0, text only" in found and "−43.21 [" in found
    at = next(i for i, e in enumerate(effects) if (e["task"], e["metric"]) == ("scnm", "tl"))
    assert "datasets: 10 undecided" in found
    changed(folder / "mini" / "mre.json", "effects", at, verdict="higher")
    assert "datasets: 9 undecided, 1 higher" in row(folder, "The two levels")[2]


def test_scores_are_counted_above_below_and_apart(folder: Path) -> None:
    """All of one model's scores beyond the other's, then equal to them."""
    def all_scores(value: float) -> None:
        for task in ("scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj"):
            for metric in ("tl", "wl_words", "all"):
                changed(folder / "usa-gemma" / "scores.json", "tasks", task, "joint", "all", metric,
                        value=value, low=value, high=value)

    for value, said in ((1.0, "above in 0 of 12 scores (0 apart), below in 12 (12 apart)"),
                        (0.0, "above in 12 of 12 scores (12 apart), below in 0 (0 apart)")):
        all_scores(value)
        assert said in row(folder, "GIELLM against USA")[2]


def test_the_papers_are_those_of_published(monkeypatch: pytest.MonkeyPatch) -> None:
    joint, text, words = published.MRE
    claim = row(RESULTS, "The two levels")[0]
    assert f"joint TL {joint.tl}, WL {joint.wl}, ALL {joint.all}" in claim
    assert f"{text.tl}, so joint +0.60" in claim and f"{words.wl}, so joint +14.39" in claim
    monkeypatch.setattr(published, "MRE", (replace(joint, wl=60.0), text, words))
    assert "WL 60.00" in row(RESULTS, "The two levels")[0]
    assert "+1.27" in row(RESULTS, "The two levels")[0]
    assert published.CLAIM in row(RESULTS, "“GIELLM")[0] and "best in 12" in row(RESULTS, "“GIELLM")[0]
    slg, usa = row(RESULTS, "GIELLM against SLG")[0], row(RESULTS, "GIELLM against USA")[0]
    assert "in 11 of the 15 cells" in slg and "SCNM ALL (54.43 against 72.41)" in slg
    assert "in 9 of the 10 cells" in usa and "not in SCPOS:RW TL (86.31 against 89.60)" in usa
    assert "63.61 before, 100.00 with it" in row(RESULTS, "Outputs keep")[0]
    assert "on 8 × A800 80 GB, 3 epochs, learning rate 1e-05, batch 1 a" in row(RESULTS, "Three base")[0]


def test_no_number_is_typed_by_hand() -> None:
    """No literal of the module holds a decimal or a percentage, but for the intervals' 95 %."""
    tree = ast.parse(Path(claims.__file__).read_text("utf-8"))
    formats = {id(part) for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)
               and node.format_spec for part in node.format_spec.values}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
             and id(n) not in formats and n.value not in published.SYSTEMS]
    found = {m for text in texts for m in re.findall(r"\d+(?:\.\d+)? %|\d+\.\d+|\b\d{2,}\b", text)}
    assert found == {"95 %"}


# -- what is not there -------------------------------------------------------------------------------------


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    for claim, (_, found, state) in rows(tmp_path).items():
        if not claim.startswith(ALWAYS):
            assert found == claims.NOT_YET and state.startswith(f"**{claims.NOT_YET}**"), claim
    assert "Experiment: nothing compared" in row(tmp_path, "The two levels")[2]


@pytest.mark.parametrize("name, start, gone", [
    ("mini", "The two levels", "`mini`"), ("usa-gemma", "GIELLM against USA", "`usa-gemma`"),
    ("open-scnm", "GIELLM against SLG", "`open-scnm`"), ("open-six", "One model does all", "TL / WL"),
    ("systems/crf", "“GIELLM", "CRF"), ("plan", "Three base models", "Planned")])
def test_a_missing_result_leaves_its_finding_out(folder: Path, name: str, start: str, gone: str) -> None:
    assert gone in row(folder, start)[2]
    shutil.rmtree(folder / name)
    assert gone not in row(folder, start)[2]


def test_named_files_stand() -> None:
    made = render("<!-- table:claims -->\n<!-- /table -->\n", RESULTS)
    named = set(re.findall(r"tests/\w+/\w+\.py|\b[A-Z]+\.md", made))
    assert len(named) >= 3 and all((ROOT / name).exists() for name in named)
    assert all((ROOT / "configs" / "profiles" / f"{name}.yaml").exists()
               for name in re.findall(r"`(giellm-\w+(?:-\w+)?)`", made))
