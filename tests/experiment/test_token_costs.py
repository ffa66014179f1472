"""Token costs are counted as training counts, for every format, and leave the tokenizer as it was."""

from __future__ import annotations

import pytest

from giellm_utils.core.schema import Record, Span, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.experiment.benchmarks.tokens import measure, run, token_counts
from giellm_utils.formats.cost_only import Call, FORMATS, MARKERS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.models.load import load_tokenizer
from giellm_utils.models.spec import ModelConfig
from giellm_utils.training.rows import Sequences
from giellm_utils.training.sequences import sequence

TASK = TASKS["scnm"]
SCRATCH = ModelConfig(id="scratch")
CALLS = {"text_words": 2, "instruct_uie": 2, "yayi_uie": 2, "iepile": 3}
PAIR = [Record("a", "scnm", "京都にいる。", "社会", (Word("entity", "地名", Span(0, 2)),)),
        Record("b", "scnm", "雨が降る。", "自然")]


def calls(name: str, given: Record) -> list[Call]:
    return FORMATS[name].calls(given, TASK)


def test_tokens_are_counted_as_in_training(scratch_cache):
    tokenizer = load_tokenizer(SCRATCH)
    rows = Sequences([sequence(GiellmFormat(TASK), r, "joint") for r in PAIR], tokenizer, 2048)
    counts = token_counts(tokenizer, [calls("joint", r) for r in PAIR])
    # The last token of a sequence is written, never read.
    assert [total - 1 for total in counts[:, 3]] == [len(row["input_ids"]) for row in rows]
    two = token_counts(tokenizer, [calls("text_words", PAIR[0]), calls("text_words", PAIR[1]) * 2])
    each = [token_counts(tokenizer, [[c]])[0] for c in calls("text_words", PAIR[1])]
    assert list(two[:, 2]) == [2, 4] and list(two[1]) == list(2 * (each[0] + each[1]))


def test_measuring_leaves_the_tokenizer_as_it_was(scratch_cache):
    tokenizer = load_tokenizer(SCRATCH)
    before = len(tokenizer), tokenizer.padding_side, dict(tokenizer.get_added_vocab())
    measure(tokenizer, TASK, PAIR, resamples=10, seed=0)
    assert (len(tokenizer), tokenizer.padding_side, dict(tokenizer.get_added_vocab())) == before


def test_a_run_holds_what_it_measured(scratch_cache, capsys):
    result = run("embedded", SCRATCH, 500, 42)
    assert "500 sentences were asked for, it has 320; taking all" in capsys.readouterr().out
    assert (result["n"], result["wanted"], list(result["formats"])) == (320, 500, list(FORMATS))
    assert result["source"].endswith(
        "(machine-written, stand-in) · tokenizer of tiny model from scratch (tests only)")
    joint = result["formats"]["joint"]
    records = load_dataset("scnm", "embedded").records
    # One token a character (no byte fallback on these texts), and an end of sequence.
    out = sum(len(GiellmFormat(TASK).target(r)) + 1 for r in records) / 320
    assert joint["tokens_out"]["value"] == pytest.approx(out)
    marks = 13 * len(MARKERS[0]) + len(MARKERS[1])
    uie = sum(len(calls("uie", r)[0].prompt) - marks + 14 for r in records) / 320
    assert result["formats"]["uie"]["tokens_in"]["value"] == pytest.approx(uie), "a structure token is one"
    for name, found in result["formats"].items():
        assert found["calls"]["value"] == CALLS.get(name, 1)
        total = found["tokens_in"]["value"] + found["tokens_out"]["value"]
        assert found["total"]["value"] == pytest.approx(total)
        assert found["times_joint"]["value"] == pytest.approx(total / joint["total"]["value"])
        for key in ("total", "times_joint"):
            assert found[key]["low"] <= found[key]["value"] <= found[key]["high"]


def test_no_sentence_is_refused():
    with pytest.raises(ConfigError, match="--items is 0; give 1 or more"):
        run("embedded", SCRATCH, 0, 42)
