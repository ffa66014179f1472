"""What a run learns from, counted for a plan; and the refusal of what memory cannot hold."""

from __future__ import annotations

import pytest

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import TokenCosts, TokensFile
from giellm_utils.core.paths import ROOT
from giellm_utils.core.plan_record import FORCED, GIB, PlanFile
from giellm_utils.core.schema import Record
from giellm_utils.experiment.plan import check_memory, counted_work, plan_here, work_of
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import open_stage
from giellm_utils.training.plan import Planner, Way
from giellm_utils.training.planning import hardware
from giellm_utils.training.planning.architecture import PlanError
from support.experiments import run_stages, write_profile


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


@pytest.mark.parametrize("name, tokens, targets", [("text-given", 77, 10), ("words-given-gold", 77, 5)])
def test_a_level_in_the_prompt_is_counted(name, tokens, targets):
    """By hand: 20 + 3 + 2 and 5 + 1, 30 + 4 + 2 and 9 + 1 for the words; the text label the other way."""
    costs = TokensFile({"scnm": {"text": TokenCosts(prompt=[20, 30], target=[3, 4], budget=6),
                                 "words": TokenCosts(prompt=[20, 30], target=[5, 9], budget=12)}})
    records = [Record(str(i), "scnm", "文", "社会", split="train") for i in range(2)]
    work = counted_work(load_profile("smoke", {"training.conditions": [name]}), costs, records)
    assert (work.tokens, work.longest, work.longest_targets) == (tokens, 46, targets)


@pytest.mark.parametrize("name, machine", [("giellm-7b", "8xA800-80GB"), ("giellm-13b-jp", "1xA800-80GB")])
def test_the_committed_plans_are_what_is_computed_today(name, machine, tmp_path, monkeypatch):
    """From the published configurations alone: no run, no weights, no network."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    committed = {p.profile: p for p in artifacts.read(ROOT / "results" / "plan" / f"{machine}.json",
                                                      PlanFile).plans}[name]
    profile = load_profile(name)
    work, _ = work_of(profile)
    found = hardware.parse(machine)
    assert (committed.count, committed.capacity) == (found.count, found.capacity)
    planner = Planner(profile.model, profile.training, work, cpu=False)
    own = Way.of(profile.training, found.count)
    assert planner.memory(own, found.count, committed.batch) == committed.own.memory
    assert planner.smallest(own, committed.batch) == committed.own.smallest
    assert (work.sequences, work.longest) == (committed.effort.sequences, committed.longest)


def test_stage_03_refuses_before_anything_is_trained(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    profile = write_profile(tmp_path, {"training": {"conditions": ["joint"]}})
    run_stages(profile, until="02")
    monkeypatch.setattr("giellm_utils.training.planning.hardware.here",
                        lambda count: hardware.Hardware("cpu", count, GIB // 8, None, cpu=True))
    with pytest.raises(PlanError, match="GiB are free here; .*giellm run --force"):
        run_stages(profile, from_="03", until="03")
    assert in_process.trained == [] and not (tmp_path / "runs" / "tiny" / "joint").exists()
    monkeypatch.setenv(FORCED, "1")
    run_stages(profile, from_="03", until="03")
    assert in_process.trained == ["joint"]
    # What is trained needs no more memory: it is never refused.
    monkeypatch.delenv(FORCED)
    run_stages(profile, from_="03", until="03")


def test_the_plan_of_a_run_is_that_of_its_own_lengths(runs, profile):
    """For notebook 03."""
    stage = open_stage("03_train", profile)
    costs, records = stage.read("tokens.json"), stage.records()
    found = plan_here(stage.profile, costs, records)
    work = counted_work(stage.profile, costs, records)
    assert (found.profile, found.longest, found.effort.sequences) == ("tiny", work.longest, 16)
    assert found.own.fits and found.assumed[0] == "texts as counted in this run"


def test_a_run_of_other_settings_is_not_counted(runs, profile):
    loaded = load_profile(str(profile))
    assert work_of(loaded)[1][0].startswith("lengths as counted in")
    changed = load_profile(str(profile), {"data.task_limit": {"scnm": {"train": 6}}})
    assert "no tokenizer has counted" in work_of(changed)[1][0]
