"""baselines/lexicon.py: the rule's own words, the majority's label, in the task's format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from giellm_utils.evaluation import score as metrics
from giellm_utils.systems.lexicon import lexicon_outputs, majority_polarity
from giellm_utils.formats.giellm import Converter
from giellm_utils.data.lexicon import NEGATIVE, NEUTRAL
from giellm_utils.data.lexicon import POSITIVE
from giellm_utils.core.schema import LEVELS, Record, Span, Word
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.registry import get_task, load_dataset
from giellm_utils.data.sets import scpos

RULED = ("scpos-n", "scpos-adj", "scpos-n-adj")


def record(text: str, label: str = "積極", i: int = 0) -> Record:
    return Record(f"r{i}", "scpos-n-adj", text, label)


def word(label: str, at: int) -> Word:
    return Word(scpos.KIND, label, Span(at, at + 1))


@pytest.mark.parametrize(("labels", "expected"), [
    ([POSITIVE], "積極"), ([NEGATIVE], "消極"), ([POSITIVE, NEGATIVE, NEGATIVE], "消極"),
    ([], None), ([POSITIVE, NEGATIVE], None), ([NEUTRAL, NEUTRAL, POSITIVE], "積極"), ([NEUTRAL], None),
])
def test_majority_polarity(labels: list[str], expected: str | None) -> None:
    assert majority_polarity(word(label, i) for i, label in enumerate(labels)) == expected


def test_outputs_at_every_level() -> None:
    converter = Converter(get_task("scpos-n-adj"), marks="‹>")
    train = [record(f"文{i}", label, i) for i, label in enumerate(["消極", "消極", "積極"])]
    # The gold labels are wrong on purpose: the baseline must not read them.
    asked = [record("部屋は快適でした。", "消極"), record("騒音が不満。", "積極"), record("泊まった。"),
             record("快適だが騒音。")]
    said = {level: [o["output"] for o in lexicon_outputs(converter, train, asked, level)] for level in LEVELS}
    assert said["text"] == ["‹積極>", "‹消極>", "‹消極>", "‹消極>"]
    assert said["words"] == ["名詞形容詞極性抽出:ポジティブ;快適", "名詞形容詞極性抽出:ネガティブ;騒音:ネガティブ;不満",
                             "名詞形容詞極性抽出:無い;", "名詞形容詞極性抽出:ポジティブ;快適:ネガティブ;騒音"]
    assert said["joint"] == [a + b for a, b in zip(said["text"], said["words"], strict=True)]
    assert all(o["truncated"] is False for o in lexicon_outputs(converter, train, asked))


@pytest.mark.parametrize("name", RULED)
def test_ceiling_by_construction(name: str) -> None:
    """Gold words of these sets come from the rule, so its word scores are 1; its text scores are not."""
    data = load_dataset(name, "embedded")
    converter, test = Converter(data.task), data.split("test")
    outputs = lexicon_outputs(converter, data.split("train"), test)
    frame = metrics.score_documents(converter, test, "joint", outputs)
    assert frame["wl_exact"].eq(1).all() and frame["well_formed"].all()
    assert 0.4 < frame["tl"].mean() < 0.9


def test_no_ceiling_where_a_language_model_marked_the_words() -> None:
    data = load_dataset("scpos-rw", "embedded")
    converter, test = Converter(data.task), data.split("test")
    scores = metrics.summarise(metrics.score_documents(
        converter, test, "joint", lexicon_outputs(converter, data.split("train"), test)), seed=0)
    assert 0.2 < scores["f1"]["value"] < 0.6 and scores["wl_exact"]["value"] < 0.2


def test_scan_is_put_into_canonical_order(tmp_path: Path) -> None:
    path = tmp_path / "own.trim"
    path.write_text("騒音\tn\tx\n部屋\te\tx\n", "utf-8")
    converter = Converter(get_task("scpos-n"))
    said = lexicon_outputs(converter, (), [Record("r", "scpos-n", "部屋の騒音", "積極")], "words", "scan", path)
    assert said[0]["output"] == "名詞極性抽出:中立;部屋:ネガティブ;騒音"


def test_faults(tmp_path: Path) -> None:
    converter = Converter(get_task("scpos-n-adj"))
    assert lexicon_outputs(converter, (), [], "words") == []
    with pytest.raises(ValueError, match="no rule for task scnm; it has one for scpos-rw"):
        lexicon_outputs(Converter(get_task("scnm")), (), [])
    with pytest.raises(ValueError, match="needs train records"):
        lexicon_outputs(converter, (), [record("快適")])
    with pytest.raises(ValueError, match="'scan' is not known for scpos-n-adj"):
        lexicon_outputs(converter, (), [record("快適")], "words", "scan")
    with pytest.raises(SourceError, match="does not exist"):
        lexicon_outputs(Converter(get_task("scpos-n")), (), [], "words", "scan", tmp_path / "none.trim")


@pytest.mark.skipif(not os.environ.get("GIELLM_DATA_DIR"),
                    reason="GIELLM_DATA_DIR is not set: the real corpora are not at hand")
def test_ceiling_on_open_rw() -> None:
    data = load_dataset("scpos-rw", "open")
    converter, test = Converter(data.task), data.split("test")
    frame = metrics.score_documents(converter, test, "words", lexicon_outputs(converter, (), test, "words"))
    assert len(frame) == 1000 and frame["wl_exact"].eq(1).all()
