"""A real server of the API: `transformers serve` with the tiny model from scratch, asked in context."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import torch

from giellm_utils.inference.answer_log import AnswerLog
from giellm_utils.inference.asking import Asking
from giellm_utils.inference.budget import Budget, Limit
from giellm_utils.inference.chat import ApiError, ChatClient, Endpoint, Question, Refused
from giellm_utils.models.load import load_model, load_tokenizer, model_path
from support.models import SCRATCH

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn")),
    reason="transformers serve needs the packages of transformers[serving]")
BOUND = {"temperature": 0, "max_tokens": 12, "stop": ["\n"]}
PROMPTS = [f"{text}固有表現抽出\n" for text in ("京都で展示会が開かれた。", "田中は東京にいる。", "雨だ。")]


@pytest.fixture(scope="module")
def served(session_cache, tmp_path_factory):
    """Where the model is served, by the name `tiny`."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIELLM_CACHE_DIR", str(session_cache))
        shutil.copytree(model_path(SCRATCH), folder / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("transformers")), "serve", "tiny", "--host", "127.0.0.1",
         "--port", str(port), "--dtype", "float32", "--device", "cpu"], cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(600):
            assert process.poll() is None, process.stdout.read()
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


@torch.no_grad()
def continued(prompt: str) -> str:
    """What the model itself writes after `prompt`, greedily, to the end of the line."""
    model, tokenizer = load_model(SCRATCH), load_tokenizer(SCRATCH)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=BOUND["max_tokens"],
                             do_sample=False)
    return tokenizer.decode(written[0, ids.shape[1]:], skip_special_tokens=True).partition("\n")[0]


def test_answers_of_a_served_base_model_are_its_own(served, scratch_cache, tmp_path):
    questions = [Question("completions", prompt, BOUND) for prompt in PROMPTS]
    endpoint = Endpoint(served, "tiny", "none")
    with AnswerLog(tmp_path / "log.jsonl") as log:
        outcome = Asking(ChatClient(endpoint), log, Budget(Limit(), None), workers=2).run(questions)
        replies = [log.answers[q.hash(endpoint)] for q in questions]
    assert outcome.counts["answered"] == 3 and outcome.counts["lost"] == 0
    assert [r.text for r in replies] == [continued(prompt) for prompt in PROMPTS]
    assert all(0 < r.output_tokens <= 12 and r.input_tokens >= len(p) for r, p in
               zip(replies, PROMPTS, strict=True))


def test_another_model_than_the_served_one_is_a_clear_fault(served):
    with pytest.raises((ApiError, Refused), match="pinned to 'tiny'"):
        ChatClient(Endpoint(served, "other", "none")).ask(Question("completions", "x", BOUND))
