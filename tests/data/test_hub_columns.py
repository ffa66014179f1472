"""Columns that could not be seen: told by name, proved by the first rows, or one sentence on them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from giellm_utils.core.schema import Record
from giellm_utils.data import hub
from giellm_utils.data.hub_columns import INPUTS, LABELS, OUTPUTS, TEXTS, WORDS
from giellm_utils.data.hub_files import HubError
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import FORMATS, make_format
from support.datasets import hub_yaml

ROOT = Path(__file__).resolve().parents[2]


def gold(name: str = "scnm") -> list[Record]:
    """Records that the published formats can write: without marks inside a span."""
    return [r for r in load_dataset(name, "embedded").records
            if not any(c in s for i in r.items() for s in i.surfaces for c in ":;\\")]


def put(at: Path, name: str, rows: list[dict[str, Any]], encoding: str = "utf-8", head: bool = True) -> None:
    path = at / "snapshot" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with open(path, "w", encoding=encoding, newline="") as file:
            writer = csv.writer(file)
            writer.writerows([list(rows[0])] if head else [])
            writer.writerows(r.values() for r in rows)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"version": 1, "data": rows}, ensure_ascii=False), "utf-8")
    else:
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")


def auto(at: Path, name: str, task: str = "scnm", **changes: Any) -> Path:
    return hub_yaml(at, task=task, files={"train": [name]}, **{"fields": {"layout": "auto"}, **changes})


def same(loaded, records: list[Record]) -> None:
    """Texts, labels and items are those of `records`, in their order."""
    assert [r.text for r in loaded.records] == [r.text for r in records]
    for a, b in zip(loaded.records, records, strict=True):
        assert a.label == b.label and sorted(map(str, a.items())) == sorted(map(str, b.items()))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("file", "columns"), [
    ("a.csv", ("in", "out")), ("a.parquet", ("Instruction", "Output")), ("a.json", ("prompt", "completion"))])
def test_a_prompt_and_a_target(tmp_path: Path, name: str, file: str, columns: tuple[str, str],
                               capsys) -> None:
    fmt, records = make_format(name, load_dataset("scnm", "embedded").task), gold()
    put(tmp_path, file, [dict(zip(columns, (fmt.prompt(r.text), fmt.target(r)), strict=True))
                         for r in records])
    same(hub.load_dataset(auto(tmp_path, file)), records)
    said = capsys.readouterr().out
    assert f"{file}: columns {columns[0]}, {columns[1]}\n" in said
    assert f"input {columns[0]}, output {columns[1]} as {name} reads 100 of the first 100 rows" in said


def test_a_bare_text_and_a_target(tmp_path: Path) -> None:
    """The input is the sentence alone; of formats that read the same, the first in the registry counts."""
    fmt, records = make_format("slg", load_dataset("scnm", "embedded").task), gold()
    put(tmp_path, "a.jsonl", [{"id": i, "sentence": r.text, "label": fmt.target(r)}
                              for i, r in enumerate(records)])
    same(hub.load_dataset(auto(tmp_path, "a.jsonl")), records)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_one_column_as_the_slg_code_writes_it(tmp_path: Path, encoding: str, capsys) -> None:
    """pandas' column 0, prompt and target on the two sides of ",,", items in full width."""
    fmt = make_format("slg", load_dataset("scnm", "embedded").task)
    records = []
    for r in gold():
        try:
            r.text.encode("cp932")
        except UnicodeEncodeError:
            continue
        records.append(r)

    def wide(target: str) -> str:
        head, *items = target.split(":")
        return head + "".join(f":{i}" if i == "無い;" else "：" + i.replace(";", "；", 1) for i in items)

    put(tmp_path, "SCNM_Dataset.csv", [{"0": f"{fmt.prompt(r.text)},,{wide(fmt.target(r))}"}
                                       for r in records], encoding)
    same(hub.load_dataset(auto(tmp_path, "*scnm*.CSV")), records)
    said = capsys.readouterr().out
    assert "0 cut at ',,' as slg reads 100 of the first 100 rows" in said
    assert ("is no UTF-8 and is read as cp932" in said) == (encoding == "cp932")


def test_separate_columns_as_the_slg_code_reads_them(tmp_path: Path) -> None:
    records = gold()
    put(tmp_path, "ner.jsonl", [
        {"curid": 1, "text": r.text, "sc": r.label, "con": str(int(bool(r.words))),
         "entities": [{"name": w.span.of(r.text), "span": [w.span.start, w.span.end], "type": w.label}
                      for w in r.words]} for r in records])
    same(hub.load_dataset(auto(tmp_path, "ner.jsonl")), records)


def test_a_csv_without_a_line_of_names(tmp_path: Path, capsys) -> None:
    fmt, records = make_format("giellm-card", load_dataset("scnm", "embedded").task), gold()
    put(tmp_path, "a.csv", [{"in": fmt.prompt(r.text), "out": fmt.target(r)} for r in records], head=False)
    fields = {"layout": "inout", "input": "1", "output": "2", "format": "giellm-card"}
    same(hub.load_dataset(auto(tmp_path, "a.csv", fields=fields)), records)
    with pytest.raises(HubError, match="its columns 1, 2 could not be told by name"):
        hub.load_dataset(auto(tmp_path, "a.csv"))
    assert records[0].text not in capsys.readouterr().out, "a row is no line of names to print"


# -- when nothing fits -----------------------------------------------------------------------------------


def test_the_sentence_shows_a_row_and_the_line_to_write(tmp_path: Path) -> None:
    answer = "<社会>固有表現抽出:無い;"
    put(tmp_path, "a.csv", [{"文": "よい文", "答え": answer}, {"文": "次の文", "答え": "x"}])
    with pytest.raises(HubError) as error:
        hub.load_dataset(auto(tmp_path, "a.csv"))
    said = str(error.value)
    assert said.startswith("a.csv: its columns 文, 答え could not be told by name; its first row is "
                           f"[文='よい文'; 答え='{answer}']: write into hub.yaml what holds what, "
                           "as in 'fields: {layout: inout, input: 文, output: 答え, format: giellm}'")
    assert "\n" not in said
    # The line does what it promises.
    fields = {"layout": "inout", "input": "文", "text": "文", "output": "答え", "format": "giellm"}
    loaded = hub.load_dataset(auto(tmp_path, "a.csv", fields=fields, skip_faulty=True))
    assert [r.text for r in loaded.records] == ["よい文"]


def test_known_names_with_other_labels_say_what_was_near(tmp_path: Path) -> None:
    fmt = make_format("giellm", load_dataset("scnm", "embedded").task)
    rows = [{"in": fmt.prompt(r.text), "out": fmt.target(r).replace("<社会>", "<政治>")}
            for r in gold()[:120]]
    put(tmp_path, "a.jsonl", rows)
    with pytest.raises(HubError, match=r"the nearest reads \d+ of 100 \(input in, output out as giellm; its "
                                       r"first fault is out: .unknown_text_label \('政治'\).*text_labels"):
        hub.load_dataset(auto(tmp_path, "a.jsonl"))
    loaded = hub.load_dataset(auto(tmp_path, "a.jsonl", text_labels={"政治": "社会"}))
    assert len(loaded.records) == 120 and "社会" in {r.label for r in loaded.records}


def test_long_rows_are_cut_where_they_are_shown(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", [{"x": "長" * 500}])
    with pytest.raises(HubError) as error:
        hub.load_dataset(auto(tmp_path, "a.jsonl"))
    assert "x='" + "長" * 40 + "…" + "長" * 40 + "'" in str(error.value) and len(str(error.value)) < 500


# -- labels that nobody published ------------------------------------------------------------------------


def test_labels_and_instruction_words_of_the_source(tmp_path: Path) -> None:
    """TCREE with labels and Instruction Words that are not ours: labels found, words given in the YAML."""
    data = load_dataset("tcree", "embedded")
    fmt = make_format("giellm-card", data.task)

    def theirs(text: str) -> str:
        for ours, other in (("関係抽出", "関係"), ("イベント抽出", "出来事"), ("経歴", "人物"),
                            ("所属", "勤務")):
            text = text.replace(ours, other)
        return text

    kept = [r for r in gold("tcree") if theirs(r.text) == r.text
            and all(theirs(s) == s for i in r.items() for s in i.surfaces)]
    assert len(kept) > 250
    put(tmp_path, "TCREE_dataset.csv", [{"in": theirs(fmt.prompt(r.text)), "out": theirs(fmt.target(r))}
                                        for r in kept])
    with pytest.raises(HubError, match="unexpected_text.*with other Instruction Words, instructions"):
        hub.load_dataset(auto(tmp_path, "TCREE_dataset.csv", task="tcree", labels="found"))
    path = auto(tmp_path, "TCREE_dataset.csv", task="tcree", labels="found", skip_faulty=True,
                instructions={"relation": "関係", "event": "出来事"})
    loaded = hub.load_dataset(path)
    assert len(loaded.records) >= 0.97 * len(kept)
    assert {"人物", "組織"} <= set(loaded.task.text_labels) and "勤務" in loaded.task.part("relation").labels
    assert hub.load_task(path) == loaded.task
    assert "Its labels are those found in its files." in loaded.provenance.note


# -- the split -------------------------------------------------------------------------------------------


def test_a_split_by_file_order_is_called_a_guess(tmp_path: Path) -> None:
    fmt, records = make_format("giellm", load_dataset("scnm", "embedded").task), gold()
    put(tmp_path, "a.csv", [{"in": fmt.prompt(r.text), "out": fmt.target(r)} for r in records])
    loaded = hub.load_dataset(auto(tmp_path, "a.csv", train_rows=100, dev_share=0.2))
    assert {r.text for r in loaded.split("train", "dev")} == {r.text for r in records[:100]}
    assert loaded.split("dev") and len(loaded.split("test")) == len(records) - 100
    assert "The split is a guess: by file order, the first 100 rows are train" in loaded.provenance.note


def test_the_lists_of_names_stand_in_the_document() -> None:
    text = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
    for names in (INPUTS, OUTPUTS, TEXTS, LABELS, WORDS):
        assert ", ".join(f"`{n}`" for n in names) in " ".join(text.split())
