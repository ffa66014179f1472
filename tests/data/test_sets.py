"""sets: every dataset of ours loads with the right counts, spans and splits; faults name their place."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from giellm_utils.core.files import StorageError
from giellm_utils.core.schema import Record, SchemaError, Span, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.data import dataset, layers
from giellm_utils.data import fetch as sources
from giellm_utils.data.fetch import SourceError
from giellm_utils.data.registry import load_dataset, source_files, TASKS
from giellm_utils.data.sets import scnm, scpos, tcree
from giellm_utils.data.splits import text_sha1
from support.datasets import needs_open

SCPOS = ("scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj")
MINI = {"scnm": (215, 25, 80), **dict.fromkeys(SCPOS, (324, 36, 120)), "tcree": (217, 21, 82)}
OPEN = {"scnm": (900, 100, 4343), "scpos-rw": (900, 100, 1000),
        **dict.fromkeys(SCPOS[1:], (450, 50, 1000)), "tcree": (900, 100, 1000)}


def check(data: dataset.Dataset, sizes: tuple[int, int, int]) -> None:
    assert tuple(len(data.split(s)) for s in ("train", "dev", "test")) == sizes
    said = data.provenance
    assert all((said.source, said.title, said.files, said.licence, said.attribution, said.note))
    assert all(len(f.sha256) == 64 for f in said.files)
    assert [r.id for r in data.records] == sorted({r.id for r in data.records})
    assert all(r.validate(data.task) == r for r in data.records)
    texts = {split: {unicodedata.normalize("NFKC", record.text) for record in data.split(split)}
             for split in ("train", "dev", "test")}
    assert not texts["train"] & texts["test"] and not texts["dev"] & (texts["train"] | texts["test"])


def test_tasks_are_the_papers() -> None:
    assert list(TASKS) == list(MINI)
    assert sum(task.paper_train for task in TASKS.values()) == 4500
    assert TASKS["scnm"].parts[0].instruction == "固有表現抽出"


@pytest.mark.parametrize("name", TASKS)
def test_mini(name: str) -> None:
    data = load_dataset(name, "embedded")
    check(data, MINI[name])
    assert data.provenance.source == "embedded mini corpus" and "stand-in" in data.provenance.title
    used = Counter(w.label for r in data.records for w in r.words)
    unused = {label for part in data.task.parts for label in part.labels} - set(used)
    assert data.provenance.redistributable
    assert [f.name for f in data.provenance.files] == [n for n, _ in source_files(name, "embedded")]
    assert unused == ({"中立"} if name in SCPOS[1:] else set())


def test_mini_words_keep_their_surfaces() -> None:
    """Every name written in the mini file comes back as the surface of its span."""
    for name, file, column in (("scnm", scnm.MINI, 2), ("scpos-rw", scpos.MINI, 2)):
        rows = [row for _, row in layers.mini_rows(file, 3)]
        for row, record in zip(rows, load_dataset(name, "embedded").records, strict=True):
            written = Counter(map(tuple, layers.split_items(row[column], 2, file)))
            assert written == Counter((i.label, i.surfaces[0]) for i in record.items())
    rows = [row for _, row in layers.mini_rows(tcree.MINI, 4)]
    for row, record in zip(rows, load_dataset("tcree", "embedded").records, strict=True):
        written = Counter((label, (head, tail)) for head, label, tail in layers.split_items(row[2], 3, "x"))
        written += Counter((label, (at,)) for label, at in layers.split_items(row[3], 2, "x"))
        assert written == Counter((i.label, i.surfaces) for i in record.items())


def test_kth_mention_is_kth_occurrence() -> None:
    words = layers.span_words("e", [["a", "花"], ["b", "花"], ["c", "雨"]], "花と雨と花", "f:1")
    assert [(w.span.start, w.label) for w in words] == [(0, "a"), (4, "b"), (2, "c")]
    with pytest.raises(SourceError, match="f:1: '花' is named more often"):
        layers.span_words("e", [["a", "花"], ["b", "花"]], "花", "f:1")


def test_mini_scpos_sets_share_one_split() -> None:
    splits = [{r.text: r.split for r in load_dataset(name, "embedded").records} for name in SCPOS]
    assert all(s == splits[0] for s in splits)


# -- faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "error", "message"), [
    ("社会\t文。\t-\n社会\t文\n", StorageError, r"scnm\.tsv:2: 2 tab-separated columns where 3"),
    ("社会\t東京。\t地名;大阪\n", SourceError, r"mini/scnm\.tsv:1: '大阪' is named more often"),
    ("社会\t東京。\t地名\n", SourceError, r"mini/scnm\.tsv:1: item '地名' does not have 2"),
    ("政治\t東京。\t-\n", SchemaError, "scnm-000000: label '政治' is not one of"),
    ("社会\t東京。\t町;東京\n", SchemaError, "scnm-000000: word label '町' is not one of"),
    ("社会\t東京。\t-\n社会\t東京。\t-\n", SourceError, "the text '東京。' stands twice"),
])
def test_mini_faults(content: str, error: type, message: str, tmp_path: Path,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scnm.tsv").write_text(content, "utf-8")
    for module in (dataset, layers):
        monkeypatch.setattr(module, "embedded", lambda name: tmp_path / "scnm.tsv")
    with pytest.raises(error, match=message):
        load_dataset("scnm", "embedded")


CORPUS = [{"curid": "1", "text": "東京の人。",
           "entities": [{"name": "東京", "span": [0, 2], "type": "地名"}]}]
SHA = text_sha1("東京の人。")


@pytest.mark.parametrize(("span", "row", "message"), [
    ([1, 3], ["0", "1", SHA, "test", "0", "社会", ""], r"sentence 0: entity '東京' has the span \[1, 3\)"),
    ([0, 2], ["0", "1", "0" * 12, "test", "0", "社会", ""], "sentence 0 was made for another text"),
    ([0, 2], ["7", "1", SHA, "test", "0", "社会", ""], "index 7 is outside the corpus of 1"),
    ([0, 2], ["0", "1", SHA, "test", "1", "社会", ""], "index 0: split 'test' with dev 1"),
    ([0, 2], ["0", "1", SHA, "test", "0", "政治", ""], "label '政治' is not one of"),
    ([0, 2], ["0", "1", SHA, "train", "1", "社会", ""], None),
])
def test_open_faults(span: list[int], row: list[str], message: str | None, tmp_path: Path,
                     monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = [{**CORPUS[0], "entities": [{**CORPUS[0]["entities"][0], "span": span}]}]
    (tmp_path / "ner.json").write_text(json.dumps(corpus), "utf-8")
    (tmp_path / "layer.tsv").write_text("\t".join("abcdefg") + "\n" + "\t".join(row) + "\n", "utf-8")
    located = sources.Located(tmp_path / "ner.json", "cache", sources.RESOURCES["stockmark"])
    monkeypatch.setattr(scnm, "fetch", lambda name: located)
    monkeypatch.setattr(scnm, "embedded", lambda name: tmp_path / "layer.tsv")
    if message is None:
        assert load_dataset("scnm", "open").records[0].split == "dev"
    else:
        with pytest.raises((SourceError, SchemaError), match=message):
            load_dataset("scnm", "open")


def test_options_of_the_families() -> None:
    with pytest.raises(ConfigError, match="rule 'scan' is not known for scpos-adj"):
        load_dataset("scpos-adj", "embedded", rule="scan")
    with pytest.raises(ConfigError, match="label must be coupled or blind"):
        load_dataset("tcree", "embedded", label="both")
    with pytest.raises(SourceError, match="no blind text labels"):
        load_dataset("tcree", "embedded", label="blind")
    with pytest.raises(SourceError, match="does not exist"):
        load_dataset("scpos-n", "embedded", rule="scan", lexicon="nowhere.trim")


def test_scan_on_the_mini_corpus(tmp_path: Path) -> None:
    (tmp_path / "own.trim").write_text("部屋\te\tx\n満足\tp\tx\n", "utf-8")
    data = load_dataset("scpos-n", "embedded", rule="scan", lexicon=tmp_path / "own.trim")
    assert {w.label for r in data.records for w in r.words} == {"中立", "ポジティブ"}
    # A profile names the file as a string.
    same = load_dataset("scpos-n", "embedded", rule="scan", lexicon=str(tmp_path / "own.trim"))
    assert same.records == data.records
    assert "rule scan" in data.provenance.note and data.provenance.files[1].name == "own.trim"


# -- scpos open, on an invented corpus -------------------------------------------------------------------


def test_jrte_rows(tmp_path: Path) -> None:
    rows = [("a", "1", "良い宿。"), ("b", "0", "普通。"), ("c", "-1", "悪い宿。"), ("d", "1", "良い宿。"),
            ("e", "1", "ＡＢ"), ("f", "-1", "AB")]
    path = tmp_path / "pn.tsv"
    path.write_text("".join(f"{i}\t{y}\t{t}\t{{}}\ttest\n" for i, y, t in rows), "utf-8")
    assert [(n, i, y) for n, i, y, _ in scpos.sentences(path)] == [(1, "a", "積極"), (3, "c", "消極")]
    path.write_text("a\t2\tx\t{}\ttest\n", "utf-8")
    with pytest.raises(SourceError, match=r"pn\.tsv:1: judgement '2'"):
        list(scpos.sentences(path))


def test_texts_that_differ_in_punctuation_share_a_split() -> None:
    assert scpos.split_key("Ｗi-Fiが、速い。") == scpos.split_key("wifiが速い")
    shares = Counter(scpos.global_split(f"文{i}") for i in range(4000))
    assert abs(shares["test"] / 4000 - scpos.TEST_SHARE) < 0.03


def test_sample_prefers_texts_with_words() -> None:
    word = Word(scpos.KIND, "ポジティブ", Span(0, 1))
    pool = [Record(str(i), "scpos-n", f"文{i}", "積極", (word,) if i % 4 == 0 else ()) for i in range(400)]
    assert sum(bool(r.words) for r in scpos.draw(pool, 100)) == 80
    assert sum(bool(r.words) for r in scpos.draw(pool, 200)) == 100
    with pytest.raises(SourceError, match="400 sentences are left where 401"):
        scpos.draw(pool, 401)


# -- the real corpora --------------------------------------------------------------------------------------


@needs_open
@pytest.mark.parametrize("name", TASKS)
def test_open(name: str) -> None:
    data = load_dataset(name, "open")
    check(data, OPEN[name])
    assert data.provenance.source == "local folder"
    # Rights go with the text: JRTE's licence keeps its sentences out of results, whatever the task is called.
    assert data.provenance.redistributable is (name not in SCPOS)
    assert [f.name for f in data.provenance.files] == [n for n, _ in source_files(name, "open")]
    if name in SCPOS:
        for split in ("train", "dev", "test"):
            records = data.split(split)
            assert sum(bool(r.words) for r in records) >= scpos.WITH_WORDS * len(records)


@needs_open
def test_no_training_text_of_one_scpos_set_is_a_test_text_of_another() -> None:
    seen: dict[str, set[str]] = {}
    for name in SCPOS:
        for record in load_dataset(name, "open").records:
            seen.setdefault(scpos.split_key(record.text), set()).add(record.split)
    assert len(seen) > 1900 and all(len(splits) == 1 for splits in seen.values())


@needs_open
def test_no_test_text_of_one_stockmark_set_is_trained_on_in_another() -> None:
    scnm_splits = {r.text: r.split for r in load_dataset("scnm", "open").records}
    both = [load_dataset("tcree", "open", label=label).records for label in ("coupled", "blind")]
    assert all(scnm_splits[r.text] == r.split for r in both[0])
    assert sum(a.label != b.label for a, b in zip(*both, strict=True)) == 251
    assert all(a.words == b.words for a, b in zip(*both, strict=True))


@needs_open
def test_scan_open() -> None:
    data = load_dataset("scpos-n", "open", rule="scan")
    check(data, OPEN["scpos-n"])
    assert {w.label for r in data.records for w in r.words} == {"ポジティブ", "ネガティブ", "中立"}
    assert "50 entries with stray tags skipped" in data.provenance.note
