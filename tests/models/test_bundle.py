"""Cards, and the one way from a trained folder to a model that decodes."""

from __future__ import annotations

import json
import shutil

import pytest

from giellm_utils.core.artifacts import TaskSpec
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.data.registry import load_dataset, task_from_spec, TASKS
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.models.bundle import (
    BundleError,
    card_for,
    card_of_training,
    Lengths,
    open_bundle,
    read_card,
    write_card,
)
from giellm_utils.models.load import model_path
from support.extraction import card
from support.models import SCRATCH


def test_a_card_comes_back_as_it_was_written(tmp_path):
    made = card("scnm", "tcree", characters=Lengths(median=30, p95=60, longest=90))
    write_card(tmp_path, made)
    assert read_card(tmp_path) == made
    assert made.formats()["tcree"].options == GiellmFormat(TASKS["tcree"]).options
    assert list(card_for(tmp_path, "m", None, ["tcree"], None).tasks) == ["tcree"]
    with pytest.raises(BundleError, match="not trained on scpos-rw"):
        card_for(tmp_path, "m", None, ["scpos-rw"], None)


def test_a_task_travels_whole_with_its_weights(tmp_path):
    write_card(tmp_path, card("tcree"))
    task = read_card(tmp_path).tasks["tcree"]
    assert isinstance(task, TaskSpec)
    ours, back = TASKS["tcree"], task_from_spec(task)
    assert (back.name, back.title, back.text_labels, back.parts, back.none) == (
        ours.name, ours.title, ours.text_labels, ours.parts, ours.none)


@pytest.mark.parametrize("marks, name", [("<>", "giellm"), ("‹>", "giellm-card")])
def test_a_card_of_format_1_is_still_read(tmp_path, marks, name):
    data = card("scnm").model_dump(mode="json")
    del data["format_name"], data["condition"]
    del data["tasks"]["scnm"]["name"], data["tasks"]["scnm"]["lengths"]
    (tmp_path / "giellm.json").write_text(json.dumps({**data, "format": 1, "marks": marks}), encoding="utf-8")
    read = read_card(tmp_path)
    assert (read.format, read.format_name, read.tasks["scnm"].lengths) == (2, name, None)
    assert read.formats()["scnm"].mark("社会") == f"{marks[0]}社会{marks[1]}"
    assert read.model_copy(update={"format_name": "giellm"}) == card("scnm")


@pytest.mark.parametrize("old, new, words", [
    ('"joint": 40', '"joint": 0', "budgets of joint"), ('"entity": 3', '"person": 3', "max_items of entity"),
    ('"context"', '"contexts"', "contexts"),
    ('"format_name": "giellm"', '"format_name": "xml"', "no format 'xml'"),
    ('"format": 2', '"format": 3', "format"), ('"format": 2', '"format": 1, "marks": ";;"', "marks"),
    ('"name": "scnm"', '"name": "tcree"', "its name is given as 'tcree'"),
    ("{", "", "giellm.json")])
def test_a_faulty_card_is_named_with_its_field(tmp_path, old, new, words):
    path = tmp_path / "giellm.json"
    text = json.dumps(card("scnm").model_dump(mode="json"))
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=words) as raised:
        read_card(tmp_path)
    assert str(path) in str(raised.value)


def test_the_card_of_a_training_is_bounded_by_its_records():
    data = load_dataset("scnm", "embedded")
    records = [*data.split("train"), *load_dataset("tcree", "embedded").split("train")]
    made = card_of_training(SCRATCH, "giellm-card", [data.task], CONDITIONS["words"], records,
                            budgets={"scnm": {"words": 17, "joint": 99}}, max_tokens=512)
    assert (made.condition, made.levels, made.context) == ("words", ["words"], 512)
    assert made.format_name == "giellm-card"
    task = made.tasks["scnm"]
    assert task.budgets == {"words": 17}
    assert task.max_items == {"entity": 3 * max(len(r.words) for r in data.split("train"))}
    sizes = sorted(len(r.text) for r in data.split("train"))
    assert task.lengths.longest == sizes[-1]
    p95 = task.lengths.p95
    assert sum(n <= p95 for n in sizes) >= 0.95 * len(sizes) > sum(n < p95 for n in sizes)
    assert sum(n <= task.lengths.median for n in sizes) >= len(sizes) / 2


def test_lengths_are_those_of_texts():
    assert Lengths.of("あ" * n for n in range(1, 101)) == Lengths(median=50, p95=95, longest=100)
    assert Lengths.of(["あい"]) == Lengths(median=2, p95=2, longest=2)
    assert Lengths.of([]) is None


def test_a_trained_folder_opens_by_itself(tmp_path, scratch_cache):
    shutil.copytree(model_path(SCRATCH), tmp_path / "model")
    write_card(tmp_path / "model", card("scnm", "tcree"))
    bundle = open_bundle(tmp_path, tasks=["tcree"])
    assert list(bundle.formats) == ["tcree"] and bundle.max_items == {"tcree": {"relation": 3, "event": 3}}
    assert bundle.rows == bundle.model.config.vocab_size == len(bundle.tokenizer)
    assert open_bundle(tmp_path / "model", format_name="giellm-card").formats["scnm"].open == "‹"


def test_without_a_card_one_sentence_says_what_is_missing(tmp_path):
    with pytest.raises(BundleError, match="no model"):
        open_bundle(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}", encoding="utf-8")
    both = r"tasks \(argument tasks\) and its base model \(argument base\); give them"
    with pytest.raises(BundleError, match=both):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"base model \(argument base\); give it"):
        open_bundle(tmp_path, tasks=["scnm"])
    with pytest.raises(ValueError, match="no dataset 'nonsense'"):
        open_bundle(tmp_path, tasks=["nonsense"], base="scratch")
    made = card_for(None, "scratch", None, ["scnm"], "usa")
    assert (made.format_name, made.levels, made.base) == ("usa", ["joint"], SCRATCH)
