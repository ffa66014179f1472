"""The floors: what they answer, and that they read neither gold nor text."""

from __future__ import annotations

from collections import Counter

import pytest

from giellm_utils.core.answer import Answer
from giellm_utils.core.schema import Record
from giellm_utils.data.registry import load_dataset
from giellm_utils.evaluation.per_label import evaluate
from giellm_utils.systems.floors import AlwaysEmpty, Majority, NotFittedError
from giellm_utils.systems.registry import entries
from support.records import EMPTY, PERSON, record, RECORDS, TRIP, TWICE


def fitted(*train: Record) -> Majority:
    system = Majority(TRIP)
    system.fit(train)
    return system


def test_the_majority_says_the_most_frequent_label_and_no_words() -> None:
    assert fitted(*RECORDS).predict([PERSON, EMPTY]) == [Answer("旅行")] * 2
    assert fitted(PERSON).predict([EMPTY]) == [Answer("仕事")]
    assert fitted(PERSON, EMPTY).predict([EMPTY]) == [Answer("旅行")], "a tie: the task's order"
    assert fitted(PERSON).predict([]) == []


def test_ten_items_of_a_dataset() -> None:
    data = load_dataset("scnm", "embedded")
    counts = Counter(r.label for r in data.split("train"))
    label = max(data.task.text_labels, key=counts.__getitem__)
    ten = data.split("test")[:10]
    majority, empty = Majority(data.task), AlwaysEmpty(data.task)
    majority.fit(data.split("train"))
    assert majority.predict(ten) == [Answer(label)] * 10 and empty.predict(ten) == [Answer(None)] * 10
    right = evaluate(data.task, ten, "joint", majority.predict(ten), seed=0, tables=False).all["tl"].value
    assert right == sum(r.label == label for r in ten) / 10


def test_always_empty_says_nothing_and_needs_no_fit() -> None:
    assert AlwaysEmpty(TRIP).predict([TWICE, PERSON]) == [Answer(None)] * 2


def test_a_majority_that_counted_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="needs train records"):
        fitted()
    with pytest.raises(NotFittedError, match="fit it on the train records"):
        Majority(TRIP).predict([PERSON])


def test_scores_by_hand() -> None:
    found = evaluate(TRIP, RECORDS, "joint", fitted(*RECORDS).predict(RECORDS), seed=0, tables=False)
    values = {m: s.value for m, s in found.all.items()}
    assert values["tl"] == pytest.approx(2 / 3) and values["tl_balanced"] == 0.5
    assert values["wl_exact"] == values["all"] == pytest.approx(1 / 3)
    assert (values["f1"], values["format_accuracy"], values["precision"]) == (0, 1, None)
    empty = evaluate(TRIP, RECORDS, "words", AlwaysEmpty(TRIP).predict(RECORDS), seed=0, tables=False)
    assert empty.all["tl"] is None and empty.all["wl_exact"].value == pytest.approx(1 / 3)
    assert empty.empty_gold["wl_exact"].value == 1 and empty.with_words["wl_exact"].value == 0


def test_they_stand_in_every_table() -> None:
    found = {name: e for name, e in entries().items() if name in ("majority", "always_empty")}
    assert [(e.title, e.level, e.floor) for e in found.values()] == [
        ("majority class", "joint", True), ("always empty", "words", True)]
    for entry in found.values():
        assert entry.applies(TRIP)
        system = entry.make(TRIP)
        assert (system.name, system.level) == (entry.name, entry.level)


@pytest.mark.parametrize("name", ["majority", "always_empty", "lexicon"])
def test_gold_of_the_asked_records_changes_no_answer(name: str) -> None:
    from giellm_utils.data.sets import scpos

    task = scpos.TASKS[1] if name == "lexicon" else TRIP
    system = entries()[name].make(task)
    system.fit([Record("t", task.name, "雨", task.text_labels[0])])
    asked = [record("a", "東京の快適な部屋", "旅行", ("地", 0, 2))] if task is TRIP else [
        Record("a", task.name, "快適な部屋と騒音", "積極")]
    blind = [Record(r.id, r.task, r.text, "no such label") for r in asked]
    assert system.predict(asked) == system.predict(blind)
