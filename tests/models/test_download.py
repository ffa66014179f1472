"""Models of the Hub, on a local stand-in: what was cut off goes on, also in another process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from giellm_utils.models.load import model_path
from support.hub import FakeHub, run_with
from support.models import SCRATCH

LOAD = """
from giellm_utils.models.load import load_model, load_tokenizer
from giellm_utils.models.spec import ModelConfig, ModelError
spec = ModelConfig(id="org/model", dtype="float32")
try:
    print(len(load_tokenizer(spec)), sum(p.sum().item() for p in load_model(spec).parameters()))
except ModelError as error:
    print(f"ModelError: {error}")
"""
FETCH = """
from giellm_utils.models.download import fetch_weights
from giellm_utils.models.spec import ModelError
try:
    fetch_weights("org/model")
    print("whole")
except ModelError as error:
    print(f"ModelError: {error}")
"""
COMMIT = "a" * 40
MB = 1_000_000


@pytest.fixture(scope="module")
def files(session_cache, tmp_path_factory) -> dict[str, bytes]:
    """A model of 28 MB (huggingface_hub writes in pieces of 10), with the scratch model's tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        scratch = Path(model_path(SCRATCH))
    LlamaForCausalLM(LlamaConfig(
        vocab_size=1024, hidden_size=512, intermediate_size=1024, num_hidden_layers=2,
        num_attention_heads=8)).save_pretrained(folder)
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert len(found["model.safetensors"]) > 25 * MB
    return found | {name: (scratch / name).read_bytes()
                    for name in ("tokenizer.json", "tokenizer_config.json")}


def _said(hub: FakeHub, home: Path, code: str, **environment: str) -> str:
    return run_with(hub, home, code, OMP_NUM_THREADS="1", **environment).stdout


def test_what_was_cut_off_goes_on_in_the_same_process_and_after_a_kill(files, tmp_path):
    hub = FakeHub()
    hub.repos["org/model"] = {COMMIT: files}
    with hub.served():
        # Cut once: the client itself goes on after the 10 MB that it had written.
        hub.cuts = [15 * MB]
        said = _said(hub, tmp_path / "a", LOAD)
        assert hub.ranges == [None, "bytes=10485760-"], said
        whole = said.splitlines()[-1]
        assert "Error" not in whole
        # Cut again and again until it gives up: the sentence, and the next process goes on.
        hub.ranges.clear()
        hub.cuts = [12 * MB, *[0] * 6]
        said = _said(hub, tmp_path / "b", LOAD)
        assert "the download was cut off after 10.5 MB of" in said and "the same command goes on" in said
        hub.cuts.clear()
        hub.ranges.clear()
        said = _said(hub, tmp_path / "b", LOAD)
        assert hub.ranges == ["bytes=10485760-"] and said.splitlines()[-1] == whole
        assert "org/model, model.safetensors: goes on after 10.5 MB of" in said
        # It is in the Hub's own cache: nothing is asked for again.
        hub.asked.clear()
        said = _said(hub, tmp_path / "b", LOAD, HF_HUB_OFFLINE="1")
        assert said.splitlines()[-1] == whole and not hub.asked


def test_a_part_that_does_not_fit_is_removed(files, tmp_path):
    """A part of other bytes (a disk fault, another hand) is found out by its hash."""
    hub = FakeHub()
    hub.repos["org/model"] = {COMMIT: files}
    with hub.served():
        hub.cuts = [12 * MB, *[0] * 6]
        _said(hub, tmp_path, FETCH)
        [part] = (tmp_path / "hf").rglob("*.part")
        part.write_bytes(bytes(part.stat().st_size))
        hub.cuts.clear()
        assert "what came is damaged and was removed" in _said(hub, tmp_path, FETCH) and not part.exists()
        assert _said(hub, tmp_path, FETCH).splitlines()[-1] == "whole"


def test_offline_is_one_sentence_at_once(tmp_path):
    hub = FakeHub()
    hub.address = "http://127.0.0.1:9"  # nobody listens
    start = time.monotonic()
    assert _said(hub, tmp_path, LOAD) == (
        "ModelError: model 'org/model' cannot be loaded (the Hub cannot be reached, and its cache here lacks "
        "it); give a local folder, a Hub id that you can reach, or one of gemma-3-270m-q4km, "
        "smollm2-135m-instruct\n")
    assert time.monotonic() - start < 75  # nearly all of it imports; the client's own retries took 78 s
