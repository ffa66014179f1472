"""The house: imports between rooms go one way, the style checks pass, files stay short."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """import-linter over the package in `folder`, with the contracts of its pyproject.toml."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "150"}
    return subprocess.run([str(BIN / "lint-imports"), "--no-cache"], cwd=folder, env=environment,
                          capture_output=True, text=True)


def test_the_rooms_and_their_contract(show):
    done = lint_imports(ROOT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = {p.name: sum(1 for _ in p.rglob("*.py")) for p in (ROOT / "giellm_utils").iterdir() if p.is_dir()}
    show("\n".join(["The rooms (files), each importing only from those below it:",
                    *("    " + " | ".join(f"{room} ({rooms[room]})" for room in layer.split(" | "))
                      for layer in layers),
                    done.stdout[done.stdout.index("Analyzed"):].strip()]))
    assert done.returncode == 0, done.stdout
    assert "Rooms: imports go one way KEPT" in done.stdout


@pytest.mark.parametrize("module, line", [
    ("core/answer.py", "from giellm_utils.data import registry"),
    ("reporting/titles.py",
     "def later():\n    from giellm_utils.experiment import stages\n    return stages"),
    ("evaluation/score.py", "import torch"),
])
def test_a_forbidden_import_is_found(tmp_path, module, line):
    shutil.copytree(ROOT / "giellm_utils", tmp_path / "giellm_utils",
                    ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "giellm_utils" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and "BROKEN" in done.stdout, done.stdout


def test_ruff_finds_nothing():
    done = subprocess.run([str(BIN / "ruff"), "check", "--no-cache", "giellm_utils", "tests"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_files_stay_short():
    long = {str(path.relative_to(ROOT)): lines for folder in ("giellm_utils", "tests")
            for path in (ROOT / folder).rglob("*.py")
            if (lines := path.read_text(encoding="utf-8").count("\n")) > 400}
    assert long == {}


def test_functions_stay_short():
    long = {f"{path.relative_to(ROOT)}: {node.name}" for path in (ROOT / "giellm_utils").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 50}
    assert long == set()


@pytest.mark.parametrize("module, unwanted", [
    ("giellm_utils.inference.extractor", ("pandas", "matplotlib")),
    ("giellm_utils.reporting.results", ("torch", "transformers")),
    ("giellm_utils.reporting.figures", ("torch", "transformers")),
    ("giellm_utils.evaluation.score", ("torch", "transformers")),
    ("giellm_utils.systems.registry", ("torch", "transformers")),
    ("giellm_utils.cli.main", ("torch", "transformers", "pandas", "matplotlib")),
])
def test_what_a_module_leaves_unloaded(module, unwanted):
    code = f"import sys, {module}; print([m for m in {unwanted} if m in sys.modules])"
    if "registry" in module:
        code = code.replace("; print", f"; {module}.entries(); print")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
