"""What a run learns from, counted for a plan; and the refusal of what memory cannot hold."""

from __future__ import annotations

from giellm_utils.core.artifacts import TokenCosts, TokensFile
from giellm_utils.core.plan_record import FORCED
from giellm_utils.core.schema import Record
from giellm_utils.experiment.plan import check_memory
from giellm_utils.experiment.profile import load_profile


def test_a_run_refuses_what_memory_cannot_hold_unless_forced(monkeypatch):
    profile = load_profile("smoke")
    counted = TokenCosts(prompt=[20, 30], target=[5, 9], budget=12)
    costs = TokensFile({"scnm": dict.fromkeys(("joint", "text", "words"), counted)})
    records = [Record(str(i), "scnm", "文", "社会", split="train") for i in range(2)]
    asked = []
    monkeypatch.setattr("giellm_utils.training.plan.refuse_if_too_large",
                        lambda model, training, work: asked.append(work))
    check_memory(profile, costs, records)
    # The longest condition's: prompts with their first token, targets with their last.
    assert [(w.sequences, w.longest, w.longest_targets) for w in asked] == [(2, 42, 10)]
    monkeypatch.setenv(FORCED, "1")
    check_memory(profile, costs, records)
    assert len(asked) == 1
