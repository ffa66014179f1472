"""One step of the grammar: what is allowed is what the format could write on."""

from __future__ import annotations

import pytest

from giellm_utils.core.schema import Part, Task
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.inference.matcher import GrammarError, OutputConstraint
from giellm_utils.inference.step import allowed_next
from giellm_utils.models.load import load_tokenizer
from giellm_utils.models.spec import ModelConfig

TASK = Task("toy", "a toy", ("社会", "文芸"), (Part("entity", "抽出", ("人名", "地名")),))
TEXT = "京都で会う"


@pytest.fixture(scope="module")
def constraint(session_cache) -> OutputConstraint:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        return OutputConstraint(load_tokenizer(ModelConfig(id="scratch")), GiellmFormat(TASK), max_items=2)


def test_a_label_must_come_first_and_is_one_of_the_tasks(constraint):
    step = allowed_next(constraint, TEXT, "joint", "")
    assert (step.allowed, step.may_end, step.forced) == (("<",), False, "<")
    assert set(allowed_next(constraint, TEXT, "joint", "<").allowed) >= {"社", "文"}


def test_the_instruction_word_is_forced(constraint):
    assert allowed_next(constraint, TEXT, "joint", "<社会>").forced == "抽出:"


def test_a_span_starts_anywhere_in_the_text_and_nowhere_else(constraint):
    step = allowed_next(constraint, TEXT, "words", "抽出:人名;")
    assert {p for p in step.allowed if not p.startswith("<0x")} == set(TEXT) and not step.may_end
    after = allowed_next(constraint, TEXT, "words", "抽出:人名;京")
    assert after.may_end and {p for p in after.allowed if not p.startswith("<0x")} == {"都", ":"}


def test_what_begins_no_output_is_refused(constraint):
    with pytest.raises(GrammarError):
        allowed_next(constraint, TEXT, "words", "抽出:人名;東京")
