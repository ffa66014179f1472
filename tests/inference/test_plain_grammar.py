"""The grammar of the formats without escapes: what the matcher accepts is what they write and read back."""

from __future__ import annotations

from itertools import product

import pytest

from giellm_utils.core.schema import Item, Part, Task
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.guidance import guidance_tokenizer
from giellm_utils.inference.matcher import GrammarError, OutputConstraint
from support.grammars import accepted, BYTES
from support.models import t5_tokenizer

TASK = Task("span", "", ("p", "q"), (Part("k", "I", ("x", "xy")),), none="a")
SCPOS = TASKS["scpos-n"]


def writable(fmt, text: str, most: int) -> set[str]:
    """Every output for `text`, by brute force over labels and sequences of items."""
    spans = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    items = [Item("k", label, (span,)) for label in fmt.part.labels for span in spans if ":" not in span]
    return {fmt.mark(label) + fmt.word + fmt.write_items(fmt.part, chosen) for label in fmt.task.text_labels
            for n in range(most + 1) for chosen in product(items, repeat=n)}


@pytest.mark.parametrize("name", ["slg", "usa"])
@pytest.mark.parametrize("text", ["ab", "a:b", "a;I", "<p>", "::", "", "あ\nい", "a\ud800b"])
def test_the_language_is_what_the_format_writes(name, text):
    fmt = make_format(name, TASK)
    want = {w for w in writable(fmt, text, 1) if not any("\ud800" <= c <= "\udfff" for c in w)}
    got = accepted(OutputConstraint(BYTES, fmt, 1).matcher(text, "joint"))
    assert got == want and all(fmt.parse(output, "joint", text).problems == () for output in got)


def test_two_items_and_what_lies_beyond():
    fmt = make_format("slg", TASK)
    got = accepted(OutputConstraint(BYTES, fmt, {"k": 2}).matcher("ab", "joint"))
    assert got == writable(fmt, "ab", 2) and "<p>I:x;a:xy;ab" in got
    with pytest.raises(FormatError, match="the level joint only"):
        fmt.grammar("text", "ab", 1)
    with pytest.raises(FormatError, match="max_items of part 'k' is None"):
        OutputConstraint(BYTES, fmt, {})


@pytest.mark.parametrize("name, task", [("slg", "scnm"), ("slg", "scpos-n"), ("usa", "scpos-rw"),
                                        ("usa", "scpos-n-adj")])
def test_every_gold_target_is_accepted_closed_and_placed(name, task):
    data = load_dataset(task, "embedded")
    fmt = make_format(name, data.task)
    constraint = OutputConstraint(BYTES, fmt, 60)
    for record in data.records[::9]:
        target = fmt.target(record)
        matcher = constraint.matcher(record.text, "joint")
        for byte in target.encode():
            matcher.consume(byte)
        assert matcher.is_complete()
        for cut in (0, 1, len(target) // 2, len(target) - 1):
            closed = fmt.close(target[:cut], "joint", record.text)
            assert fmt.parse(closed, "joint", record.text).problems == ()
        assert fmt.close(target, "joint", record.text) == target
        places = fmt.places(target)
        assert target[slice(*places.label)] == fmt.mark(record.label)
        assert [target[slice(*p)] for p in places.items] == [
            f":{i.label};{i.surfaces[0]}" for i in record.items()]


def test_what_has_no_places_and_cannot_be_closed():
    fmt = make_format("usa", SCPOS)
    with pytest.raises(FormatError, match="is none of this format .missing_instruction"):
        fmt.places("<積極>")
    with pytest.raises(FormatError, match="begins with no text label of task scpos-n"):
        fmt.close("積極", "joint", "a")


# -- a T5's tokenizer ------------------------------------------------------------------------------


def test_a_t5_s_tokenizer_is_read_token_by_token():
    fmt = make_format("slg", TASKS["scnm"])
    text = "京都 の佐藤"
    tokenizer = t5_tokenizer(fmt.prompt(text) + "".join(fmt.fixed_strings()))
    made = guidance_tokenizer(tokenizer, len(tokenizer) + 5)
    assert made.vocab_size == len(tokenizer) + 5
    assert made.decode_bytes([tokenizer.convert_tokens_to_ids("京")]).decode() == "京"
    assert made.decode_bytes([tokenizer.convert_tokens_to_ids("▁")]) == b" "
    matcher = OutputConstraint(tokenizer, fmt, 3, len(tokenizer)).matcher(text, "joint")
    allowed = tokenizer.convert_ids_to_tokens(matcher.allowed_ids())
    assert allowed == ["<"], "no special token, no mark of a word"
    ids = tokenizer("<社会>固有表現抽出:地名;京都:人名;佐藤", add_special_tokens=False).input_ids[1:]
    for token in ids:
        matcher.consume(token)
    assert matcher.is_complete() and tokenizer.eos_token_id in matcher.allowed_ids()
    with pytest.raises(GrammarError):
        matcher.consume(tokenizer.unk_token_id)
