"""GLiNER2.5 against a stand-in of its library, for its weights are not here: what is asked, what is read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core.answer import gold_answer
from giellm_utils.core.schema import Part, Record, Task
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import get_task, load_dataset, TASKS
from giellm_utils.experiment.profile import load_profile
from giellm_utils.systems import gliner
from giellm_utils.systems.config import GlinerConfig
from giellm_utils.systems.gliner import Gliner
from giellm_utils.systems.registry import entries

TCREE = get_task("tcree")


class Schema:
    """What gliner2's schema builder is told."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def classification(self, name: str, labels: list[str]) -> Schema:
        self.asked["classification"] = (name, labels)
        return self

    def entities(self, labels: list[str]) -> Schema:
        self.asked["entities"] = labels
        return self

    def relations(self, labels: list[str]) -> Schema:
        self.asked["relations"] = labels
        return self


class Library:
    """gliner2.AutoExtractor: has the gold of `records` by text; at a threshold above 0.4 it finds nothing."""

    def __init__(self, records) -> None:
        self.gold = {r.text: r for r in records}
        self.calls: list[dict[str, Any]] = []

    def from_pretrained(self, folder: str, **options: Any) -> Library:
        self.loaded = (folder, options)
        return self

    create_schema = staticmethod(Schema)

    def batch_extract(self, texts: list[str], schema: Schema, **options: Any) -> list[dict[str, Any]]:
        self.calls.append({"texts": texts, **schema.asked, **options})
        return [self._result(self.gold[t], options["threshold"] <= 0.4) for t in texts]

    @staticmethod
    def _result(record: Record, sure: bool) -> dict[str, Any]:
        def found(span) -> dict[str, Any]:
            return {"text": span.of(record.text), "start": span.start, "end": span.end}

        entities: dict[str, list] = {}
        relations: dict[str, list] = {}
        for word in record.words if sure else ():
            if word.tail is None:
                entities.setdefault(word.label, []).append(found(word.span))
            else:
                relations.setdefault(word.label, []).append(
                    {"head": found(word.span), "tail": found(word.tail)})
        return {"分類": record.label, "entities": entities, "relation_extraction": relations}


@pytest.fixture
def ten() -> tuple[Record, ...]:
    return load_dataset("tcree", "embedded").split("train")[:10]


@pytest.fixture
def library(monkeypatch, tmp_path, ten) -> Library:
    made = Library(ten)
    folder = tmp_path / "snapshots" / "0123abc"
    (folder / "encoder_config").mkdir(parents=True)
    for path in (folder / "config.json", folder / "encoder_config" / "config.json"):
        path.write_text("{}", "utf-8")
    monkeypatch.setitem(sys.modules, "gliner2", SimpleNamespace(AutoExtractor=made))
    monkeypatch.setattr("giellm_utils.models.bundle.find_weights", lambda name: folder)
    made.folder = folder
    return made


def test_the_threshold_is_chosen_on_dev_and_ten_answers_are_read(library, ten) -> None:
    records = [replace(r, split="dev" if i < 4 else "train") for i, r in enumerate(ten)]
    system = Gliner(TCREE)
    system.fit(records)
    assert [len(c["texts"]) for c in library.calls] == [4] * 3
    assert system.settings["words"] == {"threshold": 0.3, "dev": 1.0}
    blind = [replace(r, label="その他", words=()) for r in ten]
    assert system.predict(blind) == [gold_answer(r) for r in ten]
    call = library.calls[-1]
    assert (call["threshold"], call["include_spans"]) == (0.3, True)
    assert call["classification"] == ("分類", list(TCREE.text_labels))
    assert call["relations"] == list(TCREE.parts[0].labels)
    assert call["entities"] == list(TCREE.parts[1].labels)
    assert library.loaded[1]["word_splitter"] == "char"


def test_settings_name_the_model_and_its_commit_and_no_path(library, tmp_path) -> None:
    settings = json.dumps(Gliner(TCREE).settings)
    assert '"commit": "0123abc"' in settings and str(tmp_path) not in settings


def test_without_dev_the_library_s_threshold_is_kept(library, ten) -> None:
    system = Gliner(TCREE)
    system.fit(ten)
    assert library.calls == [] and system.settings["words"] == {"threshold": 0.5, "dev": None}
    assert system.predict([]) == []


@pytest.mark.parametrize(("found", "surfaces"), [
    ({"text": "京都", "start": 2, "end": 4}, [("京都",)]),
    ({"text": "京都", "start": 2, "end": 3}, [("京都",)]),
    ({"text": "京都", "start": 1, "end": 3}, []), ({"text": "", "start": 2, "end": 2}, [])])
def test_a_span_stands_where_it_begins(library, found: dict[str, Any], surfaces: list) -> None:
    """An end that disagrees with the surface is no harm, a start is: that span is left out."""
    library.gold["今は京都"] = Record("r", "tcree", "今は京都", "場所")
    library._result = lambda record, sure: {"分類": "天気", "entities": {"開催": [found]}}
    answer, = Gliner(TCREE).predict([library.gold["今は京都"]])
    assert answer.label is None and [i.surfaces for i in answer.items] == surfaces


def test_a_model_that_asks_for_its_own_code_is_refused(library, ten) -> None:
    path = library.folder / "encoder_config" / "config.json"
    path.write_text('{"auto_map": {"AutoModel": "x.Y"}}', "utf-8")
    with pytest.raises(ConfigError, match="asks for code of its own"):
        Gliner(TCREE).predict(ten)


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch, ten) -> None:
    monkeypatch.setitem(sys.modules, "gliner2", None)
    with pytest.raises(ConfigError, match=r'needs the package gliner2; run: pip install "gliner2\[local\]"'):
        Gliner(TCREE).predict(ten)


def test_it_is_for_tasks_whose_labels_say_their_part() -> None:
    entry = entries()["gliner"]
    assert all(entry.applies(task) for task in TASKS.values()) and not entry.floor
    twice = Task("twice", "", ("a",), (Part("p", "抽出", ("x",)), Part("q", "関係", ("x",), "relation")))
    assert not entry.applies(twice)
    with pytest.raises(ConfigError, match="two parts of task twice share one"):
        gliner.Gliner(twice)


def test_a_profile_s_section_says_model_splitter_and_thresholds(library, ten, tmp_path) -> None:
    shipped = load_profile("gliner-multi").systems.gliner
    assert shipped == GlinerConfig(), "what the YAML shows is what the class defaults to"
    config = GlinerConfig(model=str(tmp_path), splitter="whitespace", batch_size=3, thresholds=[0.2])
    system = Gliner(TCREE, config)
    assert system.predict(ten) == [gold_answer(r) for r in ten]
    assert library.calls[-1]["batch_size"] == 3 and library.calls[-1]["threshold"] == 0.2
    assert library.loaded[1]["word_splitter"] == "whitespace"
    assert system.settings["model"] == tmp_path.name


def test_evaluate_hands_it_the_profile_s_section(library, tmp_path, monkeypatch) -> None:
    """The command of the paper's table, on the embedded sentences, the model a local folder."""
    monkeypatch.chdir(tmp_path)
    library.gold = {r.text: r for r in load_dataset("tcree", "embedded").records}
    done = CliRunner().invoke(app, [
        "evaluate", "--system", "gliner", "--profile", "gliner-multi", "--task", "tcree", "--limit", "10",
        "--set", "data.source=embedded", "--set", "systems.gliner.thresholds=[0.3]"])
    assert done.exit_code == 0, done.output + repr(done.exception)
    row = json.loads((tmp_path / "results/systems/gliner/embedded/tcree.json").read_text("utf-8"))
    assert row["scores"]["all"]["f1"]["value"] == 1.0 and row["settings"]["words"]["threshold"] == 0.3
    with pytest.raises(ConfigError, match="systems.gliner.splitter: Input should be 'char' or 'whitespace'"):
        load_profile("gliner-multi", {"systems.gliner.splitter": "words"})
