"""The SLG Framework: a tiny T5 trained, decoded in its three ways; its row, and the paper's table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.core import artifacts
from giellm_utils.core.paths import ROOT
from giellm_utils.core.schema import Record
from giellm_utils.core.settings import load_yaml
from giellm_utils.core.system_result import result_path, SystemResult
from giellm_utils.data.registry import load_dataset, TASKS
from giellm_utils.experiment.profile import load_profile
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.registry import make_format
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.inference.extractor import Extractor
from giellm_utils.models.load import model_path
from giellm_utils.models.spec import ModelConfig
from giellm_utils.reporting import beside_paper
from giellm_utils.systems.floors import NotFittedError
from giellm_utils.systems.registry import entries
from giellm_utils.systems.slg import SlgFramework
from giellm_utils.training.config import TrainingConfig, TrainingJob
from giellm_utils.training.launch import TrainingFailed
from support import encoders
from support.experiments import run_stages, write_profile
from support.models import SCRATCH_T5

DATA = load_dataset("scnm", "embedded")
RECORDS = [*DATA.split("train")[:24], *DATA.split("dev")[:4]]
TEN = DATA.split("test")[:10]
TRAINING = {"conditions": ["joint"], "method": "full", "max_steps": 8, "batch_size": 8, "learning_rate": 3e-3,
            "save_steps": 4, "log_steps": 1}
FORCED = {"batch_size": 4, "first_token": "forced"}


def system(run: Path, task: str = "scnm", model: ModelConfig = SCRATCH_T5, **generation) -> SlgFramework:
    return SlgFramework(TASKS[task], name="slg-tiny", run=run, seed=7, format_name="slg", model=model,
                        training=TrainingConfig(**TRAINING),
                        generation=GenerationConfig(**{**FORCED, **generation}))


def test_ten_items_in_three_ways_from_one_training(in_process, tmp_path):
    names, raws = [], {}
    for given in ({}, {"constrained": "only"}, {"first_token": None}):
        made = system(tmp_path, **given)
        made.fit(RECORDS)
        answers = made.predict(TEN)
        raws[made.way] = [a.raw for a in answers]
        names.append((made.name, made.title.partition(", under")[0].partition(", nothing")[0]))
        blind = [Record(r.id, r.task, r.text, "自然") for r in TEN]
        assert len(answers) == 10 and made.predict(blind) == answers, "nothing is read but the text"
        assert made.fit_seconds == made.trained.summary.seconds and made.settings["decoding"] == made.way
    assert in_process.trained == ["joint"], "trained once, kept twice"
    assert names == [(f"slg-tiny{end}", "SLG Framework, tiny T5 from scratch (tests only)")
                     for end in ("", "-grammar", "-free")]
    assert all(raw.startswith("<") for raw in raws["forced"])
    assert all(raw.startswith(tuple(f"<{x}>固有表現抽出:" for x in DATA.task.text_labels))
               for raw in raws["grammar"])
    folder = tmp_path / "joint" / "scnm" / "seed-7"
    job = load_yaml(folder / "training.yaml", TrainingJob)
    assert (job.condition, job.model, job.seed) == ("joint", SCRATCH_T5, 7)
    # What it left is a model like every other: giellm extract reads with it, too.
    read = Extractor.from_pretrained(folder, batch_size=4).extract([r.text for r in TEN])
    found = [e["scnm"] for e in read]
    labels = [raw[1:raw.index(">")] for raw in raws["grammar"]]
    assert [f.label for f in found] == labels and not any(f.problems for f in found)


@pytest.mark.parametrize("make", [encoders.japanese_t5, encoders.t5gemma2])
def test_the_kinds_of_models_that_the_profiles_name(make, in_process, tmp_path):
    """In bf16, with a T5's own tokenizer and with T5Gemma 2's two configurations."""
    fmt = make_format("slg", DATA.task)
    model = make(tmp_path / "model", "".join(fmt.prompt(r.text) + fmt.target(r) for r in RECORDS))
    forced, under = system(tmp_path, model=model), system(tmp_path, model=model, constrained="only")
    forced.fit(RECORDS)
    assert forced.trained.summary.dtype == "bfloat16" and forced.trained.summary.final_loss < 20
    assert all(a.raw.startswith("<") for a in forced.predict(TEN))
    under.fit(RECORDS)
    answers = under.predict(TEN)
    assert in_process.trained == ["joint"] and all(a.label for a in answers)
    assert {p.name for a in answers for p in a.problems} <= {"truncated"}


def test_what_it_is_not_defined_for(tmp_path):
    with pytest.raises(FormatError, match="one part of spans, not for TCREE"):
        system(tmp_path, "tcree")
    with pytest.raises(NotFittedError, match="learned nothing yet"):
        system(tmp_path).predict(TEN)
    entry = entries()["slg"]
    assert entry.trains and entry.applies(TASKS["scpos-n"]) and not entry.applies(TASKS["tcree"])
    assert system(tmp_path, "scpos-adj").format.name == "slg"


def test_a_training_that_the_clock_stopped_answers_nothing_and_goes_on(in_process, tmp_path):
    made = system(tmp_path)
    made.training = made.training.model_copy(update={"minutes": 1e-9})
    with pytest.raises(TrainingFailed, match=r"slg-tiny on scnm was stopped by training.minutes after \d of"):
        made.fit(RECORDS)
    with pytest.raises(NotFittedError):
        made.predict(TEN)
    again = system(tmp_path)
    again.fit(RECORDS)
    assert again.trained.summary.steps == 8 and len(again.predict(TEN)) == 10


def test_the_command_fills_the_papers_cell(in_process, tmp_path, monkeypatch):
    """`giellm evaluate --system slg --profile …` trains, and leaves a row that the paper's table finds."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    folder = tmp_path / "home" / "my-t5"
    folder.parent.mkdir()
    folder.symlink_to(model_path(SCRATCH_T5), target_is_directory=True)
    profile = write_profile(tmp_path, {"name": "slg-t5-ja", "model": {"id": "scratch-t5"},
                                       "training": TRAINING, "generation": FORCED})
    argv = ["evaluate", "--system", "slg", "--profile", profile, "--task", "scnm", "--out",
            str(tmp_path / "results"), "--set", f"model.id={folder}"]
    refused = CliRunner().invoke(app, argv)
    assert isinstance(refused.exception, FormatError) and in_process.trained == []
    assert "trained on format slg, and profile slg-t5-ja has format giellm" in str(refused.exception)
    argv += ["--set", "format.name=slg"]
    for more in ([], ["--set", "generation.constrained=only"]):
        monkeypatch.setattr("sys.argv", ["giellm", *argv, *more])
        done = CliRunner().invoke(app, [*argv, *more])
        assert done.exit_code == 0, (done.output, done.exception)
    assert in_process.trained == ["joint"]
    # The profile's own run has a joint/scnm/seed-42, too.
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["slg-t5-ja.slg"]
    path = result_path(tmp_path / "results", "slg-t5-ja", "embedded", "scnm")
    row = artifacts.read(path, SystemResult)
    assert (row.entry, row.settings["format"], row.settings["decoding"]) == ("slg", "slg", "forced")
    assert row.fit_seconds > 0 and row.predict_seconds > 0 and row.n_test == 6
    assert str(tmp_path) not in json.dumps(row.settings)
    assert "model.id=my-t5" in row.command and str(folder) not in row.command
    found = [x for x in beside_paper.lines(beside_paper.measured(tmp_path / "results"), ["scnm"]) if x.ours]
    assert [(x.system, x.ours.system) for x in found] == [
        ("SLG Framework", "slg-t5-ja"), ("", "slg-t5-ja-grammar")]
    assert found[0].status == "stand-in data" and found[0].cell("TL").startswith("88.89\n")


def test_the_pipeline_takes_an_encoder_and_decoder(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    profile = write_profile(tmp_path, {"name": "slg", "model": {"id": "scratch-t5"}, "training": TRAINING,
                                       "generation": FORCED})
    with open(profile, "a", encoding="utf-8") as file:
        file.write(yaml.safe_dump({"format": {"name": "slg"}}))
    found = run_stages(profile, until="04")
    both = found.decodings.tasks["scnm"]["joint"]
    assert both.constrained.scores["format_accuracy"].value >= both.free.scores["format_accuracy"].value
    assert found.system("joint").read("京都の佐藤。", "scnm").label in DATA.task.text_labels


@pytest.mark.parametrize("name, fmt", [("scnm-slg-gemma", "slg"), ("usa-gemma", "usa")])
def test_the_stand_ins_run_at_toy_size(name, fmt, in_process, tmp_path, monkeypatch):
    """Their format, adapters, scored rows, forced token and grammar; the tiny Llama in Gemma's place."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    tasks = load_profile(name).data.tasks
    found = run_stages(name, {
        "model.id": "scratch", "data.source": "embedded", "data.limit": {"train": 8, "dev": 2, "test": 3},
        "training.max_steps": 2, "training.log_steps": 1, "evaluation.resamples": 20}, until="04", name="toy")
    assert list(found.scores.tasks) == tasks and found.systems["joint"].formats[tasks[0]].name == fmt
    for task in tasks:
        free, under = ([row["answer"]["raw"] for row in found.rows("joint", task, way)]
                       for way in ("free", "constrained"))
        assert len(free) == 3 and all(raw.startswith("<") for raw in under)
        assert fmt == "usa" or all(raw.startswith("<") for raw in free), "forced in SLG's procedure alone"


@pytest.mark.parametrize("name", ["slg-t5-ja", "slg-t5gemma-2-270m"])
def test_the_profiles_that_need_the_hub_say_so(name):
    profile = load_profile(name)
    assert "Needs the Hub; not run here." in profile.description
    assert (profile.format.name, profile.training.method, profile.generation.first_token) == (
        "slg", "full", "forced")
    assert profile.model.dtype == "bfloat16" and all((ROOT / t).is_file() for t in profile.data.tasks)
