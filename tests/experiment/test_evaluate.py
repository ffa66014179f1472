"""Stage 04: the ways of decoding, floors beside trained systems, and texts that may not be shown."""

from __future__ import annotations

import pandas as pd
import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.answer import Answer, items_to_json
from giellm_utils.core.artifacts import ProvenanceFile
from giellm_utils.core.files import write_jsonl
from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.core.settings import parse_override
from giellm_utils.data.registry import TASKS
from giellm_utils.experiment.evaluate import decodings, predictions_file, run
from giellm_utils.experiment.example import example, find_example
from giellm_utils.experiment.pipeline import run_stage
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import Stage
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import FORMATS
from giellm_utils.inference.predictions import read_rows
from giellm_utils.systems.registry import entries
from support.experiments import run_stages, write_profile

TASK = Task("t", "t", ("社会", "経済"), (Part("who", "関係抽出", ("所属",), "relation"),
                                       Part("what", "事象抽出", ("地名", "人名"))))
#        0 2  4  6  8
TEXT = "田中:は日本銀行で働く日本の人なのである。"
RECORD = Record("1", "t", TEXT, "社会", (
    Word("who", "所属", Span(0, 3), Span(4, 8)), Word("what", "地名", Span(4, 6)),
    Word("what", "人名", Span(0, 3)), Word("what", "地名", Span(11, 13)))).validate(TASK)


@pytest.mark.parametrize("value, ways", [
    ("none", ("free",)), ("only", ("constrained",)), ("both", ("free", "constrained"))])
def test_every_way_of_decoding_can_be_set_on_the_command_line(value, ways):
    """`on` and `off` could not: YAML reads them as true and false."""
    assert decodings(load_profile("smoke", dict([parse_override(f"generation.constrained={value}")]))) == ways


def test_trained_systems_and_floors_stand_side_by_side(runs, profile):
    evaluated = run_stage("04_evaluate", profile)
    systems = evaluated.scores.tasks["scnm"]
    assert list(systems) == ["joint", "text", "majority", "always_empty"]
    assert all(scores.n == 6 for scores in systems.values())
    assert systems["joint"].confusion and systems["majority"].confusion is None
    assert systems["text"].all["f1"] is None and systems["majority"].all["tl"].value is not None
    assert list(evaluated.frames) == [("joint", "scnm"), ("text", "scnm")]
    written = pd.read_csv(runs / "tiny" / "04_evaluate" / "documents" / "joint.scnm.csv", dtype={"id": str})
    assert list(written["id"]) == list(evaluated.frames["joint", "scnm"]["id"])
    assert {"metric", "difference", "verdict"} <= set(evaluated.differences("joint")[0])


def test_a_floor_is_found_for_a_task_that_went_through_a_file(in_process, tmp_path, monkeypatch):
    """The lexicon knows its tasks, also as the run's tasks.json gives them back."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    profile = write_profile(tmp_path, {"name": "pos", "data": {"tasks": ["scpos-n"]},
                                       "training": {"conditions": ["joint"]}})
    evaluated = run_stages(profile, until="04")
    assert list(evaluated.scores.tasks["scpos-n"])[-1] == "lexicon"
    assert evaluated.scores.tasks["scpos-n"]["lexicon"].all["wl_exact"].value == 1


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "giellm"])
def test_every_format_goes_through_the_stages(in_process, tmp_path, monkeypatch, name):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    fmt = FORMATS[name](TASKS["scnm"])
    free = "both" if type(fmt).grammar is not Format.grammar else "none"
    profile = write_profile(tmp_path, {"training": {"conditions": list(fmt.levels)},
                                       "generation": {"constrained": free}})
    evaluated = run_stages(profile, {"format.name": name}, until="04")
    assert [s for s in evaluated.scores.tasks["scnm"] if s in fmt.levels] == list(fmt.levels)
    if free == "none":
        with pytest.raises(FormatError, match="set generation.constrained to none"):
            run_stage("04_evaluate", profile,
                      overrides={"format.name": name, "generation.constrained": "only"})


def test_texts_that_may_not_be_shown_are_not(runs, profile):
    shown = run_stage("04_evaluate", profile)
    assert len(shown.rows("joint", "scnm")) == 6 and len(shown.rows("text", "scnm", "constrained")) == 6
    # As if scnm were a corpus whose texts must not be redistributed; every joint answer is made a right one.
    path = runs / "tiny" / "01_inspect_data" / "provenance.json"
    for allowed in (True, False):
        made = artifacts.read(path, ProvenanceFile)["scnm"].model_copy(update={"redistributable": allowed})
        artifacts.write(path, ProvenanceFile({"scnm": made}))
        stage = Stage("04_evaluate", load_profile(profile), runs / "tiny")
        answer_rightly(predictions_file(stage.folder, "joint", "scnm", "free"))
        evaluated = run(stage)
        assert (evaluated.example is not None) == allowed
        assert bool(evaluated.rows("joint", "scnm")) == allowed
        stage.finish()
        assert (stage.folder / "example.json").exists() == allowed


def answer_rightly(path) -> None:
    """Put the gold answer, and a text of the right length, in place of every answer in a predictions file."""
    fmt, rows = GiellmFormat(TASKS["scnm"]), read_rows(path)
    for row in rows:
        record = Record(row["id"], "scnm", "東京の田中さんが大阪へ行ったのは昨日のことだった。", "社会", (
            Word("entity", "地名", Span(0, 2)), Word("entity", "人名", Span(3, 5))))
        answer = fmt.parse(fmt.target(record, "joint"), "joint", record.text)
        row |= {"text": record.text, "answer": answer.to_json(),
                "gold": {"label": record.label, "items": items_to_json(record.items())}}
    write_jsonl(path, rows)


# -- the example ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["giellm", "giellm-card", "giellm-twice"])
def test_the_places_of_an_example_are_those_of_its_format(name):
    fmt = FORMATS[name](TASK)
    answer = fmt.parse(fmt.target(RECORD, "joint"), "joint", TEXT)
    assert not answer.problems and list(answer.items) == list(RECORD.items())
    found = example(fmt, TEXT, answer)
    output, prompt = found.output, found.prompt
    assert output[slice(*found.label_span)] == fmt.mark("社会")
    # The first word's colon is escaped in the output; the relation before it holds its surface too.
    assert [(output[a:b], label) for a, b, label in found.item_spans] == [
        ("人名;田中\\:", "人名"), ("地名;日本", "地名"), ("地名;日本", "地名")]
    assert found.item_spans[0][0] > output.index("事象抽出") and found.item_spans[1] != found.item_spans[2]
    assert [(TEXT[a:b], label) for a, b, label in found.spans] == [
        ("田中:", "人名"), ("日本", "地名"), ("日本", "地名")]
    assert [prompt[a:b] for a, b in found.prompt_spans] == [
        fmt.mark("社会"), fmt.mark("経済"), "関係抽出事象抽出"]
    assert prompt[:len(TEXT)] == TEXT


def test_an_example_is_wholly_right_and_of_our_format():
    small = Task("t", "t", ("社会", "経済"), (TASK.parts[1],))
    record = Record("1", "t", TEXT, "社会", tuple(w for w in RECORD.words if w.kind == "what"))
    fmt = GiellmFormat(small)
    right = fmt.parse(fmt.target(record, "joint"), "joint", TEXT)
    gold = {"label": record.label, "items": items_to_json(record.items())}

    def rows(*answers: Answer, text: str = TEXT) -> list[dict]:
        return [{"text": text, "answer": a.to_json(), "gold": gold} for a in answers]

    wrong = [right.cut(), Answer("経済", right.items, (), right.raw),
             Answer("社会", right.items[::-1], (), "x"), Answer("社会", right.items[:2], (), "x")]
    assert find_example(fmt, rows(*wrong)) is None
    assert find_example(fmt, rows(*wrong, right)).output == right.raw
    assert find_example(fmt, rows(right, text="短い")) is None
    other = next(make(small) for name, make in FORMATS.items() if not name.startswith("giellm"))
    turned = GiellmFormat(small, words_first=True)
    behind = turned.parse(turned.target(record), "joint", TEXT)
    assert find_example(other, rows(right)) is find_example(turned, rows(behind)) is None


def test_floors_are_marked_in_the_registry():
    assert [e.name for e in entries().values() if e.floor] == ["majority", "always_empty", "lexicon"]
