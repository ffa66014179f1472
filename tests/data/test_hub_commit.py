"""The way to the Hub, against a local stand-in of its API: commits looked up once, files by pattern."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from giellm_utils.core.files import read_json
from giellm_utils.data.registry import load_dataset
from giellm_utils.formats.registry import make_format
from support.hub import FakeHub, ROOT, run_with

OLD, SEEN, NEW = "a" * 40, "543b829" + "0" * 33, "b" * 40
TEST_SEEN = "d2239a9" + "1" * 33
TRAIN_REPO, TEST_REPO = "ganchengguang/MMM-dataset-Trainset", "ganchengguang/MMM-datasets-Testset"
CONFIG = ROOT / "configs" / "hub" / "mmm-scnm.yaml"
LOAD = f"""
from giellm_utils.core.errors import GiellmError
from giellm_utils.data.registry import load_dataset, source_files
try:
    data = load_dataset({str(CONFIG)!r})
    counts = {{s: len(data.split(s)) for s in ("train", "dev", "test")}}
    print("LOADED", counts, data.provenance.redistributable, data.provenance.source, data.provenance.note)
    print("FILES", [name for name, _ in source_files({str(CONFIG)!r})])
except GiellmError as error:
    print("ERROR", error)
"""


def rows(split: str) -> bytes:
    """Sentences of the mini corpus as OIELLM's cards show them."""
    data = load_dataset("scnm", "embedded")
    fmt = make_format("oiellm", data.task)
    return json.dumps([{"instruction": fmt.prompt(r.text), "input": "", "output": fmt.target(r)}
                       for r in data.split(split)], ensure_ascii=False).encode()


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    hub = FakeHub()
    hub.repos = {
        TRAIN_REPO: {NEW: {"README.md": b"x"},
                     SEEN: {"README.md": b"x", "Train_Ja_0_SCNM_5343.json": rows("train"),
                            "Train_En_0_SCNM.json": b"[]"}, OLD: {}},
        TEST_REPO: {TEST_SEEN: {"test_Ja_0_SCNM_5343.json": rows("test")}}}
    with hub.served():
        yield hub


def test_the_first_load_looks_the_commits_up_and_later_ones_ask_nothing(
        fake: FakeHub, tmp_path: Path) -> None:
    done = run_with(fake, tmp_path, LOAD)
    assert "LOADED {'train': " in done.stdout, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0] == (f"{TRAIN_REPO}: 543b829 is commit {SEEN}; 1 newer commits are left aside; written "
                       f'down. To pin it for others, write revision: "{SEEN}"')
    assert "Train_Ja_0_SCNM_5343.json: columns instruction, input, output" in said
    assert any("input instruction, output output as oiellm reads 100 of the first 100" in s for s in said)
    loaded = next(s for s in said if s.startswith("LOADED"))
    assert " False download " in loaded and f"{TRAIN_REPO} at {SEEN}, {TEST_REPO} at {TEST_SEEN}" in loaded
    assert said[-1] == ("FILES ['Train_Ja_0_SCNM_5343.json', 'test_Ja_0_SCNM_5343.json', 'mmm-scnm.yaml']")
    written = read_json(tmp_path / "giellm" / "hub" / "ganchengguang--MMM-dataset-Trainset-543b829.json")
    assert (written["commit"], written["newer"]) == (SEEN, 1)
    # Only the two named files were fetched.
    fetched = {a.rpartition("/")[2] for a in fake.asked if "/resolve/" in a}
    assert fetched == {"Train_Ja_0_SCNM_5343.json", "test_Ja_0_SCNM_5343.json"}
    again = run_with(fake, tmp_path, LOAD, HF_HUB_OFFLINE="1")
    assert loaded in again.stdout and "written down" not in again.stdout, again.stdout + again.stderr


def test_a_commit_that_is_not_in_the_history_is_named(fake: FakeHub, tmp_path: Path) -> None:
    fake.repos[TRAIN_REPO] = {NEW: {}}
    done = run_with(fake, tmp_path, LOAD)
    assert done.stdout == (
        f"ERROR {TRAIN_REPO} has no commit that begins with 543b829 (its newest is {NEW}; if that is what "
        f'you want, write revision: "{NEW}")\n'), done.stderr
    assert not (tmp_path / "giellm").exists(), "what could not be verified is not written down"


def test_a_pattern_that_fits_no_file_lists_those_there_are(fake: FakeHub, tmp_path: Path) -> None:
    fake.repos[TRAIN_REPO][SEEN] = {"Ja_SCNM.json": b"[]", "LICENSE": b"x"}
    done = run_with(fake, tmp_path, LOAD)
    assert done.stdout.splitlines()[-1] == (
        f"ERROR {TRAIN_REPO} has no file that fits Train_Ja_*SCNM*.json; write the file's own name under "
        "`files` in mmm-scnm.yaml, it has Ja_SCNM.json")


def test_a_dataset_that_is_not_there_or_gated(fake: FakeHub, tmp_path: Path) -> None:
    del fake.repos[TEST_REPO]
    done = run_with(fake, tmp_path, LOAD)
    assert done.stdout.splitlines()[-1] == (
        f"ERROR the Hub has no dataset {TEST_REPO}, or it is gated or private; check the name, accept its "
        "terms on its page and log in with `hf auth login`"), done.stderr


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    nobody = FakeHub()
    nobody.address = "http://127.0.0.1:9"
    done = run_with(nobody, tmp_path, LOAD)
    assert done.stdout.startswith(f"ERROR {TRAIN_REPO} at 543b829 cannot be had from the Hub ("), done.stderr
    assert done.stdout.count("\n") == 1
