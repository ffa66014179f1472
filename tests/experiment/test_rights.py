"""A dataset that must not be redistributed leaves no text in notebooks, results or figures: a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from giellm_utils.core import artifacts
from giellm_utils.core.artifacts import ProvenanceFile
from giellm_utils.core.settings import load_yaml
from giellm_utils.data.hub_config import HubConfig
from giellm_utils.data.registry import load_dataset
from giellm_utils.experiment.profile import load_profile
from giellm_utils.experiment.stages import Stage
from giellm_utils.experiment.train import planned
from giellm_utils.formats.registry import make_format
from support.experiments import write_profile

ROOT = Path(__file__).resolve().parents[2]
AUTHORS = sorted(p for kind in ("authors", "mmm") for p in (ROOT / "configs" / "hub").glob(f"{kind}-*.yaml"))


def secret(index: int) -> str:
    """A sentence that stands nowhere else."""
    return f"秘密の文{index:03d}号では、門外不出の田中が幽谷港から{index:03d}番目の船で出た。"


def as_snapshot(at: Path, name: str, rows: int = 40) -> Path:
    """A Hub YAML of the authors' data as it is, but for its places: a local folder with secret sentences."""
    given = yaml.safe_load((ROOT / "configs" / "hub" / name).read_text("utf-8"))
    task = load_dataset("scnm", "embedded").task
    fmt, target = make_format("slg", task), "<社会>固有表現抽出:人名;田中:地名;幽谷港"
    (at / "snapshot").mkdir()
    (at / "snapshot" / "SCNM_Dataset.csv").write_text("in,out\n" + "".join(
        f'"{fmt.prompt(secret(i))}","{target}"\n' for i in range(rows)), encoding="utf-8")
    del given["repo"], given["revision"]
    path = at / "hub.yaml"
    path.write_text(yaml.safe_dump({**given, "folder": "snapshot", "train_rows": rows * 3 // 4},
                                   allow_unicode=True), encoding="utf-8")
    return path


def texts_below(*folders: Path) -> dict[str, str]:
    return {str(p): p.read_text("utf-8") for folder in folders for p in folder.rglob("*")
            if p.suffix in (".ipynb", ".json", ".jsonl", ".csv", ".svg", ".md", ".html")}


@pytest.mark.parametrize("path", AUTHORS, ids=lambda p: p.stem)
def test_the_authors_data_are_never_redistributed(path: Path) -> None:
    config = load_yaml(path, HubConfig)
    assert not config.redistributable and config.licence == "CC BY-NC 4.0"
    assert len(AUTHORS) == 12


def test_what_is_planned_shows_no_target_of_it(runs, profile) -> None:
    stage = Stage("03_train", load_profile(profile), runs / "tiny")
    assert [row["a target"][0] for row in planned(stage)] == ["<", "<"]
    path = runs / "tiny" / "01_inspect_data" / "provenance.json"
    shut = artifacts.read(path, ProvenanceFile)["scnm"].model_copy(update={"redistributable": False})
    artifacts.write(path, ProvenanceFile({"scnm": shut}))
    assert [(row["sequences"], row["a target"]) for row in planned(stage)] == [(16, ""), (16, "")]


def test_a_whole_run_shows_no_text(tmp_path: Path, child_environment) -> None:
    data = load_dataset(str(as_snapshot(tmp_path, "authors-scnm.yaml")))
    assert len(data.split("test")) == 10 and not data.provenance.redistributable
    profile = write_profile(tmp_path, {
        "name": "shut", "data": {"tasks": [str(tmp_path / "hub.yaml")], "limit": {}},
        "training": {"conditions": ["joint"], "max_steps": 2, "machine": "single"},
        "generation": {"constrained": "none"}})
    env = {**child_environment, "GIELLM_RUNS_DIR": str(tmp_path / "runs")}

    def giellm(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "giellm_utils.cli.main", *words], cwd=ROOT, env=env,
                              capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    said = giellm("run", "--profile", profile)
    giellm("publish", "shut", "--results", str(tmp_path / "results"))
    giellm("figures", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "figures"))
    found = texts_below(tmp_path / "runs" / "shut" / "notebooks", tmp_path / "results", tmp_path / "figures")
    assert len([f for f in found if f.endswith(".ipynb")]) == 6 and len(found) > 15
    # Neither a text nor a span of one.
    marks = ["門外不出", "幽谷港"]
    leaks = [(path, mark) for path, text in {**found, "stdout": said}.items() for mark in marks
             if mark in text or json.dumps(mark)[1:-1] in text]
    assert leaks == []
    # The scan sees what it looks for where it may stand: in the run's own records.
    assert marks[0] in (tmp_path / "runs" / "shut" / "01_inspect_data" / "records.jsonl").read_text("utf-8")
