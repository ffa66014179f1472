"""What of a training may be published: rights of data and base model, files, the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import Provenance
from giellm_utils.core.files import read_json, sha256, write_json
from giellm_utils.experiment.manifest import Manifest
from giellm_utils.experiment.release import gather, PushError, Release, sizes, write_folder
from giellm_utils.experiment.release_card import FEW_ROWS, md, notice, readme, STAND_IN
from giellm_utils.models import base_terms
from giellm_utils.models.bundle import CARD, open_bundle
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.weights import Weights
from support.experiments import run_stages, write_profile

SEED = "joint/scnm/seed-42"


@pytest.fixture
def trained(runs) -> Path:
    """A finished training of embedded SCNM, in a run that the test may change."""
    return runs / "tiny" / SEED


def change_data(run: Path, **changes) -> None:
    """The same training, as if its data had been others."""
    path = run / "03_train" / "manifest.json"
    manifest = artifacts.read(path, Manifest)
    other = manifest.data["scnm"].model_copy(update=changes)
    artifacts.write(path, manifest.model_copy(update={"data": {"scnm": other}}))


def change_base(trained: Path, base: str) -> None:
    """The same training, as if its base model had been another."""
    path = trained / "model" / CARD
    write_json(path, {**read_json(path), "base": {"id": base, "revision": None, "dtype": "auto"}})


def refusal(release: Release) -> str:
    with pytest.raises(PushError) as caught:
        release.check()
    said = str(caught.value)
    assert "\n" not in said and "may not be published" in said
    return said


def test_a_training_on_data_that_may_be_passed_on_goes_out_whole(trained):
    release = gather(trained)
    release.check()
    assert release.against == [] and set(release.data) == {"scnm"} and release.data["scnm"].redistributable
    assert {"model.safetensors", "config.json", "tokenizer.json", CARD} <= set(release.files)
    assert all(not name.endswith((".bin", ".pt", ".pkl")) for name in release.files)
    by_name = {name: (size, digest) for name, size, digest in sizes(release.files)}
    weights = trained / "model" / "model.safetensors"
    assert by_name["model.safetensors"] == (weights.stat().st_size, sha256(weights))
    # The folder of the model itself names the same training.
    assert gather(trained / "model").training == trained


def test_data_that_must_not_be_passed_on_keep_the_weights_here(trained):
    change_data(trained.parents[2], redistributable=False, licence="CC BY-NC-SA 4.0", title="JRTE")
    said = refusal(gather(trained))
    assert "it learned from scnm (JRTE; CC BY-NC-SA 4.0), which must not be passed on" in said


def test_a_card_without_a_task_hides_no_data(trained):
    """giellm.json can be written by hand; the manifest lists what the run trained on."""
    path = trained.parents[2] / "03_train" / "manifest.json"
    manifest = artifacts.read(path, Manifest)
    other = manifest.data["scnm"].model_copy(update={"redistributable": False, "title": "JRTE"})
    artifacts.write(path, manifest.model_copy(update={"data": {**manifest.data, "jrte": other}}))
    assert "it learned from jrte (JRTE; " in refusal(gather(trained))


def test_a_base_that_was_trained_here_keeps_the_weights_here(trained, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("LICENSE", CARD):
        (folder / name).write_text("{}", "utf-8")
    change_base(trained, str(folder))
    said = refusal(gather(trained, base="org/x", licence="apache-2.0"))
    assert "its base model is a folder with a giellm.json" in said


def test_weights_that_no_manifest_lists_keep_here_too(trained):
    """Retrained by hand, copied away, or another stage 03 since: nothing says what they learned from."""
    save_file({"w": torch.zeros(2)}, trained / "model" / "model.safetensors")
    assert "no manifest of a stage 03 lists these very weights" in refusal(gather(trained))
    away = trained.parents[3] / "away"
    shutil.copytree(trained, away)
    assert "no manifest of a stage 03" in refusal(gather(away))


def test_a_base_models_terms_must_travel_with_it(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(base_terms, "_installed", lambda origin: None)
    change_base(trained, "gemma-3-270m-q4km")
    assert "the licence of gemma-3-270m-q4km must travel" in refusal(gather(trained))
    copy = tmp_path / "GEMMA_TERMS.html"
    copy.write_text("Gemma Terms of Use", "utf-8")
    monkeypatch.setattr(base_terms, "_installed", lambda origin: copy)
    release = gather(trained)
    assert release.against == [] and release.files["GEMMA_TERMS.html"] == copy
    assert "Gemma is provided under and subject to the Gemma Terms of Use" in notice(release).decode()
    # A Hub model: nobody here knows its licence.
    change_base(trained, "meta-llama/Llama-2-7b-hf")
    said = refusal(gather(trained))
    assert "give its text (--terms FILE) and its name on the Hub" in said
    text = tmp_path / "LLAMA2.txt"
    text.write_text("Llama 2 Community License", "utf-8")
    assert "give its name on the Hub" in refusal(gather(trained, terms=[text]))
    release = gather(trained, terms=[text], licence="llama2")
    assert release.against == [] and release.terms.owner == "meta-llama/Llama-2-7b-hf"
    with pytest.raises(PushError, match="no such file"):
        gather(trained, terms=[tmp_path / "none"])


def test_folders_of_this_machine_do_not_go_out(trained, tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "LICENSE").write_text("Apache", "utf-8")
    change_base(trained, str(folder))
    config = trained / "model" / "config.json"
    write_json(config, {**read_json(config), "_name_or_path": str(folder)})
    assert "give its name on the Hub with --base" in refusal(gather(trained, licence="apache-2.0"))
    release = gather(trained, base="org/llama", licence="apache-2.0")
    assert release.against == [] and release.files["LICENSE"] == folder / "LICENSE"
    for name in ("config.json", CARD):
        text = release.files[name].decode()
        assert str(tmp_path) not in text and "org/llama" in text
    write_json(config, {**read_json(config), "elsewhere": [str(tmp_path)]})
    assert "config.json names a folder of this machine" in refusal(
        gather(trained, base="org/llama", licence="apache-2.0"))


def test_pickles_and_strangers_stay(trained):
    for name in ("training_args.bin", "notes.md", "README.md", "optimizer.pt"):
        (trained / "model" / name).write_bytes(b"x")
    release = gather(trained)
    assert all("is pickled" in release.left_out[name] for name in ("training_args.bin", "optimizer.pt"))
    assert release.left_out["notes.md"] == "is no file of a model"
    assert set(release.left_out).isdisjoint(release.files)


def test_what_is_no_finished_training_is_one_sentence(trained, tmp_path):
    with pytest.raises(PushError, match="holds no finished training"):
        gather(tmp_path)
    weights = trained / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(PushError, match="model.safetensors is damaged"):
        gather(trained)
    (trained / "model" / CARD).unlink()
    with pytest.raises(PushError, match="has no giellm.json"):
        gather(trained)


def test_the_card_says_what_it_is_and_on_which_terms(trained):
    change_data(trained.parents[2], attribution="A & B <b>|</b>", note="x | y")
    release = gather(trained)
    text = readme(release, "me/tiny-scnm").decode()
    assert FEW_ROWS not in text
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0" and head["language"] == ["ja"] and "base_model" not in head
    assert text.split("---\n")[2].strip().startswith("# tiny-scnm")
    assert STAND_IN in text and "**not**" in STAND_IN
    assert "A &amp; B &lt;b>\\|&lt;/b>" in text and "| x \\| y |" in text
    assert "machine-written, stand-in" in text
    # This very model was scored in its run; another's scores are not shown.
    assert "word micro-F1" in text and "95 % bootstrap" in text
    manifest = trained.parents[2] / "04_evaluate" / "manifest.json"
    stale = artifacts.read(manifest, Manifest)
    artifacts.write(manifest, stale.model_copy(update={"inputs": dict.fromkeys(stale.inputs, "0" * 64)}))
    assert "This model was not scored." in readme(gather(trained), "me/x").decode()
    assert md("*a* [b](c)\n`d`") == "\\*a\\* \\[b\\](c) \\`d\\`"


def test_a_packaged_base_is_named_by_its_owner_and_as_it_was(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(base_terms, "_installed", lambda origin: trained / "summary.json")
    change_base(trained, "gemma-3-270m-q4km")
    head, body = readme(gather(trained), "me/x").decode().split("---\n")[1:3]
    assert yaml.safe_load(head)["base_model"] == "google/gemma-3-270m"
    assert yaml.safe_load(head)["license"] == "gemma" and "on these it was not tried" in body


@pytest.mark.parametrize("name", ["gemma-3-270m-q4km", "smollm2-135m-instruct"])
def test_the_packages_bring_their_licences(name):
    found = base_terms.base_terms(ModelConfig(id=name))
    if not found.files:
        pytest.skip("requirements-models.txt is not installed")
    [path] = found.files.values()
    text = path.read_text("utf-8")
    assert ("Gemma Terms of Use" in text) if name.startswith("gemma") else ("Apache License" in text)


def test_a_local_folder_is_laid_out_like_a_repository(trained, tmp_path):
    release = gather(trained)
    files = {"README.md": b"x", **release.files}
    out = write_folder(tmp_path / "out", files)
    assert {p.name for p in out.iterdir()} == set(files)
    assert sha256(out / "model.safetensors") == sha256(trained / "model" / "model.safetensors")
    with pytest.raises(PushError, match="is there already and not empty"):
        write_folder(out, files)
    assert json.loads((out / CARD).read_text("utf-8"))["base"]["id"] == "scratch"
    assert isinstance(release.data["scnm"], Provenance)


def test_an_adapter_names_its_base_and_opens_from_the_folder(in_process, tmp_path, monkeypatch):
    """peft writes the folder of the cache as the base model's name."""
    monkeypatch.setenv("GIELLM_RUNS_DIR", str(tmp_path / "runs"))
    run_stages(write_profile(tmp_path, {"training": {
        "conditions": ["joint"], "method": "lora", "output_rows": "texts", "max_steps": 1}}), until="03")
    trained = tmp_path / "runs" / "tiny" / SEED
    before = (trained / "model" / "adapter_config.json").read_text("utf-8")
    assert Path(json.loads(before)["base_model_name_or_path"]).is_dir()
    release = gather(trained)
    assert release.against == [] and "adapter_model.safetensors" in release.files
    named = json.loads(release.files["adapter_config.json"])
    assert named == {**json.loads(before), "base_model_name_or_path": "scratch"}
    assert b"library_name: peft" in readme(release, "me/x")
    assert FEW_ROWS.encode() in readme(release, "me/x")
    out = write_folder(tmp_path / "out", {"README.md": readme(release, "me/x"), **release.files})
    found = open_bundle(out)
    ours = open_bundle(trained)
    for one, other in zip(found.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(one, other)
    # The training itself is as it was.
    assert (trained / "model" / "adapter_config.json").read_text("utf-8") == before
    # Without the tokenizer, which is the base model's.
    alone = gather(trained, tokenizer=False)
    assert not {"tokenizer.json", "tokenizer_config.json"} & set(alone.files)
    assert alone.left_out["tokenizer.json"] == "is the base model's own"
    card = readme(alone, "me/x", note="One *seed* only.").decode()
    assert "Its tokenizer is the base model's (scratch here)" in card and "One \\*seed\\* only." in card
    small = write_folder(tmp_path / "small", {"README.md": card.encode(), **alone.files})
    texts = ["東京の田中太郎<社会>固有表現抽出"]
    for light in (False, True):
        found = open_bundle(small, light=light)
        assert found.tokenizer(texts).input_ids == ours.tokenizer(texts).input_ids
    assert isinstance(found.model, Weights)


def test_a_tokenizer_that_the_base_has_not_goes_along(trained):
    with pytest.raises(PushError, match="must go along with a whole model, and with an adapter for which"):
        gather(trained, tokenizer=False)
