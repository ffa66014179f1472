"""`giellm extract -`: each line is answered before the next is sent; and what a start must not import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from peft import get_peft_model, LoraConfig

from giellm_utils.cli import extract as command
from giellm_utils.models.bundle import write_card
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.quiet import peft_wrapping
from support.extraction import card
from support.models import SCRATCH

#: As `giellm extract`, then what was imported, on stderr.
RUN = "import sys; from giellm_utils.cli.extract import extract; import typer; app = typer.Typer(); "\
      "app.command()(extract); app(standalone_mode=False); print('MODULES', *sys.modules, file=sys.stderr)"


@pytest.fixture
def trained(tmp_path, scratch_cache):
    """A LoRA adapter of the scratch model, as a training leaves it."""
    folder = tmp_path / "model"
    with peft_wrapping():
        wrapped = get_peft_model(load_model(SCRATCH), LoraConfig(task_type="CAUSAL_LM", r=4,
                                                                 target_modules="all-linear"))
    wrapped.save_pretrained(folder)
    load_tokenizer(SCRATCH).save_pretrained(folder)
    write_card(folder, card("scnm", context=512))
    return folder


def start(folder) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, "-", "--model", str(folder)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ},
                            preexec_fn=_hears_interrupts)


def _hears_interrupts() -> None:
    """Tests that a shell started in the background ignore SIGINT, and what they start would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_each_line_is_answered_before_the_next_is_sent(trained):
    with start(trained) as process:
        answers = []
        for line in ("東京へ行く。".encode(), '{"id": 7, "text": "大阪"}'.encode(), b"\xff", b'{"text": 3}'):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        rest, said = process.communicate()
    assert [a["line"] for a in answers] == [1, 2, 3, 4] and not rest
    assert answers[0]["text"] == "東京へ行く。" and answers[1]["id"] == 7 and "scnm" in answers[1]["tasks"]
    assert answers[2]["reason"].startswith("not UTF-8") and "no field" in answers[3]["reason"]
    loaded = {m.split(".")[0] for m in said.decode().partition("MODULES")[2].split()}
    heavy = {"transformers", "peft", "accelerate", "pandas", "matplotlib", "scipy", "sklearn", "datasets"}
    assert not loaded & heavy


def test_a_stop_is_one_line(trained):
    with start(trained) as process:
        process.stdin.write("東京\n".encode())
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert "giellm: stopped\n" in said.decode() and "Traceback" not in said.decode()


def test_who_reads_no_more_ends_it_without_a_word(trained):
    with start(trained) as process:
        process.stdout.close()
        process.stdin.write("東京\n大阪\n".encode())
        process.stdin.close()
        assert process.wait() == 0
        assert "Traceback" not in process.stderr.read().decode()


def test_answers_do_not_go_to_a_file(capsys, tmp_path):
    with pytest.raises(command.typer.Exit) as stopped:
        command.extract("-", model="m", out=tmp_path / "o.jsonl")
    assert stopped.value.exit_code == 2 and "standard output" in capsys.readouterr().err
