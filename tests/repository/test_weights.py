"""The weights that come with the repository: what they are made of, that they read, and that nothing of the
project is trained from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from giellm_utils.core import artifacts
from giellm_utils.core.calibration_report import CalibrationReport, FOLDER
from giellm_utils.core.files import read_json
from giellm_utils.core.paths import ROOT, WEIGHTS
from giellm_utils.core.settings import load_yaml
from giellm_utils.experiment.grid import EXPERIMENTS, Grid
from giellm_utils.experiment.profile import load_profile, PROFILES
from giellm_utils.experiment.release_card import FEW_ROWS, labels
from giellm_utils.inference.extractor import Extractor
from giellm_utils.models.bundle import CARD, read_card
from giellm_utils.models.load import model_path
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import ModelConfig, SCRATCH
from giellm_utils.systems.fingerprints import weights_of
from support.models import needs_gemma

BASE = "gemma-3-270m-q4km"
MEGABYTES = 20


def test_they_are_an_adapter_with_its_terms_and_no_more():
    files = {path.name for path in WEIGHTS.iterdir()}
    assert files == {"README.md", "NOTICE.txt", "GEMMA_TERMS.html", CARD, "adapter_config.json",
                     "adapter_model.safetensors"}
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < MEGABYTES * 1_000_000
    with safe_open(WEIGHTS / "adapter_model.safetensors", "np") as file:
        assert file.keys() and all(".lora_" in name for name in file.keys())  # noqa: SIM118
    settings = json.loads((WEIGHTS / "adapter_config.json").read_text("utf-8"))
    assert settings["base_model_name_or_path"] == BASE and read_card(WEIGHTS).base.id == BASE


def test_their_card_names_data_that_may_be_passed_on_and_the_terms():
    card = (WEIGHTS / "README.md").read_text("utf-8")
    assert labels(read_card(WEIGHTS)) in card and "| SCNM | entity | 人名、法人名、" in card
    assert set(read_card(WEIGHTS).tasks) == {"scnm", "tcree"}
    assert card.count("CC BY-SA 3.0") >= 2 and "JRTE" not in card
    assert "license: gemma" in card and "Gemma Prohibited Use Policy" in card
    assert "not** one of the models published with GIELLM" in card and FEW_ROWS in card


def test_the_systems_beside_them_have_the_scores_that_their_card_says():
    card = (WEIGHTS / "README.md").read_text("utf-8")

    def scores(system: str) -> list[str]:
        found = read_json(ROOT / "results" / "systems" / system / "open" / "scnm.json")["scores"]["all"]
        return [f"{100 * found[metric]['value']:.1f}" for metric in ("tl", "all", "f1")]

    assert ("a text-label accuracy of {}, {} on both levels together and a word micro-F1 of {}"
            .format(*scores("crf")) in card)
    assert "GiNZA with logistic regression has {}, {} and {}".format(*scores("ginza")) in card
    assert "The aims set beforehand were 89, 55 and 80: none is reached" in card


def test_the_reports_on_their_confidences_are_of_these_very_weights():
    reports = [path for path in (ROOT / "results" / FOLDER).glob("*.json")
               if read_json(path)["run"] in ("weights", WEIGHTS.name)]
    assert reports
    for path in reports:
        report = artifacts.read(path, CalibrationReport)
        assert report.weights == weights_of(WEIGHTS), path.name
        for task, card in read_card(WEIGHTS).tasks.items():
            given = report.temperatures.get(task, {})
            assert card.temperatures == (report.tasks[task].helpful if report.split == "dev" else given)


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_profile_starts_from_them(path):
    name = load_profile(str(path)).model.id
    # A model of a package or of the Hub, never a folder of this repository.
    assert name in PACKAGED or name in SCRATCH or not (ROOT / name).exists()


@needs_gemma
def test_the_experiment_starts_from_the_base_model_alone():
    """Of the file whose hash is pinned, as its conversion recorded it."""
    for path in EXPERIMENTS.glob("*.yaml"):
        assert load_yaml(path, Grid).model.id == BASE
    converted = Path(model_path(ModelConfig(id=BASE)))
    assert read_json(converted / "COMPLETE.json")["gguf_sha256"] == PACKAGED[BASE].gguf_sha256


@needs_gemma
def test_they_read_a_sentence_of_their_kind():
    reader = Extractor.from_pretrained(WEIGHTS)
    text = "1990年、日本放送協会は東京ドームで特別番組の公開収録を行った。"
    [found] = reader.extract([text])
    assert found["scnm"].label in reader.card.tasks["scnm"].text_labels
    words = found["scnm"].words
    assert {word.surface for word in words} & {"日本放送協会", "東京ドーム"}
    assert all(text[word.start:word.end] == word.surface for word in words)
