"""Plans as table, figure and page: what each shows, and that it says that nothing was run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from giellm_utils.core import artifacts
from giellm_utils.core.files import read_json
from giellm_utils.core.paths import ROOT
from giellm_utils.core.plan_record import GIB, MemoryCase, MemoryFile, PARTS, PlanFile
from giellm_utils.reporting.figures import plan as plan_figure
from giellm_utils.reporting.figures import plan_memory as memory_figure
from giellm_utils.reporting.plan_page import piece, write_page
from giellm_utils.reporting.plan_tables import (
    COMPUTED,
    gib,
    grouped,
    GROUPS,
    memory_table,
    plan_table,
    verdict,
    way,
)
from giellm_utils.reporting.results import ReportError
from support.figures import assert_nothing_overlaps, texts

PLANS = sorted((ROOT / "results" / "plan").glob("*.json"))
EIGHT = ROOT / "results" / "plan" / "8xA800-80GB.json"


def test_every_part_stands_in_one_group():
    assert sorted(part for parts in GROUPS.values() for part in parts) == sorted(PARTS)
    assert set(plan_figure.LOOKS) == set(GROUPS)


def test_the_table_adds_up_and_says_what_it_is():
    plans = artifacts.read(EIGHT, PlanFile).plans
    assert [p.profile for p in plans] == ["giellm-7b", "giellm-13b", "giellm-13b-jp"]
    text = plan_table(read_json(EIGHT))
    assert text.startswith(COMPUTED) and "not run here" in COMPUTED and "Taken for granted: 4,500" in text
    own = [line for line in text.splitlines() if "**full, FSDP2**" in line]
    assert len(own) == 3 and all("| yes |" in line for line in own)
    for plan in plans:
        assert sum(grouped(plan.own.memory).values()) == pytest.approx(plan.own.memory.total / GIB)
        assert f"| {plan.profile} | {plan.model} |" in text and plan.own.smallest in text


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_the_figure_shows_each_way_once_beside_the_devices_memory(path: Path):
    plans = artifacts.read(path, PlanFile).plans
    fig = plan_figure.draw(read_json(path))
    shown, ticks = texts(fig), [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert_nothing_overlaps(fig)
    wanted = [way(o) for p in plans for o in p.options
              if not o.checkpointing and not o.refused and (p.count == 1 or o.strategy != "one")]
    assert ticks == wanted and any("GiB usable" in text for text in shown)
    assert all(f"{p.profile}: {p.model}" in shown for p in plans)
    assert any(COMPUTED in text for text in shown)
    [line] = [x for x in fig.axes[0].lines if x.get_linestyle() == "--"]
    assert line.get_xdata()[0] == pytest.approx(plans[0].capacity / GIB)
    plt.close(fig)


# -- planned beside measured -------------------------------------------------------------------------------


def measured(ratio: float) -> dict:
    """A file of results/memory with two trainings; the second's plan is `ratio` of what was measured."""
    memory = artifacts.read(EIGHT, PlanFile).plans[0].own.memory
    cases = [MemoryCase(model=model, parameters=268_000_000, method=method, batch=8, longest=210,
                        longest_targets=90, steps=6, predicted=memory, measured=round(memory.total / r))
             for model, method, r in (("Gemma-3-270M, dequantised", "lora", 1.0), ("llama", "full", ratio))]
    return MemoryFile(source="SCNM", dtype="float32", processors=2, threads=2, memory=24 * GIB,
                      system="Linux", git="x", planned_git="x", packages={},
                      cases=cases).model_dump(mode="json")


@pytest.mark.parametrize("ratio, good", [(1.09, 2), (0.91, 2), (1.11, 1), (0.85, 1)])
def test_a_plan_is_good_within_a_tenth(ratio, good):
    text = memory_table(measured(ratio))
    assert f"{good} of 2 within 10 %" in text and f"| {ratio:.3f} | {'yes' if good == 2 else 'no'} |" in text
    fig = memory_figure.draw(measured(ratio))
    shown = texts(fig)
    assert_nothing_overlaps(fig)
    assert sum("not within 10 %" in t for t in shown) == 2 - good
    assert "Gemma-3-270M, LoRA, batch 8" in shown and "llama, full, batch 8" in shown
    plt.close(fig)


# -- the page ----------------------------------------------------------------------------------------------


def test_the_page_is_escaped_and_stands_alone(tmp_path):
    [plan, *_] = artifacts.read(EIGHT, PlanFile).plans
    odd = plan.model_copy(update={"model": '<script>alert("1")</script>', "assumed": ["a < b & <b>c</b>"]})
    path = write_page(tmp_path / "plan.html", [odd])
    text = path.read_text("utf-8")
    assert "<script" not in text and "&lt;script&gt;alert(&#34;1&#34;)" in text and "a &lt; b &amp; " in text
    assert not re.search(r"src=|href=|url\(|@import", text)
    assert "not run" in text and verdict(odd).split(". ")[0] in text
    # Every way that our training takes, with and without checkpoints; bars are cut, numbers are not.
    ways = [o for o in plan.options if not o.refused]
    assert text.count("<tr ") == len(ways) and text.count("border-left:2px dashed") == len(ways)
    assert all(f">{gib(o.memory.total)}</td>" in text for o in ways)
    # A page of ours is replaced, anything else is not.
    assert write_page(path, [plan]) == path and "<script" not in path.read_text("utf-8")
    mine = tmp_path / "mine.html"
    mine.write_text("<p>my own</p>", "utf-8")
    with pytest.raises(ReportError, match="is there already and is no page of giellm plan"):
        write_page(mine, [plan])
    assert mine.read_text("utf-8") == "<p>my own</p>"


def test_the_piece_for_the_notebook_keeps_its_styles_in_its_elements():
    source = str(piece(artifacts.read(EIGHT, PlanFile).plans))
    assert "<style" not in source and "<html" not in source and source.count("is the smallest machine") == 3
