"""hub: a folder laid out like a Hub snapshot is read in both layouts; faults name file and row."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from giellm_utils.core.schema import Record, Span, Word
from giellm_utils.core.settings import ConfigError, load_yaml
from giellm_utils.data import hub
from giellm_utils.data.config import DataConfig
from giellm_utils.data.corpus import load_corpus, tasks_of
from giellm_utils.data.hub_config import HubConfig
from giellm_utils.data.hub_files import HubError
from giellm_utils.data.registry import get_task, load_dataset, source_files, TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import make_format
from support.datasets import hub_yaml

ROOT = Path(__file__).resolve().parents[2]
HUB_YAMLS = sorted((ROOT / "configs" / "hub").glob("*.yaml"))
AUTHORS = [p for p in HUB_YAMLS if p.name.startswith(("authors-", "mmm-"))]
TEMPLATES = [p for p in HUB_YAMLS if p not in AUTHORS]
SCNM = TASKS["scnm"]
INOUT = {"layout": "inout", "input": "in", "output": "out", "format": "giellm-card"}
COLUMNS = {"layout": "fields", "text": "sentence", "label": "class", "words": "entities",
           "word_label": "type", "surface": "name"}


def config(at: Path, **changes: Any) -> Path:
    return hub_yaml(at, **{"fields": INOUT, "files": {"train": ["train.jsonl"], "test": ["data/test.json"]},
                           **changes})


def put(folder: Path, name: str, rows: list[Any]) -> None:
    path = folder / "snapshot" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with open(path, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def inout(text: str, label: str = "社会", words: str = ":無い;", gap: str = "") -> dict[str, str]:
    options = "".join(f"‹{x}>" for x in SCNM.text_labels)
    return {"in": f"{text}{gap}{options}{gap}固有表現抽出", "out": f"‹{label}>固有表現抽出{words}{gap}"}


@pytest.mark.parametrize("name", ["scnm", "tcree", "scpos-n"])
@pytest.mark.parametrize("gap", ["", "\n", " "])
def test_in_and_out_strings_come_back_as_the_records(tmp_path: Path, name: str, gap: str) -> None:
    """Write the mini corpus as the model cards print it, read it back."""
    data = load_dataset(name, "embedded")
    fmt = GiellmFormat(data.task, "‹>")
    # Without an escape rule, as published: the few texts with marks in a span cannot be written so.
    records = [r for r in data.records if "\\" not in fmt.target(r, "joint")]
    assert len(records) > 0.98 * len(data.records)
    for file, split in (("train.jsonl", ("train", "dev")), ("data/test.json", ("test",))):
        put(tmp_path, file, [{"in": fmt.prompt(r.text, "text") + gap + fmt.instructions,
                              "out": fmt.target(r, "joint") + gap}
                             for r in records if r.split in split])
    loaded = hub.load_dataset(config(tmp_path, task=name, dev_share=0.1))
    by_text = {r.text: r for r in records}
    assert len(loaded.records) == len(records)
    for r in loaded.records:
        gold = by_text[r.text]
        assert r.label == gold.label and sorted(map(str, r.items())) == sorted(map(str, gold.items()))
    assert {r.text for r in loaded.split("test")} == {r.text for r in records if r.split == "test"}
    assert 0.04 < len(loaded.split("dev")) / len(loaded.split("train", "dev")) < 0.18
    assert loaded.provenance.note == "No row left out. Rows mapped by hub.yaml."
    assert [f.name for f in loaded.provenance.files] == ["train.jsonl", "data/test.json", "hub.yaml"]


def test_unescaped_marks_of_a_span(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", [inout("C\\Dと東京", words=":地名;東京:人名;C\\D")])
    put(tmp_path, "data/test.json", [inout("社会の文")])
    loaded = hub.load_dataset(config(tmp_path))
    assert [i.surfaces[0] for i in loaded.records[0].items()] == ["C\\D", "東京"]


def test_separate_columns(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", [
        {"sentence": "田中は東京にいる", "class": 1, "entities": [{"type": "PER", "name": "田中"},
                                                              {"type": "地名", "span": [3, 5]}]}])
    put(tmp_path, "t.csv", [{"sentence": "東京と東京", "class": "2", "entities": json.dumps(
        [{"type": "地名", "name": "東京"}, {"type": "地名", "name": "東京"}])}])
    loaded = hub.load_dataset(config(
        tmp_path, fields=COLUMNS, files={"train": ["train.jsonl"], "test": ["t.csv"]},
        text_labels={"1": "社会", "2": "自然"}, word_labels={"PER": "人名"}))
    first, second = loaded.records
    assert (first.label, first.split, second.label, second.split) == ("社会", "train", "自然", "test")
    assert [(w.label, w.span.start) for w in first.words] == [("人名", 0), ("地名", 3)]
    assert [w.span.start for w in second.words] == [0, 3]
    assert second.meta == {"file": "t.csv", "row": 1}


def test_separate_columns_with_relations(tmp_path: Path) -> None:
    words = [{"k": "relation", "label": "所属", "head": "田中", "tail": "東京銀行"},
             {"k": "event", "label": "就任", "surface": "就く"}]
    put(tmp_path, "train.jsonl", [
        {"sentence": "田中は東京銀行の頭取に就く", "class": "経歴", "entities": words}])
    fields = {**COLUMNS, "kind": "k", "word_label": "label", "surface": "surface"}
    loaded = hub.load_dataset(config(tmp_path, task="tcree", files={"train": ["train.jsonl"]}, fields=fields))
    assert [i.surfaces for i in loaded.records[0].items()] == [("田中", "東京銀行"), ("就く",)]


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text((ROOT / "examples/intents/task.yaml").read_text("utf-8"), "utf-8")
    put(tmp_path, "train.jsonl", [{"sentence": "寒い", "class": "空調操作", "entities": []}])
    loaded = hub.load_dataset(config(tmp_path, task="task.yaml", fields=COLUMNS,
                                     files={"train": ["train.jsonl"]}))
    assert loaded.task.name == "intents" and loaded.records[0].id == "intents-000000"


@pytest.mark.parametrize(("row", "message"), [
    ({"in": "x"}, "train.jsonl:2: out: is missing or no string; the row has in"),
    ({**inout("一つ"), "in": "一つ"}, "train.jsonl:2: in: does not end with ‹社会>‹文芸>"),
    ({**inout("一つ"), "out": "‹政治>固有表現抽出:無い;"}, "train.jsonl:2: out: unknown_text_label ('政治')"),
    (inout("一つ", words=":人名;二つ"), "train.jsonl:2: out: not_in_text ('二つ')"),
    (inout("一つ", words=":人名;一つ:地名;一つ"),
     "train.jsonl:2: words[1].surface: '一つ' is named more often"),
    (inout("一つ", words=":人名;一:つ"), "train.jsonl:2: out: bad_item"),
    (inout("よい文"), "train.jsonl:2: text: is the text of train.jsonl, row 1 already"),
    ([1], "train.jsonl:2: record: is not an object"),
])
def test_faulty_rows_stop_or_are_left_out(tmp_path: Path, row: Any, message: str) -> None:
    put(tmp_path, "train.jsonl", [inout("よい文"), row, inout("次の文")])
    put(tmp_path, "data/test.json", [inout("試験の文")])
    with pytest.raises(HubError) as error:
        hub.load_dataset(config(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)
    loaded = hub.load_dataset(config(tmp_path, skip_faulty=True))
    assert [r.text for r in loaded.records] == ["よい文", "次の文", "試験の文"]
    assert loaded.provenance.note.startswith("1 faulty rows left out (")


@pytest.mark.parametrize(("changes", "message"), [
    ({"folder": None}, "needs either folder, or repo together with revision"),
    ({"repo": "a/b", "revision": "0" * 40}, "needs either folder, or repo"),
    ({"folder": None, "repo": "a/b", "revision": "main"}, "'main' must be a commit"),
    ({"files": {"train": ["../x.jsonl"]}}, "'../x.jsonl' must be a path in the dataset"),
    ({"files": {"train": ["x.xlsx"]}}, "ending in .jsonl, .json, .csv, .parquet"),
    ({"sources": [{"folder": "x", "files": {"train": ["a.csv"]}}]}, "stand in each of sources, not beside"),
    ({"files": {}}, "needs files: {train"),
    ({"fields": {"layout": "auto", "formats": ["tsv"]}}, "must be one of giellm, giellm-card"),
    ({"fields": {**INOUT, "layout": "other"}}, "fields"),
    ({"fields": {**INOUT, "sentence": "x"}}, "unknown key; known keys here: layout, input, output"),
    ({"fields": {**INOUT, "format": "tsv"}}, "must be one of giellm, giellm-card"),
    ({"task": "nothing"}, "'nothing' is not one of scnm"),
])
def test_config_faults(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        hub.load_dataset(config(tmp_path, **changes))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_file_faults(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="has no file train.jsonl; correct `files` in hub.yaml"):
        hub.load_dataset(config(tmp_path))
    for name, content in (("a.jsonl", "{"), ("a.json", "["), ("a.csv", "\udc81")):
        (tmp_path / "snapshot").mkdir(exist_ok=True)
        (tmp_path / "snapshot" / name).write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(HubError, match=f"{name}: cannot be read as"):
            hub.load_dataset(config(tmp_path, files={"train": [name]}))
    put(tmp_path, "b.jsonl", [])
    with pytest.raises(HubError, match="hub.yaml: its files hold no sound row"):
        hub.load_dataset(config(tmp_path, files={"train": ["b.jsonl"]}))


HUB = {"folder": None, "repo": "owner/name", "revision": "1" * 40}


def test_the_hub_is_asked_for_the_named_files_at_the_commit(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "train.jsonl", [inout("よい文")])
    put(tmp_path, "data/test.json", [inout("試験の文")])
    asked: list[tuple[Any, ...]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append((repo, options))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    data = hub.load_dataset(config(tmp_path, **HUB))
    assert asked == [("owner/name", {"repo_type": "dataset", "revision": "1" * 40,
                                     "allow_patterns": ["train.jsonl", "data/test.json"]})]
    assert data.provenance.source == "download" and f"owner/name at {'1' * 40}" in data.provenance.note


@pytest.mark.parametrize("error", [errors.LocalEntryNotFoundError("x"), errors.HTTPError("x"), OSError("x")])
def test_a_failing_hub_is_one_sentence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(HubError, match="owner/name at 1+ cannot be had .*name its `folder`") as raised:
        hub.load_dataset(config(tmp_path, **HUB))
    assert "\n" not in str(raised.value)


def test_no_network(tmp_path: Path) -> None:
    """The real client, told to stay offline, with an empty cache."""
    path = config(tmp_path, **HUB)
    code = ("from giellm_utils.data.hub import *\n"
            f"try: load_dataset({str(path)!r})\n"
            "except HubError as error: print(error)")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")})
    assert "cannot be had from the Hub (LocalEntryNotFoundError)" in result.stdout, result.stderr
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_templates_parse_and_say_what_to_fill_in(path: Path) -> None:
    assert load_yaml(path, HubConfig).repo == "OWNER/NAME"
    with pytest.raises(HubError, match="placeholder of a template"):
        hub.load_dataset(path)


def test_a_published_format_gives_the_text_back(tmp_path: Path) -> None:
    """SLG writes the text twice: it is cut out of the prompt, or read from a field of its own."""
    fmt, gold = make_format("slg", SCNM), Record("1", "scnm", "田中の本", "文芸", (
        Word("entity", "人名", Span(0, 2)),)).validate(SCNM)
    put(tmp_path, "train.jsonl", [{"in": fmt.prompt(gold.text), "out": fmt.target(gold), "text": gold.text}])
    fields = {**INOUT, "format": "slg"}
    for more in ({}, {"text": "text"}):
        path = config(tmp_path, fields={**fields, **more}, files={"train": ["train.jsonl"]})
        loaded = hub.load_dataset(path).records[0]
        assert loaded.text == gold.text and list(loaded.items()) == list(gold.items())
    with pytest.raises(HubError, match="format slg is defined for tasks with one part of spans"):
        hub.load_dataset(config(tmp_path, fields=fields, task="tcree", files={"train": ["train.jsonl"]}))


def test_a_hub_yaml_can_stand_in_a_profile(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", [inout("よい文")])
    path = str(config(tmp_path, files={"train": ["train.jsonl"]}))
    data = DataConfig(tasks=[path])
    assert list(tasks_of(data)) == ["scnm"]
    (dataset,) = load_corpus(data)
    assert [r.label for r in dataset.records] == ["社会"] and dataset.provenance.source == "local folder"


def test_two_datasets_of_one_task_do_not_mix_in_a_profile(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", [inout("よい文")])
    path = str(config(tmp_path, files={"train": ["train.jsonl"]}))
    with pytest.raises(ConfigError, match="is a second dataset of task scnm"):
        load_corpus(DataConfig(tasks=["scnm", path]))


@pytest.mark.parametrize("changes", [{}, {"redistributable": False}, {"redistributable": True}])
def test_its_texts_are_kept_back_unless_the_yaml_says_otherwise(tmp_path: Path, changes: dict) -> None:
    put(tmp_path, "train.jsonl", [inout("よい文")])
    loaded = hub.load_dataset(config(tmp_path, files={"train": ["train.jsonl"]}, **changes))
    assert loaded.provenance.redistributable is changes.get("redistributable", False)


def test_a_yaml_in_any_style_is_told_from_a_task_yaml(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text('{"task": "scnm", "fields": {}}', encoding="utf-8")
    assert hub.is_hub_file(flow) and not hub.is_hub_file(ROOT / "examples/intents/task.yaml")
    assert not hub.is_hub_file(tmp_path / "nothing.yaml")
    assert get_task(str(config(tmp_path))) == SCNM


# -- what it is made from ------------------------------------------------------------------------


def test_source_files_of_a_folder(tmp_path: Path) -> None:
    """Fault 1: the YAML, the files and the task YAML; a file that is missing is left out."""
    (tmp_path / "task.yaml").write_text((ROOT / "examples/intents/task.yaml").read_text("utf-8"), "utf-8")
    put(tmp_path, "train.jsonl", [{"sentence": "寒い", "class": "空調操作", "entities": []}])
    path = config(tmp_path, task="task.yaml", fields=COLUMNS)
    found = source_files(str(path))
    assert found == [("train.jsonl", tmp_path / "snapshot" / "train.jsonl"), ("hub.yaml", path),
                     ("task.yaml", tmp_path / "task.yaml")]
    path = config(tmp_path, task="task.yaml", fields=COLUMNS, files={"train": ["train.jsonl"]})
    assert [f.name for f in load_dataset(str(path)).provenance.files] == [name for name, _ in found]


def test_source_files_of_the_hub_are_those_in_its_cache(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise AssertionError("source_files must not download")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    cached = tmp_path / "cached.jsonl"
    cached.write_text("", encoding="utf-8")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name, **_: (
        str(cached) if name == "train.jsonl" else None))
    path = config(tmp_path, **HUB)
    assert source_files(str(path)) == [("train.jsonl", cached), ("hub.yaml", path)]
