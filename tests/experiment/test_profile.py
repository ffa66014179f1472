"""Profiles are typed YAML: a fault is one line that says file, line, key and what is allowed."""

from __future__ import annotations

import pytest
import yaml

from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError, load_yaml, parse_override
from giellm_utils.experiment.profile import load_profile, Profile, PROFILES

GOOD = """\
name: t
description: d
data:
  tasks: [scnm]
training:
  epochs: 2
"""


def write(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(p.stem for p in PROFILES.glob("*.yaml")))
def test_every_shipped_profile_loads_under_its_own_name(name):
    assert load_profile(name).name == name


@pytest.mark.parametrize("old, new, line, words", [
    ("epochs: 2", "epohcs: 2", 6, ["training.epohcs", "unknown key", "epochs"]),
    ("epochs: 2", "epochs: two", 6, ["training.epochs", "'two'"]),
    ("epochs: 2", "epochs: -1", 6, ["training.epochs", "greater than 0"]),
    ("[scnm]", "[scmn]", 4, ["data.tasks", "scmn", "tcree"]),
    ("name: t", "name: a/b", 1, ["name"]),
    ("name: t\n", "", None, ["name", "required"]),
    ("tasks: [scnm]", "tasks: [scnm]\n  sauce: open", 5, ["data.sauce", "unknown key"]),
])
def test_a_fault_is_one_line_with_file_line_and_key(tmp_path, old, new, line, words):
    with pytest.raises(ConfigError) as caught:
        load_yaml(write(tmp_path, GOOD.replace(old, new)), Profile)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("p.yaml")
    assert line is None or f"line {line}:" in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: [unclosed\n", "a: b: c\n"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="p.yaml"):
        load_yaml(write(tmp_path, text), Profile)


def test_overrides_reach_deep_keys_and_are_checked_too(tmp_path):
    path = write(tmp_path, GOOD)
    assert load_yaml(path, Profile, {"training.epochs": 5, "evaluation.limit": 3}).evaluation.limit == 3
    with pytest.raises(ConfigError, match="training.lr"):
        load_yaml(path, Profile, {"training.lr": 1})
    with pytest.raises(ConfigError, match="name"):
        load_yaml(path, Profile, {"name.first": 1})


def test_override_values_are_yaml():
    assert parse_override("training.epochs=2") == ("training.epochs", 2)
    assert parse_override("data.tasks=[scnm, tcree]") == ("data.tasks", ["scnm", "tcree"])
    with pytest.raises(ConfigError, match="key=value"):
        parse_override("training.epochs")


@pytest.mark.parametrize("old, new, words", [
    ("epochs: 2", "conditions: [joint, both]", ["training.conditions", "'both'", "joint, text, words"]),
    ("epochs: 2", "conditions: []", ["training.conditions", "at least one"]),
    ("epochs: 2", "conditions: [joint, joint]", ["training.conditions", "each once"]),
    ("epochs: 2", "jobs: [joint]", ["training.jobs", "unknown key", "conditions"]),
    ("training:\n", "format: {name: nonesuch}\ntraining:\n", ["format.name", "giellm-card"]),
])
def test_conditions_and_formats_are_known_ones(tmp_path, old, new, words):
    with pytest.raises(ConfigError) as caught:
        load_yaml(write(tmp_path, GOOD.replace(old, new)), Profile)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_single_tokens_need_lora():
    with pytest.raises(ConfigError, match="single_tokens is made for method lora"):
        load_profile("smoke", {"training.single_tokens": True})


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(ConfigError, match="mini"):
        load_profile("nonesuch")


def test_accelerate_configs_name_no_machine():
    for path in sorted((ROOT / "configs" / "accelerate").glob("*.yaml")):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["num_machines"] >= 1
