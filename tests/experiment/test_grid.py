"""The queue of the experiment: order, what is done, what a kill leaves, and what may not be replaced."""

from __future__ import annotations

import dataclasses

import pytest

from giellm_utils.core.settings import ConfigError
from giellm_utils.data.registry import load_dataset
from giellm_utils.evaluation.choose import choose
from giellm_utils.experiment import grid
from giellm_utils.experiment.cells import read_cell, read_cells, write_cell
from giellm_utils.formats.registry import make_format
from giellm_utils.models.load import load_tokenizer
from giellm_utils.systems.finetuned import FineTuned
from giellm_utils.training.sequences import build, token_costs
from support.cells import cell
from support.datasets import needs_open
from support.models import needs_gemma

STAGE = {"name": "i", "datasets": ["scnm"], "conditions": ["joint", "text"], "seeds": [1, 2],
         "decodings": ["constrained"]}


def small(**changes) -> grid.Grid:
    return grid.Grid.model_validate({
        "name": "toy", "model": {"id": "scratch"}, "generation": {"batch_size": 4}, "limit": {"scnm": 3},
        "training": {"method": "lora", "max_steps": 2, "batch_size": 4, "output_rows": "texts",
                     "log_steps": 1},
        "stages": [STAGE], **changes})


def embedded(task):
    """A dozen embedded texts."""
    whole = load_dataset(task, "embedded")
    records = [r for split, n in (("train", 8), ("dev", 2), ("test", 4)) for r in whole.split(split)[:n]]
    return dataclasses.replace(whole, records=records)


@pytest.fixture
def few(monkeypatch):
    """A dozen embedded texts of SCNM in the place of each open dataset."""
    found = embedded("scnm")
    monkeypatch.setattr(grid, "trial_dataset", lambda name: found)


@pytest.fixture
def both(monkeypatch):
    """The same of every task."""
    monkeypatch.setattr(grid, "trial_dataset", embedded)


def test_the_shipped_experiment_is_valid_and_every_prefix_is_whole():
    shipped = grid.load_grid("mre")
    cells = list(grid.queue(shipped))
    first = [(a.dataset, a.condition, a.seed) for a in cells[:6]]
    assert first == [(d, c, 1) for d in ("scnm", "tcree") for c in ("joint", "text", "words")]
    assert len({a.path(grid.ROOT) for a in cells}) == len(cells)
    assert {shipped.training_of(a.condition, a.stage).output_rows for a in cells} == {"texts"}
    assert {shipped.training_of(a.condition, a.stage).learning_rate for a in cells} == {5e-4}


def test_the_queue_is_worked_off_once(few, in_process, tmp_path):
    said = []
    args = (small(), tmp_path / "runs", tmp_path / "mre")
    assert grid.run(*args, cells_at_most=1, show=said.append) == 1
    found = grid.status(small(), tmp_path / "mre")
    assert [(r["cells"], r["done"]) for r in grid.progress(small(), tmp_path / "mre")] == [(4, 1)]
    assert [str(a) for a in found.left] == ["scnm/text/seed-1", "scnm/joint/seed-2", "scnm/text/seed-2"]
    assert found.seconds_left == pytest.approx(3 * found.seconds["scnm"])
    cell = read_cell(tmp_path / "mre/scnm/joint/seed-1.json.gz")
    assert (cell.texts, len(cell.ids), cell.level, cell.split) == (10, 3, "joint", "test")
    before = (tmp_path / "mre/scnm/joint/seed-1.json.gz").read_bytes()
    assert grid.run(*args, cells_at_most=1, show=said.append) == 1
    assert len(read_cells(tmp_path / "mre")) == 2
    assert (tmp_path / "mre/scnm/joint/seed-1.json.gz").read_bytes() == before
    assert "2 cells done, 2 left" in "\n".join(said)


def test_a_stage_alone(few, in_process, tmp_path):
    two = small(stages=[STAGE, {**STAGE, "name": "ii", "conditions": ["words"], "seeds": [1]}])
    args = (two, tmp_path / "runs", tmp_path / "mre")
    assert grid.run(*args, stages=["ii"], show=lambda line: None) == 1
    assert [c.address for c in read_cells(tmp_path / "mre")] == ["scnm/words/seed-1"]
    with pytest.raises(grid.QueueError, match="experiment toy has no stage 'iii'; it has i, ii"):
        grid.run(*args, stages=["iii"], show=lambda line: None)


def test_a_cell_cut_off_after_its_training_is_not_trained_again(few, in_process, tmp_path, monkeypatch):
    address = next(grid.queue(small()))
    cell = grid.make(small(), address, tmp_path, small().model, lambda line: None)
    monkeypatch.setattr(FineTuned, "_train", lambda *a: pytest.fail("trained again"))
    again = grid.make(small(), address, tmp_path, small().model, lambda line: None)
    assert again.decoded == cell.decoded and again.ids == cell.ids


def test_a_seed_goes_on_in_the_precision_it_was_begun_in(few, in_process, tmp_path):
    cells, toy = tmp_path / "mre", small()
    write_cell(cells, cell("joint", 1, [1], [1], [1], settings=grid.settings(toy, next(grid.queue(toy))),
                           dtype="bfloat16"))
    grid.run(toy, tmp_path / "runs", cells, show=lambda line: None)
    found = {c: read_cell(cells / f"scnm/{c}.json.gz").dtype
             for c in ("text/seed-1", "joint/seed-2", "text/seed-2")}
    assert found == {"text/seed-1": "bfloat16", "joint/seed-2": "float32", "text/seed-2": "float32"}


def test_other_settings_replace_nothing(few, in_process, tmp_path):
    grid.run(small(), tmp_path / "runs", tmp_path / "mre", cells_at_most=1, show=lambda line: None)
    changed = small(chosen={"joint": {"learning_rate": 5e-4}})
    with pytest.raises(grid.QueueError, match="joint/seed-1.json.gz was made with another training: it"):
        grid.run(changed, tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    assert grid.status(small(chosen={"text": {"learning_rate": 5e-4}}), tmp_path / "mre").done


def test_a_setting_that_is_dropped_is_noticed(few, in_process, tmp_path):
    arm = {**STAGE, "arm": "less", "conditions": ["text-given"], "seeds": [1], "texts": 4}
    grid.run(small(stages=[arm]), tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    with pytest.raises(grid.QueueError, match="less/seed-1.json.gz was made with another texts"):
        grid.status(small(stages=[{**arm, "texts": None}]), tmp_path / "mre")
    # Those of the model whose answers it was given are its own too.
    with pytest.raises(grid.QueueError, match="less/seed-1.json.gz was made with another given"):
        grid.status(small(stages=[arm], chosen={"text": {"max_steps": 3}}), tmp_path / "mre")


def test_an_arm_trains_on_fewer_texts_and_lies_apart(few, in_process, tmp_path):
    arm = {**STAGE, "name": "curve", "arm": "texts-4", "texts": 4, "training": {"max_steps": 1}, "seeds": [1]}
    both = small(stages=[{**STAGE, "seeds": [1]}, arm], chosen={"joint": {"max_steps": 3}})
    grid.run(both, tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    main, fewer = (read_cell(tmp_path / "mre/scnm/joint" / name / "seed-1.json.gz")
                   for name in ("", "texts-4"))
    assert (main.arm, main.texts, main.settings["training"]["max_steps"]) == ("main", 10, 3)
    assert (fewer.arm, fewer.texts, fewer.settings["training"]["max_steps"]) == ("texts-4", 4, 1)
    assert main.ids == fewer.ids and "texts" not in main.settings and fewer.settings["texts"] == 4
    assert not grid.status(both, tmp_path / "mre").left


def test_a_search_on_dev_ends_in_a_choice(few, in_process, tmp_path):
    arms = [{**STAGE, "name": arm, "arm": arm, "seeds": [0], "training": {"learning_rate": rate}}
            for arm, rate in (("low", 1e-4), ("high", 1e-3))]
    training = {**small().training.model_dump(), "splits": ["train"]}
    grid.run(small(split="dev", training=training, stages=arms), tmp_path / "runs", tmp_path / "dev",
             show=lambda line: None)
    cells = read_cells(tmp_path / "dev")
    assert {(c.split, c.texts, len(c.ids)) for c in cells} == {("dev", 8, 2)}
    choices = choose(cells).choices
    assert [(c.condition, c.cells, [t.value for t in c.tried]) for c in choices] == [
        ("joint", 1, [1e-4, 1e-3]), ("text", 1, [1e-4, 1e-3])]


def test_the_shipped_search_sees_no_test_document():
    dev = grid.load_grid("mre-dev")
    cells = list(grid.queue(dev))
    assert dev.split == "dev"
    assert all(dev.training_of(a.condition, a.stage).splits == ["train"] for a in cells)
    rates = {a.stage.arm: dev.training_of(a.condition, a.stage).learning_rate for a in cells}
    assert rates == {"rate-5e-4": 5e-4, "rate-1e-3": 1e-3, "rate-2e-3": 2e-3, "main": 5e-4}


def test_conditions_with_a_partner_go_through_the_queue(few, in_process, tmp_path):
    stage = {**STAGE, "conditions": ["two-task", "placebo-words", "placebo-label"], "seeds": [1]}
    grid.run(small(stages=[stage]), tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    levels = {c.condition: (c.level, c.decoded["constrained"].tl is None,
                            c.decoded["constrained"].matched is None) for c in read_cells(tmp_path / "mre")}
    assert levels == {"two-task": ("joint", False, False), "placebo-words": ("text", False, True),
                      "placebo-label": ("words", True, False)}


def test_a_predicted_level_is_predicted_by_a_model_trained_for_it(few, in_process, tmp_path):
    stage = {**STAGE, "conditions": ["text-given", "text-given-gold"], "seeds": [1]}
    grid.run(small(stages=[stage]), tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    assert sorted(c.condition for c in read_cells(tmp_path / "mre")) == ["text-given", "text-given-gold"]
    answers = {p.name for p in (tmp_path / "runs/toy/scnm").rglob("seed-1*constrained.jsonl")}
    assert {"seed-1.constrained.jsonl", "seed-1.text-given-gold.constrained.jsonl"} <= answers
    assert (tmp_path / "runs/toy/scnm/text/scnm/seed-1/model").is_dir()


def test_one_training_together_gives_a_cell_on_each_dataset(both, in_process, tmp_path):
    stage = {**STAGE, "arm": "mixture", "together": True, "datasets": ["scnm", "tcree"], "seeds": [1]}
    mixed = small(stages=[stage])
    # The first cell, then, as after a kill, the others.
    grid.run(mixed, tmp_path / "runs", tmp_path / "mre", cells_at_most=1, show=lambda line: None)
    said = []
    assert grid.run(mixed, tmp_path / "runs", tmp_path / "mre", show=said.append) == 3
    assert sum("trained already with these settings, kept" in line for line in said) == 2
    assert in_process.trained == ["joint", "text"]
    cells = {(c.task, c.condition): c for c in read_cells(tmp_path / "mre")}
    assert sorted(cells) == [(d, c) for d in ("scnm", "tcree") for c in ("joint", "text")]
    assert {(c.texts, c.shared_by) for c in cells.values()} == {(20, 2)}
    assert cells["scnm", "joint"].settings["together"] == ["scnm", "tcree"]
    trained = sorted(p.relative_to(tmp_path / "runs").as_posix()
                     for p in (tmp_path / "runs").rglob("summary.json"))
    assert trained == [f"toy/mixture/{c}/mixture/seed-1/summary.json" for c in ("joint", "text")]
    answers = sorted(p.name for p in (tmp_path / "runs/toy/mixture/joint").rglob("*.jsonl")
                     if "constrained" in p.name)
    assert answers == ["seed-1.scnm.constrained.jsonl", "seed-1.tcree.constrained.jsonl"]
    assert not grid.status(mixed, tmp_path / "mre").left


def test_a_condition_alone_can_train_longer(few, in_process, tmp_path):
    stage = {**STAGE, "arm": "tokens", "by_condition": {"text": {"max_steps": 3}}, "seeds": [1]}
    grid.run(small(stages=[stage]), tmp_path / "runs", tmp_path / "mre", show=lambda line: None)
    assert {c.condition: c.steps for c in read_cells(tmp_path / "mre")} == {"joint": 2, "text": 3}


@needs_gemma
@needs_open
@pytest.mark.parametrize("dataset", ["scnm", "tcree"])
def test_the_arm_of_equal_target_tokens_is_one(dataset):
    """Epochs times target tokens of an epoch, ends of sequence counted, are the same for all conditions."""
    shipped, found = grid.load_grid("mre"), grid.trial_dataset(dataset)
    stage = next(s for s in shipped.stages if s.arm == "tokens" and dataset in s.datasets)
    formats = {dataset: make_format(shipped.format.name, found.task)}
    rows = {c: build(formats, found.split("train"), c) for c in stage.conditions}
    tokenizer = load_tokenizer(shipped.model)
    seen = {c: shipped.training_of(c, stage).epochs * sum(n + 1 for n in token_costs(tokenizer, r)["target"])
            for c, r in rows.items()}
    assert seen["text"] == pytest.approx(seen["joint"], rel=2e-3)
    assert seen["words"] == pytest.approx(seen["joint"], rel=2e-3)


def test_bad_experiments_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no experiment 'other'; known experiments: mre"):
        grid.load_grid("other")
    with pytest.raises(ValueError, match="no dataset 'news' in the experiment; it has scnm"):
        small(stages=[{**STAGE, "datasets": ["news"]}])
    with pytest.raises(ValueError, match="stage i trains in another way than the experiment: give it an arm"):
        small(stages=[{**STAGE, "texts": 4}])
    with pytest.raises(ValueError, match="stage i trains on dev and scores it: leave it out of training.sp"):
        small(split="dev")
    with pytest.raises(ValueError, match="by_condition names words, which is none of its conditions"):
        small(stages=[{**STAGE, "arm": "tokens", "by_condition": {"words": {"epochs": 4}}}])
    with pytest.raises(ValueError, match="stage i trains in another way than the experiment: give it an arm"):
        small(stages=[{**STAGE, "together": True}])
    with pytest.raises(ValueError, match="text-given, which has one training with another condition"):
        small(stages=[{**STAGE, "arm": "tokens", "conditions": ["text-given"],
                       "by_condition": {"text-given": {"epochs": 4}}}])
    together = {**STAGE, "arm": "mixture", "together": True}
    with pytest.raises(ValueError, match="another stage of arm mixture on other datasets"):
        small(stages=[{**together, "datasets": ["scnm", "tcree"]}, {**together, "name": "ii"}])
    with pytest.raises(ValueError, match="names two datasets of one task: leave one out"):
        small(stages=[{**together, "datasets": ["tcree", "tcree-blind"]}])
    with pytest.raises(ValueError, match="trained together on all texts of its datasets: leave texts out"):
        small(stages=[{**together, "texts": 4}])
    with pytest.raises(ValueError, match="learning_rate"):
        small(chosen={"joint": {"learning_rate": -1}})
