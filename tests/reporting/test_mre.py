"""The MRE experiment's figures and tables from synthetic cells and from the committed files."""

from __future__ import annotations

import re
import warnings

import pytest
from matplotlib import pyplot as plt

from giellm_utils.core import artifacts
from giellm_utils.core.files import read_json
from giellm_utils.core.mre_report import Detectable, MreReport, PilotOutcome, PowerReport
from giellm_utils.core.paths import ROOT
from giellm_utils.evaluation.trials import analyse
from giellm_utils.reporting import documents, mre_tables
from giellm_utils.reporting.figures import mre_bound, mre_coverage, mre_forest, mre_learning_curve, registry
from giellm_utils.reporting.figures.style import BLUE, save
from giellm_utils.reporting.results import ReportError
from support.cells import synthetic
from support.figures import assert_nothing_overlaps, texts
from support.results import write_run

CONTROLS = ("joint", "text", "words", "two-task", "placebo-words", "placebo-label")
SCPOS = ("scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj")


@pytest.fixture(scope="module")
def report() -> MreReport:
    cells = synthetic(conditions=CONTROLS, n=300, shift=1.5, seeds=5)
    cells += [c for i, name in enumerate(("tcree", "tcree-blind", *SCPOS))
              for c in synthetic(name, n=40, random=i)]
    cells += [c for n in (100, 300) for c in synthetic(n=300, arm=f"texts-{n}", texts=n, random=n)]
    return analyse(cells, resamples=50)


@pytest.fixture(autouse=True)
def strict_glyphs():
    """A glyph that no font has is an error, and so is a figure left open."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*[Gg]lyph.*missing.*")
        yield
    assert not plt.get_fignums()


def drawn(module, record) -> dict:
    return dict(module.draw(record.model_dump(mode="json")))


def test_nothing_overlaps(report) -> None:
    found = {**drawn(mre_forest, report), **drawn(mre_learning_curve, report)}
    assert list(found) == ["forest", "conditions", "learning-curve-scnm"]
    for fig in found.values():
        assert_nothing_overlaps(fig)
    for module, name in ((mre_coverage, "coverage"), (mre_bound, "bound")):
        (drawn_name, fig), = module.draw(read_json(ROOT / "results" / module.FILE))
        assert drawn_name == name
        assert_nothing_overlaps(fig)


def test_the_forest_says_what_the_report_says(report) -> None:
    fig = drawn(mre_forest, report)["forest"]
    shown, effect = texts(fig), next(e for e in report.effects if e.role == "primary" and e.task == "scnm")
    assert effect.verdict == "higher"
    assert any(t.endswith(f"better, p {mre_tables.p_text(effect.holm_p)}") for t in shown)
    for name, p in (("equivalent", "within the margin, equivalence p 0.030"),
                    ("undecided", "undecided, equivalence p 0.030")):
        other = effect.model_copy(update={"verdict": name, "holm_p": 0.2, "tost_holm_p": 0.03})
        one = report.model_copy(update={"effects": [other]})
        assert any(t.endswith(p) for t in texts(drawn(mre_forest, one)["forest"])), name
    assert shown.count("TL, text label *") == 4 and "SCPOS, mean of the four" in shown
    assert not {"SCPOS:RW", "SCPOS:N"} & set(shown)  # the group speaks for its datasets
    assert any("over 8 planned tests, 8 of them made" in t for t in shown)
    # Secondary rows have a p-value of their own and no verdict.
    assert sum(t.endswith(", alone") for t in shown) == 8
    ax = fig.axes[0]
    filled = [line for line in ax.lines if line.get_marker() == "o" and line.get_markerfacecolor() == BLUE]
    assert 100 * effect.value in [line.get_xdata()[0] for line in filled]
    marks = [line for line in ax.lines if line.get_marker() == "|"]
    assert sorted(marks[0].get_xdata()) == pytest.approx(sorted(100 * d for d in effect.differences))


def test_what_is_not_there_is_not_drawn() -> None:
    few = analyse(synthetic(conditions=("joint", "text"), n=40), resamples=20)
    assert list(drawn(mre_forest, few)) == ["forest"] and drawn(mre_learning_curve, few) == {}
    none = analyse(synthetic(conditions=("joint",), n=40), resamples=20)
    assert drawn(mre_forest, none) == {}
    assert mre_tables.primary(none).startswith("0 of 8 planned primary tests are made")
    assert mre_tables.answer(none) == mre_tables.MISSING_YET
    assert mre_tables.secondary(none) == "Nothing else was compared.\n"


def test_a_condition_of_two_seeds_is_not_drawn_beside_others() -> None:
    cells = synthetic(n=60) + synthetic(conditions=("placebo-words",), n=60, seeds=2)
    found = drawn(mre_forest, analyse(cells, resamples=20))
    assert list(found) == ["forest"] and any("9 cells, seeds 1, 2, 3;" in t for t in texts(found["forest"]))
    plt.close("all")


def test_the_same_bytes_every_time(report, tmp_path) -> None:
    first, second = ([p.read_bytes() for p in save(drawn(mre_forest, report)["forest"], tmp_path / x, "f")]
                     for x in "ab")
    assert first == second


def test_the_registry_draws_single_files(report, tmp_path) -> None:
    results = tmp_path / "results"
    write_run(results / "made", "scnm")
    artifacts.write(results / "mre" / "analysis.json", report)
    found = {p.relative_to(tmp_path / "f").as_posix() for p in registry.draw_all(results, tmp_path / "f")}
    assert {"mre/forest.png", "mre/conditions.svg", "mre/learning-curve-scnm.png"} <= found
    assert "mre/coverage.png" not in found


# -- tables ------------------------------------------------------------------------------------------------


def test_tables_hold_the_numbers(report) -> None:
    primary, effect = mre_tables.primary(report), next(e for e in report.effects if e.role == "primary")
    assert primary.count("\n") == 2 + 2 + 8 and mre_tables.points(effect.value) in primary
    assert f"equivalence p (±{100 * report.margin:g})" in primary
    secondary = mre_tables.secondary(report)
    assert "| two-task |" in secondary and "text only + words only" in secondary
    lines = mre_tables.scores(report).split("\n")
    line = next(li for li in lines if "| text only | constrained | 1000" in li)
    assert re.search(r"\| \d\d\.\d ± \d\.\d \| – \| – \| – \|$", line)
    assert mre_tables.runs(report).count("\n") == 2 + len(report.runs)
    assert mre_tables.free(report) == "Nothing was decoded freely.\n"
    lines = mre_tables.answer(report).split("\n- ")
    assert "The paper's one run on its TCREE: +0.60 in TL, " in lines[-1]
    assert len(lines) == 1 + 8 and f"margin ±{100 * report.margin:g}." in lines[0]
    said = f"{mre_tables.points(effect.value)} {mre_tables.interval(effect.low, effect.high)}"
    assert lines[1].endswith(f"TL, text label, joint minus text only: {said}, 5 seeds: **better**")


def test_the_primary_table_says_how_many_tests_are_made_and_what_was_left_out() -> None:
    cells = [c for c in synthetic(n=40) if (c.condition, c.seed) != ("text", 2)]
    report = analyse(cells, resamples=20, partial=True)
    table = mre_tables.primary(report)
    partial = "**A look at what stood before all cells did, not a planned one.** "
    assert table.startswith(f"{partial}2 of 8 planned primary tests are")
    for made in (mre_tables.secondary, mre_tables.scores):
        assert made(report).startswith(partial.rstrip())
    assert "- left out: scnm, arm main, constrained: tl of joint minus text: seeds are missing" in table
    named = report.model_copy(update={"partial": False, "look": "after-ii", "stages": ["i", "ii"]})
    assert mre_tables.primary(named).startswith("Compared after stage (ii). 2 of 8")
    assert mre_tables.secondary(named).startswith("Compared after stage (ii).\n\n| dataset")
    assert "verdict" not in mre_tables.secondary(report)


def test_documents_ask_for_them(tmp_path) -> None:
    mark = "<!-- table:mre/{} -->\n<!-- /table -->"
    made = documents.render(mark.format("coverage") + mark.format("bound"), ROOT / "results")
    assert "1,000 simulated experiments a row" in made and "class from text and words" in made
    assert "Not measured yet." in documents.render(mark.format("primary"), tmp_path)
    with pytest.raises(ReportError, match="no table 'mre/nothing'; .*mre/primary"):
        documents.render(mark.format("nothing"), tmp_path)


def test_power_shows_both_readings_of_the_pilot() -> None:
    one = Detectable(documents=4343, seeds=5, single=.013, first=.023, margin=.0133, margin_first=.022,
                     no_effect=.9, no_effect_first=.4)
    outcome = PilotOutcome(task="scnm", metric="tl", a="joint", b="text", documents=100, seeds=[1, 2, 3],
                           value=0, document_sd=.1, seed_sd=.01, seed_sd_high=.02, residual_sd=.4,
                           as_measured=[one], at_upper_limit=[one.model_copy(update={"single": .02})])
    table = mre_tables.power(PowerReport(power=.8, planned=8, margin=.015, outcomes=[outcome]))
    assert ("| SCNM | TL, text label | 4,343 | 5 | 1.30 (2.00) | 2.30 (2.30) | 1.33 (1.33) | 2.20 (2.20) | "
            "90 (90) | 40 (40) |" in table)
    assert "within ±1.5, per cent, alone | first of 8 |" in table
