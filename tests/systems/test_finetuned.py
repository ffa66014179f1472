"""A training is kept, resumed or made anew by its fingerprint, and no finished one is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from giellm_utils.core.answer import gold_answer
from giellm_utils.core.conditions import CONDITIONS, folder
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import load_yaml
from giellm_utils.data.registry import load_dataset
from giellm_utils.evaluation.score import score_documents
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.giellm import GiellmFormat
from giellm_utils.formats.registry import FORMATS
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.predictions import read_answers
from giellm_utils.models.bundle import BundleError, read_card
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.tokens import schema_tokens
from giellm_utils.systems.decoder import Decoder, NoGoldError, read_decoded
from giellm_utils.systems.finetuned import ENTRIES, FineTuned
from giellm_utils.systems.fingerprints import digest
from giellm_utils.systems.registry import entries
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import TrainingFailed
from support.experiments import hashes

DATA = load_dataset("scnm", "embedded")
RECORDS = [*DATA.split("train")[:10], *DATA.split("dev")[:3], *DATA.split("test")[:3]]
#: Of the trainings of `system` on RECORDS, as they were before there were other conditions than these.
FINGERPRINTS = {"joint": "3cb9fd74819a", "text": "6227c1db4bee", "words": "ebb161655b8d"}
OPTIONS = {"method": "full", "max_steps": 3, "batch_size": 4, "save_steps": 1, "log_steps": 1,
           "keep_checkpoints": True}


def system(run: Path, condition: str = "joint", *, seed: int = 7, name: str = "giellm", generation=None,
           **training) -> FineTuned:
    formats = {"scnm": FORMATS[name](DATA.task)}
    return FineTuned(
        CONDITIONS[condition], folder(run, condition, "scnm", 7), formats, task="scnm", seed=seed,
        model=ModelConfig(id="scratch"), training=TrainingConfig(**{**OPTIONS, **training}),
        generation=GenerationConfig(batch_size=4, **(generation or {})),
        budgets={"scnm": {"joint": 20, "text": 8, "words": 20}})


@pytest.fixture
def trained(in_process, tmp_path) -> Path:
    """A run with a finished joint training."""
    system(tmp_path).fit(RECORDS)
    in_process.trained.clear()
    return tmp_path


def test_the_same_training_is_kept(trained, in_process, capsys):
    before = hashes(trained)
    again = system(trained, minutes=99, log_steps=7, save_steps=9, machine="ddp")
    assert again.is_trained(RECORDS)
    again.fit(RECORDS)
    assert in_process.trained == [] and hashes(trained) == before
    assert "joint: trained already with these settings, kept" in capsys.readouterr().out


@pytest.mark.parametrize("changes, said", [
    ({"max_steps": 4}, "training.max_steps was 3, is 4"), ({"seed": 8}, "seed was 7, is 8"),
    ({"name": "giellm-card"}, "format was giellm, is giellm-card"),
    ({"lora_r": 8}, "training.lora_r was 16, is 8"),
    ({"splits": ["train"]}, "training.splits was ['train', 'dev'], is ['train']"),
])
def test_other_settings_train_anew_and_say_what_changed(trained, in_process, changes, said, capsys):
    changed = system(trained, **changes)
    assert not changed.is_trained(RECORDS)
    changed.fit(RECORDS)
    assert in_process.trained == ["joint"] and said in capsys.readouterr().out
    assert changed.is_trained(RECORDS) and not changed.coming.exists()


def test_other_records_train_anew(trained, in_process, capsys):
    system(trained).fit(RECORDS[1:])
    assert in_process.trained == ["joint"] and "other training rows" in capsys.readouterr().out
    # Test records are not learned from.
    system(trained).fit(RECORDS[1:-1])
    assert in_process.trained == ["joint"]


def test_the_old_training_stays_until_the_new_one_is_done(trained, in_process):
    before = hashes(trained / "joint" / "scnm" / "seed-7")
    in_process.fail = True
    with pytest.raises(TrainingFailed):
        system(trained, max_steps=4).fit(RECORDS)
    assert hashes(trained / "joint" / "scnm" / "seed-7") == before and system(trained).is_trained(RECORDS)
    in_process.fail = False
    system(trained, max_steps=4).fit(RECORDS)
    assert system(trained, max_steps=4).is_trained(RECORDS)


def test_a_finished_new_one_takes_its_place_after_a_kill_between_the_two(trained, in_process):
    made = system(trained, max_steps=4)
    made.fit(RECORDS)
    made.folder.rename(made.coming)  # as if the process had died just before the last rename
    in_process.trained.clear()
    made.fit(RECORDS)
    assert in_process.trained == [] and made.is_trained(RECORDS)


def test_an_unfinished_training_goes_on(trained, in_process):
    made = system(trained)
    (made.folder / "summary.json").unlink()
    made.fit(RECORDS)
    assert in_process.trained == ["joint"] and made.summary.resumed_from_step == 3


def test_weights_without_a_fingerprint_are_not_gone_on_with(trained, in_process):
    """Checkpoints of unknown settings would be resumed as if they were these."""
    made = system(trained)
    (made.folder / "fingerprint.json").unlink()
    made.fit(RECORDS)
    assert made.summary.resumed_from_step == 0 and made.is_trained(RECORDS)


def test_the_card_says_how_to_decode_and_follows_the_settings(trained, in_process):
    card = read_card(system(trained).folder / "model")
    task = card.tasks["scnm"]
    assert card.condition == "joint" and card.levels == ["joint"] and task.budgets == {"joint": 20}
    assert card.context == 1024 and task.lengths.longest == max(len(r.text) for r in RECORDS[:13])
    system(trained, max_tokens=512).fit(RECORDS)
    assert in_process.trained == [] and read_card(system(trained).folder / "model").context == 512


def test_rows_are_the_splits_trained_on_one_after_the_other(tmp_path):
    train, dev = system(tmp_path, "words").rows(RECORDS)
    assert [row["id"] for row in train] == [r.id for r in RECORDS[:13]] and dev == []
    fmt = GiellmFormat(DATA.task)
    assert train[0]["target"] == fmt.target(RECORDS[0], "words")
    train, dev = system(tmp_path, splits=["train"]).rows(RECORDS)
    assert len(train) == 10 and [row["id"] for row in dev] == [r.id for r in RECORDS[10:13]]


@pytest.mark.parametrize("on", [True, False])
def test_single_tokens_are_handed_to_the_training(in_process, tmp_path, on):
    in_process.fail = True
    made = system(tmp_path, single_tokens=on, method="lora")
    with pytest.raises(TrainingFailed):
        made.fit(RECORDS)
    job = load_yaml(made.folder / "training.yaml", TrainingJob)
    assert job.new_tokens == (schema_tokens(made.formats.values()) if on else [])
    assert (job.condition, job.task, job.seed) == ("joint", "scnm", 7)


def test_a_condition_needs_a_format_of_its_level(tmp_path):
    lacking = next(name for name, make in FORMATS.items() if "words" not in make(DATA.task).levels)
    with pytest.raises(FormatError, match=f"level words, for which format {lacking} is not defined"):
        system(tmp_path, "words", name=lacking)


def test_answers_read_nothing_of_a_record_but_its_text(trained):
    made = system(trained)
    unread = [Record("x", "scnm", r.text, "no label of the task") for r in RECORDS[:3]]
    answers = made.predict(unread)
    assert answers == made.predict(RECORDS[:3]) and len(answers) == 3
    read = made.read(RECORDS[1].text, "scnm")
    assert read == made.decoder.answers([RECORDS[1]], "scnm", "constrained")[0] and read.well_formed
    under = system(trained, generation={"constrained": "only"})
    assert all(answer.well_formed for answer in under.predict(RECORDS[:3]))


def test_every_condition_stands_in_the_registry():
    assert [(e.name, e.title, e.level) for e in ENTRIES[:4]] == [
        ("joint", "joint", "joint"), ("text", "text only", "text"), ("words", "words only", "words"),
        ("two-task", "two-task", "joint")]
    assert [e.name for e in ENTRIES] == list(CONDITIONS) == list(entries())[:len(CONDITIONS)]
    assert [e.look for e in ENTRIES] == [c.look for c in CONDITIONS.values()]


def test_two_tasks_are_trained_side_by_side_and_answered_together(in_process, tmp_path):
    made = system(tmp_path, "two-task", max_steps=None, epochs=1)
    rows, _ = made.rows(RECORDS)
    fmt = GiellmFormat(DATA.task)
    assert [(r["id"], r["target"]) for r in rows[:4]] == [
        (r.id, fmt.target(r, level)) for r in RECORDS[:2] for level in ("text", "words")]
    made.fit(RECORDS)
    assert made.summary.sequences == 2 * 13 and made.summary.steps == -(-26 // 4)
    assert read_card(made.folder / "model").tasks["scnm"].budgets == {"text": 8, "words": 20}
    for way in ("free", "constrained"):
        path, alone = tmp_path / f"seed-7.{way}.jsonl", {}
        made.decoder.write(RECORDS[-3:], "scnm", way, path)
        for level in ("text", "words"):
            decoder = Decoder(made.folder, level, made.generation)
            alone[level] = decoder.answers(RECORDS[-3:], "scnm", way)
            assert decoder.is_written(RECORDS[-3:], "scnm", way, tmp_path / f"seed-7.{way}.{level}.jsonl")
        answers = read_answers(path)
        assert [(a.label, a.items) for a in answers] == [
            (t.label, w.items) for t, w in zip(alone["text"], alone["words"], strict=True)]
        assert answers == made.decoder.answers(RECORDS[-3:], "scnm", way)
        assert all(a.label and a.well_formed for a in answers) or way == "free"
        assert made.decoder.is_written(RECORDS[-3:], "scnm", way, path) and read_decoded(path)
        assert score_documents(DATA.task, RECORDS[-3:], made.level, answers)["all"].notna().all()
    before = hashes(tmp_path)
    system(tmp_path, "two-task").decoder.write(RECORDS[-3:], "scnm", "free", tmp_path / "seed-7.free.jsonl")
    assert hashes(tmp_path) == before, "what is there is kept"


@pytest.mark.parametrize("condition, kept", [("placebo-words", 0), ("placebo-label", 2)])
def test_a_placebo_is_learnt_in_the_form_of_joint(in_process, tmp_path, condition, kept):
    made, joint = system(tmp_path, condition), system(tmp_path)
    (rows, _), (gold, _) = made.rows(RECORDS), joint.rows(RECORDS)
    assert [r["prompt"] for r in rows] == [r["prompt"] for r in gold]
    left = [[r["target"].partition("固有表現抽出")[kept] for r in of] for of in (rows, gold)]
    assert left[0] == left[1] and [r["target"] for r in rows] != [r["target"] for r in gold]
    fmt = GiellmFormat(DATA.task)
    assert all(not fmt.parse(r["target"], "joint", RECORDS[i].text).problems for i, r in enumerate(rows))
    assert made.rows(RECORDS) == made.rows(RECORDS) != system(tmp_path, condition, seed=8).rows(RECORDS)
    made.fit(RECORDS)
    answers = made.predict(RECORDS[-3:])
    frame = score_documents(DATA.task, RECORDS[-3:], made.level, answers)
    assert made.level == {"placebo-words": "text", "placebo-label": "words"}[condition]
    assert frame["all"].isna().all() and frame["tl" if made.level == "text" else "wl_set"].notna().all()


def test_words_first_is_trained_and_read_in_its_own_format(in_process, tmp_path):
    made, fmt = system(tmp_path, "words-first"), GiellmFormat(DATA.task)
    (rows, _), (gold, _) = made.rows(RECORDS), system(tmp_path).rows(RECORDS)
    assert [r["prompt"] for r in rows] == [r["prompt"] for r in gold]
    assert rows[0]["target"] == fmt.target(RECORDS[0], "words") + fmt.target(RECORDS[0], "text")
    made.fit(RECORDS)
    assert read_card(made.folder / "model").format_name == "giellm-words-first"
    read = made.read(RECORDS[-1].text, "scnm")
    assert read.well_formed and read.label and read.raw.endswith(f"<{read.label}>")
    assert len(made.predict(RECORDS[-3:])) == 3
    with pytest.raises(FormatError, match="usa writes its text label first; for words-first take"):
        system(tmp_path, "words-first", name="usa")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_loss_per_level_learns_other_weights_from_the_same_sequences(in_process, tmp_path, method):
    losses = []
    for name in ("joint", "per-level-loss"):
        made = system(tmp_path, name, method=method)
        made.fit(RECORDS)
        losses.append(made.summary.final_loss)
        assert made.summary.target_tokens > 0 and made.level == "joint"
    both = [[{k: row[k] for k in ("prompt", "target")} for row in system(tmp_path, name).rows(RECORDS)[0]]
            for name in ("joint", "per-level-loss")]
    assert both[0] == both[1] and losses[0] != losses[1]
    with pytest.raises(FormatError, match="usa does not say where in a target its second level starts"):
        system(tmp_path, "per-level-loss", name="usa").rows(RECORDS)


@pytest.mark.parametrize("level, other", [("words", "text"), ("text", "words")])
def test_a_level_in_the_prompt_is_gold_in_training_and_said_by_the_other_model_at_test(
        in_process, tmp_path, level, other, monkeypatch):
    fmt, test = GiellmFormat(DATA.task), RECORDS[-3:]
    gold, given = (system(tmp_path, f"{other}-given{end}") for end in ("-gold", ""))
    rows, _ = gold.rows(RECORDS)
    assert rows == given.rows(RECORDS)[0] and gold.level == level
    assert rows[0]["prompt"] == fmt.prompt_given(RECORDS[0].text, level, gold_answer(RECORDS[0]))
    assert rows[0]["target"] == fmt.target(RECORDS[0], level)
    gold.fit(RECORDS)
    given.fit(RECORDS)
    assert in_process.trained == [f"{other}-given"] and given.is_trained(RECORDS), "one training for both"
    path = tmp_path / "seed-7.constrained.jsonl"
    with pytest.raises(BundleError, match=f"{other}/scnm/seed-7 holds no finished training"):
        given.decoder.write(test, "scnm", "constrained", path)
    alone = system(tmp_path, other)
    alone.fit(RECORDS)
    asked = []
    monkeypatch.setattr(GiellmFormat, "prompt_given", lambda *a: asked.append(a[1:]) or fmt.prompt(*a[1:3]))
    given.decoder.write(test, "scnm", "constrained", path)
    said = alone.decoder.answers(test, "scnm", "constrained")
    assert {(text, a.label, a.items) for text, _, a in asked} == {
        (r.text, a.label, a.items) for r, a in zip(test, said, strict=True)}
    assert given.decoder.is_written(test, "scnm", "constrained", path)
    assert not gold.decoder.is_written(test, "scnm", "free", path)
    asked.clear()
    unread = [Record(r.id, "scnm", r.text, "") for r in test]
    assert given.predict(unread) and {a for _, _, a in asked} <= {*said, *alone.predict(unread)}
    with pytest.raises(NoGoldError, match="has no gold that could be given"):
        gold.predict(unread)
    gold.decoder.answers(test, "scnm", "free")
    assert {a for _, _, a in asked} >= {gold_answer(r) for r in test}


def test_fingerprints_of_trainings_that_stand_do_not_change(tmp_path):
    """Weights of joint, text and words that were trained before the other conditions came are kept."""
    found = {name: digest([system(tmp_path, name, splits=["train"]).fingerprint(RECORDS)])[:12]
             for name in ("joint", "text", "words")}
    assert found == FINGERPRINTS


def test_a_damaged_fingerprint_is_no_traceback(trained, in_process):
    made = system(trained)
    (made.folder / "fingerprint.json").write_text("{", encoding="utf-8")
    made.fit(RECORDS)
    assert json.loads((made.folder / "fingerprint.json").read_text())["seed"] == 7
