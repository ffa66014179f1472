"""What the repository promises about itself: one set of versions, commands that exist, no machine paths."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from typer.testing import CliRunner

from giellm_utils.cli.main import app
from giellm_utils.experiment.profile import load_profile

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = sorted(p for pattern in ("*.md", "docs/*.md", "weights/*/*.md") for p in ROOT.glob(pattern))


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            found[re.sub(r"[-_.]+", "-", name).lower()] = Version(version)
    return found


def test_requirements_satisfy_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned = pins()
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pinned, f"{name} is in pyproject.toml but not pinned in requirements.txt"
        outside = f"{name}: {pinned[name]} is outside {requirement.specifier}"
        assert pinned[name] in requirement.specifier, outside


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert "-r requirements.txt" in pip
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert Version(python.removeprefix("python=")) in Requirement(f"x{project['requires-python']}").specifier
    # No version of a package may be stated a second time, where it could drift.
    assert not [d for d in environment["dependencies"] if isinstance(d, str) and "=" in d and d != python]


def test_torch_is_pinned_as_the_house_says():
    assert pins()["torch"] == Version("2.13.0")


def test_packaged_models_are_pinned_by_hash():
    lines = [line for line in (ROOT / "requirements-models.txt").read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("#")]
    assert len(lines) == 6 and all(re.search(r"==[\d.]+ --hash=sha256:[0-9a-f]{64}$", line) for line in lines)


def shell_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line.strip() for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.S)
            for line in block.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/your-own-data.md",
                                      "docs/running.md"])
def test_every_documented_command_exists(document):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    commands = shell_lines(ROOT / document)
    assert commands
    for line in commands:
        line = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", re.sub(r"\s+#.*$", "", line))
        words = line.replace(".venv/bin/", "").split()
        if words[0] == "make":
            assert words[1] in targets, line
        elif words[0] == "giellm":
            path = []
            for word in words[1:]:
                if word.startswith("-") or not re.fullmatch(r"[a-z][a-z-]*", word) or len(path) == 2:
                    break
                path.append(word)
            result = next(r for n in range(len(path), 0, -1)
                          if (r := CliRunner().invoke(app, [*path[:n], "--help"])).exit_code == 0)
            for option in re.findall(r" (--[a-z-]+)", line):
                assert option in re.sub(r"\x1b\[[0-9;]*m", "", result.output), f"{line}: no option {option}"
            if "--profile" in words:
                load_profile(words[words.index("--profile") + 1])
        else:
            known = ("git", "cd", "conda", "pip", "python", "accelerate", "ruff", "lint-imports")
            assert words[0] in known, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_documented_files_exist(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)|src=\"(?!https?:)([^\"]+)\"", text):
        assert (path.parent / (target[0] or target[1])).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_as_they_should_be_read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert path.stat().st_size < 1_000_000
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    for cell in code:
        assert cell.execution_count, f"a cell without outputs: {cell.source[:60]}"
        assert not any(o.output_type == "error" for o in cell.outputs), cell.source[:60]
        assert max(map(len, cell.source.split("\n"))) <= 100, cell.source[:60]
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[1].source.startswith("**Try this:**"), "what a reader can change stands first"
    assert re.search(r"\]\(\w+\.ipynb\)", notebook.cells[-1].source), "it ends with a link to the next"


def tracked_text() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    kinds = {".py", ".ipynb", ".md", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".txt", ".svg"}
    paths = [ROOT / name for name in filter(None, listed.split("\0"))]
    return [path for path in paths if path.suffix in kinds and path.exists()]


def test_no_machine_paths_are_committed():
    if not (files := tracked_text()):
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:root|home|work|tmp)/\w")
    for path in files:
        if path.name != Path(__file__).name:
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group()}"
