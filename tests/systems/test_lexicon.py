"""The lexicon look-up: the rule's own words, the majority's label."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from giellm_utils.core.answer import Answer
from giellm_utils.core.schema import Item, Record, Span, Task, Word
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.lexicon import NEGATIVE, NEUTRAL, POSITIVE
from giellm_utils.data.registry import get_task, load_dataset, TASKS
from giellm_utils.data.sets import scpos
from giellm_utils.evaluation.score import score_documents, summarise
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.lexicon import LexiconLookUp, majority_polarity
from giellm_utils.systems.registry import entries

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


def look_up(task: Task, *train: Record, **options) -> LexiconLookUp:
    system = LexiconLookUp(task, **options)
    system.fit(train or [Record("t", task.name, "文", "積極")])
    return system


def items(*pairs: tuple[str, str]) -> tuple[Item, ...]:
    return tuple(Item(scpos.KIND, label, (surface,)) for label, surface in pairs)


def test_answers_by_hand() -> None:
    train = [record(f"文{i}", label, i) for i, label in enumerate(["消極", "消極", "積極"])]
    # The gold labels are wrong on purpose: they must not be read.
    asked = [record("部屋は快適でした。", "消極"), record("騒音が不満。", "積極"), record("泊まった。"),
             record("快適だが騒音。")]
    assert look_up(get_task("scpos-n-adj"), *train).predict(asked) == [
        Answer("積極", items((POSITIVE, "快適"))),
        Answer("消極", items((NEGATIVE, "騒音"), (NEGATIVE, "不満"))),
        Answer("消極"), Answer("消極", items((POSITIVE, "快適"), (NEGATIVE, "騒音")))]


@pytest.mark.parametrize("name", RULED)
def test_ceiling_by_construction(name: str) -> None:
    """Gold words of these sets come from the rule, so its word scores are 1; its text scores are not."""
    data = load_dataset(name, "embedded")
    test = data.split("test")
    answers = look_up(data.task, *data.split("train")).predict(test)
    frame = score_documents(data.task, test, "joint", answers)
    assert len(frame) and frame["wl_exact"].eq(1).all() and frame["well_formed"].all()
    assert 0.4 < frame["tl"].mean() < 0.9


def test_no_ceiling_where_a_language_model_marked_the_words() -> None:
    data = load_dataset("scpos-rw", "embedded")
    test = data.split("test")
    answers = look_up(data.task, *data.split("train")).predict(test)
    scores = summarise(score_documents(data.task, test, "joint", answers), seed=0)
    assert 0.2 < scores["f1"].value < 0.6 and scores["wl_exact"].value < 0.2


def test_scan_is_put_into_canonical_order(tmp_path: Path) -> None:
    path = tmp_path / "own.trim"
    path.write_text("騒音\tn\tx\n部屋\te\tx\n", "utf-8")
    system = look_up(get_task("scpos-n"), rule="scan", lexicon=path)
    answer, = system.predict([Record("r", "scpos-n", "部屋の騒音", "積極")])
    assert answer == Answer("消極", items((NEUTRAL, "部屋"), (NEGATIVE, "騒音")))


def test_faults(tmp_path: Path) -> None:
    task = get_task("scpos-n-adj")
    assert look_up(task).predict([]) == []
    with pytest.raises(ValueError, match="no rule for task scnm; it has one for scpos-rw"):
        LexiconLookUp(get_task("scnm"))
    with pytest.raises(ValueError, match="needs train records"):
        LexiconLookUp(task).fit([])
    with pytest.raises(NotFittedError, match="fit it on the train records"):
        LexiconLookUp(task).predict([record("快適")])
    with pytest.raises(ValueError, match="'scan' is not known for scpos-n-adj"):
        LexiconLookUp(task, "scan")
    with pytest.raises(SourceError, match="does not exist"):
        LexiconLookUp(get_task("scpos-n"), "scan", tmp_path / "none.trim")


def test_it_stands_in_the_tables_of_scpos_only() -> None:
    entry = entries()["lexicon"]
    assert (entry.title, entry.level, entry.floor) == ("lexicon look-up", "joint", True)
    assert [name for name, task in TASKS.items() if entry.applies(task)] == [t.name for t in scpos.TASKS]


@pytest.mark.skipif(not os.environ.get("GIELLM_DATA_DIR"),
                    reason="GIELLM_DATA_DIR is not set: the real corpora are not at hand")
def test_ceiling_on_open_rw() -> None:
    data = load_dataset("scpos-rw", "open")
    test = data.split("test")
    frame = score_documents(data.task, test, "words", look_up(data.task).predict(test))
    assert len(frame) == 1000 and frame["wl_exact"].eq(1).all()
