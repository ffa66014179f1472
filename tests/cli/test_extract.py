"""`giellm extract`: exit codes, what it says on stderr, and which model it takes by itself."""

from __future__ import annotations

import json
import os
import time

import pytest
import typer
from typer.testing import CliRunner

from giellm_utils.cli import extract
from giellm_utils.inference.extractor import Extractor
from giellm_utils.models.spec import ModelError
from support.extraction import extractor, lengths
from support.lines import rows_of, write_input


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(extract.extract)
    return app


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    monkeypatch.setattr("giellm_utils.cli.extract.find_weights", lambda name: None)


def test_the_command_and_its_exit_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "from_pretrained",
                        lambda model, **options: extractor(*(options["tasks"] or ())))
    # No model of a repository or of `make run` is at hand.
    monkeypatch.setattr("giellm_utils.cli.extract.WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    run = CliRunner()
    one = run.invoke(command(), ["東京へ行く。", "--task", "scnm", "--model", "m"])
    assert one.exit_code == 0 and not one.stderr
    assert json.loads(one.stdout)["tasks"]["scnm"]["words"][0]["end"] == 2
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    both = [str(source), "--tasks", "scnm,tcree", "-o", str(out), "--model", "m"]
    done = run.invoke(command(), both)
    assert done.exit_code == 3 and "3 bad lines" in done.stderr
    assert set(rows_of(out)[0]["tasks"]) == {"scnm", "tcree"}
    fine = tmp_path / "fine.jsonl"
    fine.write_text('{"text": "東京"}\n', encoding="utf-8")
    assert run.invoke(command(), [str(fine), "-o", str(tmp_path / "f.jsonl"), "--model", "m"]).exit_code == 0
    assert not (tmp_path / "f.jsonl.errors.jsonl").exists()
    for arguments, words in (([str(source), "--model", "m"], "-o OUT.jsonl"),
                             (["none.jsonl", "-o", str(out), "--model", "m"], "no file none.jsonl"),
                             ([str(source), "-o", str(out), "--model", "m"], "was made with tasks"),
                             (["東京", "--level", "words", "--model", "m"], "'joint'"),
                             (["東京"], "make run trains one, or name one with --model")):
        failed = run.invoke(command(), arguments)
        assert failed.exit_code == 2 and words in failed.stderr.replace("\n", " "), arguments


def test_a_text_that_was_cut_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "from_pretrained",
                        lambda model, **options: extractor(characters=lengths(20)))
    run = CliRunner()
    one = run.invoke(command(), ["東京へ行く。" * 30, "--model", "m"])
    assert json.loads(one.stdout)["tasks"]["scnm"]["pieces"] == 10
    assert one.stderr.count("\n") == 1 and "cut into 10 pieces" in one.stderr
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "東京へ行く。" * 30}) + '\n{"text": "東京"}\n', encoding="utf-8")
    done = run.invoke(command(), [str(source), "-o", str(tmp_path / "out.jsonl"), "--model", "m"])
    assert done.exit_code == 0 and "1 texts are longer" in done.stderr


def test_the_default_is_the_repositorys_weights_else_the_newest_training_of_make_run(tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    monkeypatch.setattr("giellm_utils.cli.extract.WEIGHTS", weights)
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    for age, seed in enumerate((7, 42, 3)):
        card = tmp_path / "mini" / "joint" / "mixture" / f"seed-{seed}" / "model" / "giellm.json"
        card.parent.mkdir(parents=True)
        card.write_text("{}", encoding="utf-8")
        os.utime(card, (time.time() - age * (seed != 3), ) * 2)
    os.utime(card, (time.time() + 9,) * 2)
    (tmp_path / "mini" / "joint" / "mixture" / "seed-99").mkdir()
    asked = []
    monkeypatch.setattr(Extractor, "from_pretrained",
                        lambda model, **options: asked.append(model) or extractor())
    assert CliRunner().invoke(command(), ["東京へ行く。"]).exit_code == 0
    assert asked == [str(tmp_path / "mini" / "joint" / "mixture" / "seed-3")]
    weights.mkdir()
    for name in ("giellm.json", "adapter_model.safetensors"):
        (weights / name).write_text("{}", encoding="utf-8")
    assert CliRunner().invoke(command(), ["東京へ行く。"]).exit_code == 0
    assert asked[1:] == [str(weights)]


def test_any_fault_of_ours_is_one_line_and_exit_code_2(monkeypatch):
    def failing(model, **options):
        raise ModelError("no weights; install them")

    monkeypatch.setattr(Extractor, "from_pretrained", failing)
    failed = CliRunner().invoke(command(), ["東京へ行く。", "--model", "m"])
    assert failed.exit_code == 2 and failed.stderr == "giellm: no weights; install them\n"


def test_what_is_below_min_confidence_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "from_pretrained", lambda model, **options: extractor())
    run = CliRunner()
    one = run.invoke(command(), ["東京、東京、東京", "--model", "m", "--min-confidence", "0.8"])
    found = json.loads(one.stdout)["tasks"]["scnm"]
    assert (found["label"], found["confidence"]) == (None, 0.5)
    assert [w["confidence"] for w in found["words"]] == [0.9, 0.8]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "東京、東京"}\n', encoding="utf-8")
    to = [str(source), "-o", str(out), "--model", "m", "--min-confidence"]
    assert run.invoke(command(), [*to, "0.9"]).exit_code == 0
    assert [w["confidence"] for w in rows_of(out)[0]["tasks"]["scnm"]["words"]] == [0.9]
    other = run.invoke(command(), [*to, "0.8"])
    assert other.exit_code == 2 and "was made with min_confidence 0.9, not 0.8" in other.stderr
    live = run.invoke(command(), ["-", "--model", "m", "--min-confidence", "0.6"], input="東京\n")
    assert json.loads(live.stdout)["tasks"]["scnm"]["label"] is None
    for wrong in ("1.5", "-0.1", "nan"):
        failed = run.invoke(command(), ["東京", "--model", "m", "--min-confidence", wrong])
        assert failed.exit_code == 2
        assert failed.stderr == f"giellm: --min-confidence is {wrong}; give a number from 0 to 1\n"


def test_a_page_of_a_text_and_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Extractor, "from_pretrained",
                        lambda model, **options: extractor(*(options["tasks"] or ())))
    run, page = CliRunner(), tmp_path / "report.html"
    one = run.invoke(command(), ["東京へ<b>行く。", "--model", "m", "--html", str(page)])
    assert one.exit_code == 0 and one.stderr == f"giellm: wrote {page}\n" and json.loads(one.stdout)
    assert all(said in page.read_text("utf-8") for said in ("へ&lt;b&gt;行く。", "one text · m · joint"))
    source, out = write_input(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    alone = run.invoke(command(), [str(source), "--model", "m", "--html", str(page)])
    assert alone.exit_code == 3 and not out.exists() and page.read_text("utf-8").count("<article>") == 25
    assert "giellm: line 10: " in alone.stderr and alone.stderr.endswith(f"{page}: 25 texts; 3 bad lines\n")
    shown = page.read_text("utf-8")
    both = run.invoke(command(), [str(source), "--model", "m", "--html", str(page), "-o", str(out)])
    assert both.exit_code == 3 and len(rows_of(out)) == 25 and page.read_text("utf-8") == shown
    before = source.read_bytes()
    for arguments, words in ((["-", "--html", str(page)], "- answers each line at once, a page needs all"),
                             ([str(source), "--html", str(source)], "is no page of giellm extract"),
                             ([str(source), "-o", str(page), "--html", str(page)], "--html another name")):
        failed = run.invoke(command(), [*arguments, "--model", "m"])
        assert failed.exit_code == 2 and words in failed.stderr and failed.stderr.count("\n") == 1
    assert source.read_bytes() == before and page.read_text("utf-8") == shown
