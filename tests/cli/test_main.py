"""`giellm`: faults are one line and exit code 2, whatever room they come from."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from giellm_utils.cli import main
from giellm_utils.core.errors import GiellmError


@pytest.mark.parametrize("arguments, words", [
    (["run", "--profile", "nonesuch"], "no profile 'nonesuch'"),
    (["run", "--profile", "smoke", "--set", "training.epohcs=1"], "training.epohcs: unknown key"),
    (["run", "--profile", "smoke", "--set", "training.conditions=[both]"], "no condition 'both'"),
    (["run", "--profile", "smoke", "--name", "exp/a"], "--name exp/a: give the name of one folder"),
    (["run", "--profile", "smoke", "--from", "09"], "--from '09' is no stage"),
    (["run", "--profile", "smoke", "--from", "04", "--until", "02"], "comes after"),
    (["compare", "no-such-run", "nor-this"], "holds no scores of condition joint"),
])
def test_faulty_commands_are_one_line_and_exit_2(child_environment, arguments, words):
    done = subprocess.run([sys.executable, "-m", "giellm_utils.cli.main", *arguments], env=child_environment,
                          text=True, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and words in " ".join(done.stdout.split()), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(done.stdout.strip().splitlines()) == 1


def test_every_error_of_ours_is_one_line(monkeypatch, capsys):
    class Fault(GiellmError):
        pass

    def fail():
        raise Fault("the [cause] and what to do")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2 and "giellm: the [cause] and what to do" in capsys.readouterr().out


def test_profiles_are_listed_in_full():
    done = CliRunner().invoke(main.app, ["profiles"])
    said = " ".join(done.output.split())
    assert done.exit_code == 0 and '"training.conditions=[joint, text, words]"' in said


def test_every_command_explains_itself():
    """Help is rich markup: an unescaped bracket in it vanishes or ends the command in a traceback."""
    def names(command, path=()):
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from names(inner, (*path, name))

    paths = list(names(typer.main.get_command(main.app)))
    assert ("mre", "run") in paths
    for path in paths:
        done = CliRunner().invoke(main.app, [*path, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0 and "Usage:" in done.output, (path, done.exception)
    assert "TASK/CONDITION[/ARM]/seed-N.json.gz" in CliRunner().invoke(
        main.app, ["mre", "run", "--help"], env={"COLUMNS": "200"}).output
