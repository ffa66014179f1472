"""Every figure from small synthetic records: glyphs, overlaps, files, content; and how figures are found."""

from __future__ import annotations

import re
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.font_manager import findfont, FontProperties

from giellm_utils.core.artifacts import Confusion
from giellm_utils.core.files import read_json, write_json
from giellm_utils.core.markup import TINTS
from giellm_utils.core.paths import ROOT
from giellm_utils.reporting.figures import (
    accuracy,
    confusion,
    headline,
    loss_curves,
    per_label_f1,
    registry,
    style,
    token_cost,
)
from giellm_utils.reporting.figures import composition as composition_figure
from giellm_utils.reporting.figures import effects as effects_figure
from giellm_utils.reporting.figures.style import FONT, FONT_FILE, system_rows, wrap
from giellm_utils.reporting.results import RunResults
from support.figures import assert_nothing_overlaps, shown_boxes, texts
from support.results import (
    composition,
    costs,
    effect,
    effects,
    example,
    history,
    label_scores,
    LEVELS,
    provenance,
    scores,
    share,
    system,
    systems,
    write_run,
)

SOURCE = ("SCNM, embedded mini corpus (machine-written, stand-in) · Gemma-3-270M, dequantised from "
          "third-party Q4_K_M · LoRA")
SIX = ["scnm", "scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj", "tcree"]
TEXT_LABELS = ["社会", "文芸", "学問", "技術", "自然"]
ENTITIES = ["人名", "法人名", "政治的組織名", "その他の組織名", "地名", "施設名", "製品名", "イベント名"]
MATRIX = [[30, 2, 1, 0, 0, 1], [1, 9, 0, 0, 1, 0], [0, 0, 7, 2, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1200]]


@pytest.fixture(autouse=True)
def strict_glyphs():
    """A glyph that no font has is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*[Gg]lyph.*missing.*")
        yield
    assert not plt.get_fignums(), "a figure was left open: notebooks would show it twice"


def crowded():
    """Tags wider than their spans, side by side, and the last one near the edge; nothing was found."""
    text = "同社のAI「Mini-7B」は東京、大阪、京都で使われている。"
    spans = [(3, 5, "その他の組織名"), (6, 13, "製品名"), (15, 17, "政治的組織名"),
             (18, 20, "その他の組織名"), (21, 23, "その他の組織名")]
    return example(text=text, label="社会", spans=spans, prompt=text + "<社会><文芸>固有表現抽出",
                   prompt_spans=[(len(text) + a, len(text) + b) for a, b in ((0, 4), (4, 8), (8, 14))],
                   output="<社会>固有表現抽出:無い;", item_spans=[])


def many_words():
    return composition(TEXT_LABELS, [f"{e}{i}" for e in ENTITIES for i in range(6)])


FIGURES = {
    "composition": lambda: composition_figure.composition("scnm", composition(TEXT_LABELS, ENTITIES), SOURCE),
    "composition_two": lambda: composition_figure.composition(
        "scpos-n", composition(["積極", "消極"], ["中立"]), SOURCE),
    "composition_many": lambda: composition_figure.composition("tcree", many_words(), SOURCE),
    "token_cost": lambda: token_cost.token_cost(costs("scnm"), SOURCE),
    "token_cost_six": lambda: token_cost.token_cost(costs(*SIX), SOURCE),
    "loss_curves": lambda: loss_curves.loss_curves(history(*LEVELS), SOURCE),
    "loss_curves_one": lambda: loss_curves.loss_curves(history("joint", steps=4), SOURCE),
    "accuracy": lambda: accuracy.accuracy(scores("scnm"), SOURCE),
    "accuracy_six": lambda: accuracy.accuracy(scores(*SIX), SOURCE),
    "confusion": lambda: confusion.confusion(
        Confusion(labels=TEXT_LABELS, matrix=MATRIX), "scnm, joint", SOURCE),
    "per_label_f1": lambda: per_label_f1.per_label_f1(label_scores(ENTITIES), SOURCE),
    "effects": lambda: effects_figure.effects(effects("scnm"), SOURCE),
    "effects_six": lambda: effects_figure.effects(effects(*SIX), SOURCE),
    "headline": lambda: headline.headline(scores("scnm"), example(), SOURCE),
    "headline_crowded": lambda: headline.headline(scores("scnm"), crowded(), SOURCE),
    "headline_six": lambda: headline.headline(scores(*SIX), example(), SOURCE),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_all_glyphs_its_source_and_no_overlap(name: str) -> None:
    fig = FIGURES[name]()
    assert any(re.sub(r"\s+", " ", text) == f"Source: {SOURCE}" for text, _ in shown_boxes(fig))
    assert_nothing_overlaps(fig)


def test_the_overlap_check_can_fail() -> None:
    fig = FIGURES["token_cost"]()
    fig.text(0.012, 0.98, "over the title", va="top")
    with pytest.raises(AssertionError, match="overlap"):
        assert_nothing_overlaps(fig)
    outside = FIGURES["token_cost"]()
    outside.text(0.98, 0.5, "over the edge")
    with pytest.raises(AssertionError, match="leaves the figure"):
        assert_nothing_overlaps(outside)


# -- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["confusion", "headline"])
def test_saved_files_are_the_same_bytes_every_time(name: str, tmp_path) -> None:
    first = style.save(FIGURES[name](), tmp_path / "a", "図")
    second = style.save(FIGURES[name](), tmp_path / "b", "図")
    assert [p.name for p in first] == ["図.png", "図.svg"]
    assert sorted(tmp_path.joinpath("a").iterdir()) == first
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    svg = first[1].read_text(encoding="utf-8")
    assert "<text" not in svg and "dc:date" not in svg and str(tmp_path) not in svg
    assert first[0].read_bytes().startswith(b"\x89PNG")


def test_the_last_bit_of_a_place_changes_no_byte(tmp_path) -> None:
    def drawn(folder, left):
        with style.canvas(3, 2, "t", "s", layout="none") as fig:
            fig.add_axes([left, 0.3, 0.6, 0.4]).plot([0, 1])
        return style.save(fig, tmp_path / folder, "f")[1].read_bytes()

    first = drawn("a", 0.2)
    assert b"clipPath id" in first
    assert first == drawn("b", np.nextafter(0.2, 1))
    assert first != drawn("c", 0.21)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    fig = FIGURES["token_cost"]()
    (tmp_path / "x.png").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        style.save(fig, tmp_path, "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"] and (tmp_path / "x.png").read_text() == "old"


def test_headline_is_1600_by_900_pixels(tmp_path) -> None:
    png, _ = style.save(FIGURES["headline"](), tmp_path, "h")
    assert plt.imread(png).shape[:2] == (900, 1600)


def test_japanese_font_is_the_installed_one() -> None:
    assert findfont(FontProperties(family=FONT), fallback_to_default=False) == FONT_FILE
    assert FONT_FILE.endswith("ipaexg.ttf") and "matplotlib_fontja" in FONT_FILE


def test_a_missing_glyph_would_be_noticed() -> None:
    with pytest.raises(UserWarning, match="[Gg]lyph"):
        effects_figure.effects(effects("\U0001F9FF\U00020BB7"), SOURCE)
    plt.close("all")


# -- found by themselves -----------------------------------------------------------------------------------


def test_a_run_draws_what_its_files_allow(tmp_path) -> None:
    drawn = [name for name, _ in registry.draw(RunResults(write_run(tmp_path / "a", "scnm", "tcree")))]
    assert drawn == ["composition-scnm", "composition-tcree", "token-cost", "loss-curves", "accuracy",
                     "confusion-scnm", "confusion-tcree", "per-label-f1-scnm", "per-label-f1-tcree",
                     "headline", "effects"]
    early = write_run(tmp_path / "b", "scnm", flat=False, leave_out=(
        "scores.json", "example.json", "mre.json", "decodings.json"))
    assert [name for name, _ in registry.draw(RunResults(early))] == [
        "composition-scnm", "token-cost", "loss-curves"]


def test_a_new_figure_is_one_module(tmp_path, monkeypatch) -> None:
    """A module with READS and `draw` put into the package is drawn, at its place, with no list edited."""
    (tmp_path / "word_share.py").write_text(
        "from giellm_utils.reporting.figures.style import canvas\n"
        "READS = ('composition.json',)\n"
        "def draw(results):\n"
        "    with canvas(4, 3, 'Words', results.source()) as fig:\n"
        "        fig.add_subplot().bar(list(results.composition['scnm'].word_labels), 1)\n"
        "    yield 'word-share', fig\n", encoding="utf-8")
    (tmp_path / "nothing.py").write_text("", encoding="utf-8")
    listed = registry.pkgutil.iter_modules
    package = types.SimpleNamespace(iter_modules=lambda paths: [
        *listed(paths), *(m for m in listed([str(tmp_path)]) if m.name in wanted)])
    monkeypatch.setattr(registry, "pkgutil", package)
    monkeypatch.setattr("giellm_utils.reporting.figures.__path__", [
        str(Path(registry.__file__).parent), str(tmp_path)])
    wanted = {"word_share"}
    registry.modules.cache_clear()
    try:
        results = RunResults(write_run(tmp_path / "run", "scnm"))
        drawn = [name for name, _ in registry.draw(results)]
        assert drawn.index("word-share") == drawn.index("composition-scnm") + 1
        wanted.add("nothing")
        registry.modules.cache_clear()
        with pytest.raises(ValueError, match="figures.nothing has neither READS nor FOLDER"):
            registry.modules()
    finally:
        registry.modules.cache_clear()


# -- content -----------------------------------------------------------------------------------------------


def test_accuracy_writes_values_and_leaves_out_what_a_system_lacks() -> None:
    found = texts(FIGURES["accuracy"]())
    assert "87.0 [79.0, 95.0]" in found and found.count("text only") == 1 and "scnm  (n = 75)" in found
    assert [r.label for r in system_rows(systems(), "f1")] == ["joint", "words only", "always empty"]
    assert [r.label for r in system_rows(systems(), "tl")] == ["joint", "text only", "majority class"]
    without = {k: v for k, v in systems().items() if k != "always_empty"}
    assert [r.label for r in system_rows(without, "f1")][-1] == "always empty"
    assert [r.label for r in system_rows(without, "all")] == ["joint", "majority class"]
    unknown = {"nobody": system({"tl": share(.5)}), **systems()}
    assert [r.label for r in system_rows(unknown, "tl")] == ["joint", "text only", "majority class", "nobody"]
    assert system_rows({"joint": system({"f1": share(None)})}, "f1") == []


def test_looks_and_names_are_those_of_the_registry() -> None:
    rows = {row.label: row for row in system_rows(systems(), "tl")}
    assert (rows["joint"].colour, rows["joint"].marker) == ("#0072B2", "o")
    assert (rows["majority class"].colour, rows["majority class"].marker) == ("#9aa2ab", "|")


def test_one_system_is_shown_of_those_that_have_what_is_shown() -> None:
    trained = {"words": system({}, per_word_label=label_scores(["a"])), "text": system({})}
    floor = system({}, per_word_label=label_scores(["b"]))
    assert style.shown_system({"majority": floor, **trained}, "per_word_label") is trained["words"]
    assert style.shown_system({"majority": floor}, "per_word_label") is None


def test_effects_show_undecided_hollow_and_the_sign() -> None:
    fig = FIGURES["effects"]()
    points = [line for line in fig.axes[0].lines if line.get_marker() in ("o", "s")]
    assert [p.get_markerfacecolor() == "#ffffff" for p in points] == [True, False, False]
    assert "+2.0 [−3.0, +7.0]   undecided" in texts(fig)
    assert "−9.0 [−14.0, −4.0]   joint worse" in texts(fig)
    nothing = effects_figure.effects([effect("a", "tl", 0.0, -0.0, 0.0)], SOURCE)
    assert "0.0 [0.0, 0.0]   undecided" in texts(nothing)
    undefined = effects_figure.effects([effect("a", "tl", .1, None, None)], SOURCE)
    assert undefined.axes[0].get_xlim() == (-1, 1)


def test_confusion_normalises_rows_and_names_the_extra_column() -> None:
    fig = FIGURES["confusion"]()
    shares = fig.axes[0].images[0].get_array()
    assert shares.shape == (5, 6) and shares[0, 0] == pytest.approx(30 / 34) and not shares[3].any()
    assert "no\nlabel" in texts(fig) and "1,200\n100 %" in texts(fig)
    square = confusion.confusion(Confusion(labels=["積極", "消極"], matrix=[[3, 1], [0, 4]]), "t", SOURCE)
    assert "no\nlabel" not in texts(square)


def test_composition_sums_the_rare_labels() -> None:
    assert "17 more labels" in texts(FIGURES["composition_many"]())


def test_loss_curves_draw_without_dev_loss_and_at_zero() -> None:
    rows = [row.model_copy(update={"loss": 0.0}) for row in history("joint", steps=5, dev=False)]
    assert not any("best dev" in t for t in texts(loss_curves.loss_curves(rows, SOURCE)))
    measured = loss_curves.loss_curves(history("joint", steps=40), SOURCE)
    assert "best dev 0.474, step 40" in texts(measured)


def test_a_condition_trained_twice_has_two_panels() -> None:
    fig = loss_curves.loss_curves([*history("joint", "text"), *history("joint", seed=7)], SOURCE)
    assert [ax.get_title(loc="left") for ax in fig.axes] == [
        "joint · scnm · seed 42", "text · scnm · seed 42", "joint · scnm · seed 7"]
    assert [ax.get_title(loc="left") for ax in FIGURES["loss_curves"]().axes] == list(LEVELS)


def test_wrap_counts_wide_characters_twice() -> None:
    assert wrap("あい うえ ab", 10) == "あい うえ\nab"
    assert wrap("あいうえおかきくけこ b", 4) == "あいうえおかきくけこ\nb"


# -- the opening picture -----------------------------------------------------------------------------------


def test_headline_lines_keep_spans_whole_and_hang_closing_marks() -> None:
    def lines(text: str, em: float, *spans: tuple[int, int]) -> list[str]:
        return [text[a:b] for a, b in headline.broken(text, [headline.Ink(*s, "black") for s in spans], em)]

    assert lines("あいうえお東京タワに", 7) == ["あいうえお東京", "タワに"]
    assert lines("あいうえお東京タワに", 7, (5, 9)) == ["あいうえお", "東京タワに"]
    assert lines("あ東京タワに", 4, (1, 5)) == ["あ東京タ", "ワに"], "a span as long as a line must break"
    assert lines("あいう。え", 3) == ["あいう。", "え"]
    assert lines("ab" * 6, 3) == lines("ab" * 6, 3, (0, 12)) and len(lines("ab" * 6, 3)) < 6


def painted(fig) -> list[tuple[str, str]]:
    """(text, colour) of the pieces of the output's and the prompt's blocks, as they are drawn."""
    return [(t.get_text(), t.get_color()) for t in fig.axes[0].texts]


@pytest.mark.parametrize("output", ["‹文芸›固有表現抽出:製品名;a\\:b>c", "文芸/NER/:製品名;a\\:b>c"])
def test_headline_takes_the_places_of_label_and_items_from_the_record(output: str) -> None:
    """Marks of another format, escapes and marks inside a span: nothing is looked for in the output."""
    at = output.index("製品名")
    shown = example(text="彼はa:b>cという。", spans=[(2, 7, "製品名")], prompt="彼はa:b>cという。‹文芸›",
                    prompt_spans=[(11, 15)], output=output, item_spans=[(at, len(output), "製品名")],
                    label="文芸", label_span=(0, 4) if output[0] == "‹" else (0, 2))
    fig = headline.headline(scores("scnm"), shown, SOURCE)
    # A range with a background is written in ink upon it, so that its pieces stand alone.
    assert output[slice(*shown.label_span)] in [t for t, _ in painted(fig)]
    assert "製品名;a\\:b>c" in "".join(t for t, _ in painted(fig))
    assert [t for t, _ in painted(fig)].count("製品名;a\\:b>c") == 1
    assert ("‹文芸›", TINTS[0][1]) in painted(fig), "the option in the prompt"
    assert "output: what it wrote, here all right; how often, see the scores" in texts(fig)


def test_headline_says_all_right_only_where_all_is_right() -> None:
    assert "output: what it wrote" in texts(FIGURES["headline_crowded"]())
    wrong = headline.headline(scores("scnm"), example(label="社会"), SOURCE)
    assert "output: what it wrote" in texts(wrong)


def test_headline_has_no_empty_row_where_no_level_was_trained_alone() -> None:
    six = scores(*SIX)
    assert texts(FIGURES["headline_six"]()).count("one level") == len(SIX)
    alone = six.model_copy(update={"tasks": {
        task: {name: found for name, found in systems.items() if name not in ("text", "words")}
        for task, systems in six.tasks.items()}})
    assert "one level" not in texts(headline.headline(alone, example(), SOURCE))


def test_headline_has_the_crf_of_the_same_documents(tmp_path) -> None:
    run = RunResults(write_run(tmp_path / "r", "scnm", "tcree"))
    assert "CRF" not in texts(next(headline.draw(run))[1])
    for task in ("scnm", "tcree"):
        path = ROOT / "results" / "systems" / "crf" / "open" / f"{task}.json"
        n = max(s.n for s in run.scores.tasks[task].values())
        row = {**read_json(path), "n_test": n, "provenance": run.provenance[task].model_dump(mode="json")}
        write_json(tmp_path / "systems" / "crf" / "open" / f"{task}.json", row)
        # Of one dataset alone it would leave a hole in the other.
        assert texts(next(headline.draw(run))[1]).count("CRF") == (2 if task == "tcree" else 0)
    write_json(tmp_path / "systems" / "crf" / "open" / "scnm.json", {**row, "task": "scnm"})
    assert "CRF" not in texts(next(headline.draw(run))[1]), "another corpus"
    plt.close("all")


def test_drawing_takes_provenance_of_the_example(tmp_path) -> None:
    results = RunResults(write_run(tmp_path / "r", "scnm", "tcree"))
    (_, fig), = headline.draw(results)
    assert any(provenance("scnm")["scnm"].title in " ".join(t.split()) for t in texts(fig))
