"""audit and `giellm data audit`: sheets that are safe to open, scores that hide no gap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from giellm_utils.cli.data import data_app
from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.data.audit import audit_sheet, AuditError, COLUMNS, score_audit
from giellm_utils.data.dataset import Dataset
from giellm_utils.data.registry import load_dataset
from support.datasets import hub_row, hub_yaml, provenance, write_rows

TASK = Task("news", "News", ("a", "=b"), (
    Part("e", "固有表現", ("x",)), Part("r", "関係", ("所属",), shape="relation")))
PROVENANCE = provenance(note="=1+1")
TEXTS = ["=HYPERLINK(\"http://example.org\")", "+1+1", "-1", "@SUM(A1)", "\tタブ", "\x00\x07制御",
         "=cmd|' /C calc'!A0", "ふつうの文", "改行\nのある文", "あ" * 40_000]


def dataset(n: int = len(TEXTS)) -> Dataset:
    records = [Record(f"n-{i:03d}", "news", TEXTS[i % len(TEXTS)], "=b", (
        Word("e", "x", Span(0, 1)), Word("r", "所属", Span(0, 1), Span(1, 2)))) for i in range(n)]
    return Dataset(TASK, tuple(records), PROVENANCE)


def fill(path: Path, label: Callable[[int], object], words: Callable[[int], object]) -> None:
    book = load_workbook(path)
    for i, row in enumerate(book["items"].iter_rows(min_row=2, min_col=5, max_col=6)):
        row[0].value, row[1].value = label(i), words(i)
    book.save(path)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    assert audit_sheet(dataset(40), tmp_path / "sub" / "a.xlsx", 20) == 20
    return tmp_path / "sub" / "a.xlsx"


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    assert audit_sheet(dataset(), path) == len(TEXTS)
    book = load_workbook(path)
    cells = [c for s in book for row in s.iter_rows() for c in row if c.value is not None]
    assert {c.data_type for c in cells} == {"s"}
    assert all(c.quotePrefix for c in cells)
    found = {row[0]: row for row in book["items"].iter_rows(min_row=2, values_only=True)}
    assert found["n-000"][1] == TEXTS[0] and found["n-000"][2] == "=b"
    assert found["n-000"][3] == "x: =\n所属: = → H"
    assert found["n-005"][1] == "\ufffd\ufffd制御" and len(found["n-009"][1]) == 32_767


def test_layout(sheet: Path) -> None:
    items = load_workbook(sheet)["items"]
    assert tuple(c.value for c in items[1]) == COLUMNS and items.freeze_panes == "A2"
    choice, = items.data_validations.dataValidation
    assert choice.formula1 == '"y,n"' and str(choice.sqref) == "E2:F21"


def test_the_choice_depends_on_seed_and_ids_alone(tmp_path: Path) -> None:
    def ids(name: str, data: Dataset, seed: int) -> list[str]:
        audit_sheet(data, tmp_path / name, 10, seed)
        return [r[0] for r in load_workbook(tmp_path / name)["items"].iter_rows(min_row=2, values_only=True)]

    data = dataset(50)
    backwards = Dataset(data.task, data.records[::-1], data.provenance)
    first = ids("1.xlsx", data, 1)
    assert first == ids("2.xlsx", backwards, 1) != ids("3.xlsx", data, 2)
    assert len(set(first)) == 10


def test_an_existing_sheet_is_not_overwritten(sheet: Path) -> None:
    before = sheet.read_bytes()
    with pytest.raises(AuditError, match="exists and may hold somebody's answers"):
        audit_sheet(dataset(), sheet)
    assert sheet.read_bytes() == before and [p.name for p in sheet.parent.iterdir()] == ["a.xlsx"]
    assert audit_sheet(dataset(), sheet, 3, overwrite=True) == 3
    with pytest.raises(AuditError, match="must end in .xlsx"):
        audit_sheet(dataset(), sheet.with_suffix(".csv"))


def test_score(sheet: Path) -> None:
    fill(sheet, lambda i: "n" if i < 2 else " Ｙ ", lambda i: "no" if i == 1 else "はい")
    score = score_audit(sheet)
    assert (score["dataset"], score["seed"], score["items"], len(score["wrong"])) == ("news", 42, 20, 2)
    assert score["label"]["yes"] == 18 and score["label"]["agreement"] == 0.9
    # Wilson 95 % for 18 of 20, from its closed form.
    assert (score["label"]["low"], score["label"]["high"]) == (pytest.approx(0.6990, abs=5e-5),
                                                               pytest.approx(0.9721, abs=5e-5))
    assert score["words"]["yes"] == 19 and score["both"]["yes"] == 18 and score["comments"] == {}


def test_a_question_left_out_altogether_is_not_scored(sheet: Path) -> None:
    fill(sheet, lambda i: "y", lambda i: None)
    score = score_audit(sheet)
    assert score["words"] is None and score["both"] is None and score["label"]["agreement"] == 1
    assert score["label"]["high"] == pytest.approx(1) and score["label"]["low"] < 0.9


@pytest.mark.parametrize(("label", "words", "message"), [
    (lambda i: None, lambda i: None, "no question is answered yet"),
    (lambda i: None if i in (0, 4) else "y", lambda i: "y", "label correct.* 2 cells are empty: E2, E6;"),
    (lambda i: "y", lambda i: "?" if i == 3 else None if i else "y", "18 cells are empty: F3.* …; 1 answers"),
    (lambda i: "=1=1", lambda i: "y", "neither y nor n: E2 \\('=1=1'\\)"),
])
def test_half_filled_sheets(sheet: Path, label: Callable, words: Callable, message: str) -> None:
    fill(sheet, label, words)
    with pytest.raises(AuditError, match=message) as error:
        score_audit(sheet)
    assert "\n" not in str(error.value)


def test_rows_taken_out_or_doubled(sheet: Path, tmp_path: Path) -> None:
    fill(sheet, lambda i: "y", lambda i: "y")
    for change, message in ((lambda s: s.delete_rows(5), "19 rows where 20 items were drawn"),
                            (lambda s: s.cell(3, 1, s.cell(2, 1).value), "stands in 2 rows"),
                            (lambda s: s.cell(3, 1).__setattr__("value", None), "row 3 has no id"),
                            (lambda s: s.delete_cols(2), "the first row reads id, label")):
        book = load_workbook(sheet)
        change(book["items"])
        book.save(tmp_path / "b.xlsx")
        with pytest.raises(AuditError, match=message):
            score_audit(tmp_path / "b.xlsx")


def test_files_that_are_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("id,text")
    with pytest.raises(AuditError, match="no readable .xlsx"):
        score_audit(tmp_path / "a.xlsx")
    with pytest.raises(AuditError, match="does not exist"):
        score_audit(tmp_path / "b.xlsx")


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "scnm.xlsx"
    run = CliRunner().invoke
    written = run(data_app, ["audit", "scnm", "--out", str(out), "--items", "12"])
    assert written.exit_code == 0 and "12 of 320 records" in written.output and "CC0" in written.output
    known = {r.id: r.text for r in load_dataset("scnm", "embedded").records}
    rows = list(load_workbook(out)["items"].iter_rows(min_row=2, values_only=True))
    assert len(rows) == 12 and all(known[row[0]] == row[1] for row in rows)
    again = run(data_app, ["audit", "scnm", "--out", str(out)])
    assert isinstance(again.exception, AuditError)
    fill(out, lambda i: "y" if i else "n", lambda i: None)
    scored = run(data_app, ["audit", "scnm", "--out", str(out), "--score"])
    assert scored.exit_code == 0 and "11 of 12 correct: 91.7%" in scored.output
    assert "words  not audited" in scored.output and rows[0][0] in scored.output
    other = run(data_app, ["audit", "tcree", "--out", str(out), "--score"])
    assert isinstance(other.exception, AuditError)
    assert "an audit of scnm, not of tcree" in str(other.exception)


def test_command_takes_a_hub_yaml(tmp_path: Path) -> None:
    """Fault 6: it was read as a task YAML and refused, when the sheet is written and when it is scored."""
    write_rows(tmp_path / "snapshot" / "train.jsonl", [hub_row(f"{i}番目の文") for i in range(3)])
    write_rows(tmp_path / "snapshot" / "test.jsonl", [hub_row("試験の文")])
    path, out = hub_yaml(tmp_path), tmp_path / "hub.xlsx"
    written = CliRunner().invoke(data_app, ["audit", str(path), "--out", str(out)])
    assert written.exit_code == 0 and "4 of 4 records of scnm" in written.output
    fill(out, lambda i: "y", lambda i: "y")
    scored = CliRunner().invoke(data_app, ["audit", str(path), "--out", str(out), "--score"])
    assert scored.exit_code == 0 and "4 of 4 correct: 100.0%" in scored.output
