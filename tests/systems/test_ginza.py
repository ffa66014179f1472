"""GiNZA as a system: its types brought to SCNM's, the others counted, nothing read that it must not read."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from giellm_utils.core.schema import Item, Part, Record, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import get_task, load_dataset, TASKS
from giellm_utils.evaluation.score import score_documents, summarise
from giellm_utils.systems import ginza
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.ginza import Ginza, TYPES
from giellm_utils.systems.registry import entries

SCNM = get_task("scnm")


@pytest.fixture
def stub(monkeypatch):
    """A pipeline that finds what it is told: text -> (surface, type)."""
    found: dict[str, list[tuple[str, str]]] = {}

    def entities(text: str) -> SimpleNamespace:
        return SimpleNamespace(ents=[
            SimpleNamespace(label_=label, start_char=text.index(surface),
                            end_char=text.index(surface) + len(surface))
            for surface, label in found.get(text, [])])

    pipeline = SimpleNamespace(meta={"version": "0"}, pipe_names=["ner"],
                               pipe=lambda texts: map(entities, texts))
    monkeypatch.setattr(ginza, "_pipeline", lambda: pipeline)
    return found


def scnm(text: str, label: str = "社会") -> Record:
    return Record(text, "scnm", text, label)


def test_types_are_mapped_and_the_others_counted(stub) -> None:
    stub["2020年に田中は日本銀行と国連へ行った"] = [
        ("2020年", "Date"), ("国連", "International_Organization"), ("田中", "Person"),
        ("日本銀行", "Company")]
    stub["雨の日"] = [("日", "Date")]
    system = Ginza(SCNM)
    system.fit([scnm("文")])
    first, second = system.predict([scnm("2020年に田中は日本銀行と国連へ行った"), scnm("雨の日")])
    assert first.items == (Item("entity", "人名", ("田中",)), Item("entity", "法人名", ("日本銀行",)),
                           Item("entity", "政治的組織名", ("国連",)))
    assert (second.label, second.items) == ("社会", ())
    settings = json.loads(json.dumps(system.settings))
    assert settings["mapped"] == {"Company": 1, "International_Organization": 1, "Person": 1}
    assert settings["unmapped"] == {"Date": 2} and settings["text"]["dev"] is None
    system.predict([scnm("雨の日")])
    assert system.settings["unmapped"] == {"Date": 1}  # of the last texts asked alone


def test_every_type_of_the_table_is_one_of_ginza_and_stands_once() -> None:
    pytest.importorskip("ginza", reason="requirements-peers.txt is not installed")
    known = set(ginza._pipeline().get_pipe("ner").labels)
    assert set(TYPES) <= known
    assert set(TYPES.values()) == set(SCNM.parts[0].labels)
    assert len(TYPES) == sum(len(names.split()) for names in ginza._BY_TYPE.values())
    assert {"Date", "Percent", "Position_Vocation", "N_Person"} <= known - set(TYPES)


def test_ten_items_and_what_it_must_not_read() -> None:
    pytest.importorskip("ginza", reason="requirements-peers.txt is not installed")
    data = load_dataset("scnm", "embedded")
    asked = data.split("test")[:10]
    system = Ginza(SCNM)
    system.fit(data.split("train", "dev"))
    answers = system.predict(asked)
    assert answers == system.predict([replace(r, label="自然", words=()) for r in asked])
    scores = summarise(score_documents(SCNM, asked, "joint", answers), seed=0, resamples=20)
    assert scores["f1"].value > 0.2 and scores["invented"].value == 0.0  # places and persons at the least
    assert system.settings["mapped"] and 0 <= system.settings["text"]["dev"] <= 1
    assert system.settings["components"] == ["tok2vec", "ner"]


def test_it_is_for_tasks_with_these_types() -> None:
    entry = entries()["ginza"]
    assert [name for name, task in TASKS.items() if entry.applies(task)] == ["scnm"] and not entry.floor
    mine = Task("mine", "of my own", ("a",), (Part("name", "抽出", (*SCNM.parts[0].labels, "その他")),))
    assert entry.applies(mine)
    with pytest.raises(ConfigError, match="no entities for task tcree"):
        Ginza(get_task("tcree"))
    with pytest.raises(NotFittedError):
        Ginza(SCNM).predict([scnm("文")])


def test_a_missing_package_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setattr(ginza, "MODEL", "ja_nothing")
    ginza._pipeline.cache_clear()
    with pytest.raises(ConfigError, match=r"needs the packages ginza and ja_nothing .*requirements-peers"):
        ginza._pipeline()
