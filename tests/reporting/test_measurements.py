"""The benchmarks' tables and figures, from made-up result files."""

from __future__ import annotations

from typing import Any

import pytest

from giellm_utils.core.files import write_json
from giellm_utils.evaluation.score import COMPARED
from giellm_utils.reporting.figures import decoding_speed, format_costs, registry
from giellm_utils.reporting.figures.decoding_speed import speed
from giellm_utils.reporting.figures.format_costs import peer_costs
from giellm_utils.reporting.measurements import decoding_table, factors, token_table
from support.figures import assert_nothing_overlaps, shown_boxes
from support.results import write_run

SYSTEMS = {"one_at_a_time": "(a) generate, one text at a time",
           "sorted_batches": "(b) generate, sorted batches, tight budget",
           "corpus_rows": "(b), scoring tokens of the texts and the schema", "ours": "(c) ours",
           "full_layer": "(c) with the full output layer"}
FORMATS = {"ours, joint": "text", "SLG": "both", "OIELLM": "none", "InstructUIE": "both"}
SOURCE = "SCNM, embedded mini corpus (machine-written, stand-in) · Gemma-3-270M · LoRA"
SHARE = {"value": 0.5, "low": 0.4, "high": 0.6}


def decoding(scale: float = 1.0, growing: bool = True) -> dict[str, Any]:
    """A file of results/bench, at speeds `scale` times those of two cores."""
    speeds = dict(zip(SYSTEMS, (0.4, 2, 3.9, 12, 6.2), strict=True))
    points = [("batch_size", b, 64) for b in (1, 4, 16)] + [("characters", c, 16) for c in (21.5, 48, 91)]
    growth = [{"by": by, "value": value, "system": name, "items": n,
               "items_per_second": scale * (1 + i * value)}
              for by, value, n in points for i, name in enumerate(("sorted_batches", "ours"))]
    return {"run": "mini", "source": SOURCE, "dtype": "bfloat16", "device": "cpu", "threads": 2,
            "batch_size": 16, "items": 200, "split": "test", "argmax_flips": {"flips": 0, "choices": 860},
            "systems": {name: {"title": SYSTEMS[name], "items_per_second": scale * s,
                               "tokens_per_second": 100, "steps_per_item": 17.0,
                               "forward_passes_per_item": 0.6,
                               "scores": {m: {**SHARE, "value": None} if m == "invented" else SHARE
                                          for m in COMPARED}} for name, s in speeds.items()},
            "growth": growth if growing else []}


def tokens() -> dict[str, Any]:
    """A file of results/token_costs; the first format is the dearest."""
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.97 * value, "high": 1.03 * value}

    return {"source": SOURCE, "n": 320, "formats": {
        title: {"title": title, "offers": offers, "calls": interval(k + 1),
                "tokens_in": interval(900 - 95 * k), "tokens_out": interval(28.1),
                "total": interval(928.1 - 95 * k), "times_joint": interval(1.5)}
        for k, (title, offers) in enumerate(FORMATS.items())}}


def labels(fig) -> list[str]:
    return [" ".join(label.get_text().split()) for label in fig.axes[0].get_yticklabels()]


@pytest.mark.parametrize("growing", [True, False])
@pytest.mark.parametrize("scale", [0.03, 1, 400])
def test_the_speed_figure_holds_every_system_and_overlaps_nothing(scale: float, growing: bool) -> None:
    result = decoding(scale, growing)
    fig = speed(result)
    assert labels(fig) == list(SYSTEMS.values())
    assert [bar.get_width() for bar in fig.axes[0].patches] == [
        s["items_per_second"] for s in result["systems"].values()]
    assert len(fig.axes) == (3 if growing else 1)
    said = [" ".join(text.split()) for text, _ in shown_boxes(fig)]
    assert (f"Source: {SOURCE} · 200 texts of test, joint, batch 16 · bfloat16 on cpu, 2 threads · "
            "run mini") in said
    assert_nothing_overlaps(fig)


def test_factors_stand_in_figure_and_table() -> None:
    result = decoding()
    notes = [text.get_text().split("    ") for text in speed(result).axes[0].texts]
    assert notes[0] == ["0.40", "0.20 × (b)"] and notes[3] == ["12.0", "6.0 × (b)", "30.0 × (a)"]
    table = decoding_table(result).splitlines()
    assert table[0].startswith(f"{SOURCE}. Run `mini`: 200 texts of test") and "0 of 860 choices" in table[0]
    assert table[5 + 2].startswith("| (c) ours | 12.00 | 6.0 | 30.0 | 100 | 17.0 | 0.60 | 50.0 |")
    assert table[5 + 2].endswith("| 50.0 | – | 50.0 |"), "undefined: a dash"
    alone = {**result, "systems": {"ours": result["systems"]["ours"]}, "growth": []}
    assert factors(alone, "ours") == {} and [t.get_text() for t in speed(alone).axes[0].texts] == ["12.0"]


def test_the_token_figure_and_table_have_the_cheapest_first() -> None:
    result = tokens()
    fig = peer_costs(result)
    cheapest_first = list(reversed(FORMATS))
    assert labels(fig) == cheapest_first
    assert [bar.get_width() for bar in fig.axes[0].patches] == pytest.approx(
        [900 - 95 * k for k in (3, 2, 1, 0)] + [28.1] * 4)
    assert any(" ".join(text.split()).startswith(f"Source: {SOURCE}") for text, _ in shown_boxes(fig))
    assert_nothing_overlaps(fig)
    rows = token_table(result).splitlines()[4:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == cheapest_first
    assert rows[0] == ("| InstructUIE | both | 4 | 615.0 [596.5, 633.5] | 28.1 [27.3, 28.9] | "
                       "643.1 [623.8, 662.4] | 1.50 [1.46, 1.54] |")


def test_measurements_are_drawn_with_the_runs(tmp_path) -> None:
    write_run(tmp_path / "results" / "made", "scnm", leave_out=(
        "composition.json", "history.jsonl", "scores.json", "mre.json"))
    write_json(tmp_path / "results" / decoding_speed.FOLDER / "made.json", decoding())
    write_json(tmp_path / "results" / format_costs.FOLDER / "x.json", tokens())
    out = tmp_path / "f"
    drawn = {str(p.relative_to(out)) for p in registry.draw_all(tmp_path / "results", out)}
    assert {"bench/made.png", "bench/made.svg", "token_costs/x.png", "made/token-cost.png"} <= drawn
