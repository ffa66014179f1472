"""Every figure from small synthetic data: glyphs, overlaps, files, content."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text

from giellm_utils.reporting.figures import accuracy
from giellm_utils.reporting.figures import composition
from giellm_utils.reporting.figures import confusion
from giellm_utils.reporting.figures import effects
from giellm_utils.reporting.figures import loss_curves
from giellm_utils.reporting.figures import per_label_f1
from giellm_utils.reporting.figures import token_cost
from giellm_utils.reporting.figures.headline import _lines, Ink
from giellm_utils.reporting.figures.style import FONT, FONT_FILE, system_rows, wrap

SOURCE = ("SCNM, embedded mini corpus (machine-written, stand-in) · Gemma-3-270M, dequantised from "
          "third-party Q4_K_M · LoRA")
SIX = ["scnm", "scpos-rw", "scpos-n", "scpos-adj", "scpos-n-adj", "tcree"]
TEXT_LABELS = ["社会", "文芸", "学問", "技術", "自然"]
ENTITIES = ["人名", "法人名", "政治的組織名", "その他の組織名", "地名", "施設名", "製品名", "イベント名"]
LEVELS = ("joint", "text", "words")


@pytest.fixture(autouse=True)
def strict_glyphs():
    """A glyph that no font has is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*[Gg]lyph.*missing.*")
        yield
    assert not plt.get_fignums(), "a figure was left open: notebooks would show it twice"


def share(value: float, n: int = 75) -> dict:
    return {"value": value, "low": max(0, value - 0.08), "high": min(1, value + 0.08), "n": n}


def systems() -> dict:
    """One task's systems, shaped as metrics.evaluate and evaluation.with_baselines leave them."""
    words = {m: share(v) for m, v in (("wl_exact", .44), ("wl_set", .46), ("wl_words", .7), ("f1", .71))}
    floor = {m: share(.09) for m in ("wl_exact", "wl_set", "wl_words")} | {"f1": share(0)}
    return {
        "joint": {"n": 75, "all": {"tl": share(.87), "all": share(.38), **words}, "confusion": None},
        "text": {"n": 75, "all": {"tl": share(.88), "all": None, **dict.fromkeys(words)}},
        "words": {"n": 75, "all": {"tl": None, "all": None, **words}},
        "majority": {"all": {"tl": share(.65), "all": share(.06), **floor}},
        "always_empty": {"all": {"tl": None, **floor}},
    }


def stats(texts: list[str], words: list[str]) -> dict:
    return {"splits": {"train": 172, "dev": 19, "test": 64},
            "text_labels": {t: {"train": 30 + i, "dev": i, "test": 12} for i, t in enumerate(texts)},
            "word_labels": {w: 40 - i for i, w in enumerate(words)},
            "lengths": list(range(18, 70)) + [40] * 9, "items_per_text": [0, 0, 1, 1, 1, 2, 3, 5]}


def cost(k: int) -> dict:
    return {level: {"prompt": [50, 60 + k, 41], "target": [t, t + 9, 3]} for level, t in
            zip(LEVELS, (28, 3, 24), strict=True)}


def history(jobs: list[str], steps: int = 60) -> pd.DataFrame:
    step = np.arange(1, steps + 1)
    loss = 0.3 + 5 * np.exp(-step / 9)
    dev = np.where(step % 20 == 0, loss + 0.1, np.nan)
    return pd.concat(pd.DataFrame({"job": j, "step": step, "loss": loss, "dev_loss": dev}) for j in jobs)


def effect(task: str) -> list[dict]:
    return [{"task": task, "metric": m, "difference": d, "low": d - .05, "high": d + .05, "verdict": v}
            for m, d, v in (("tl", .02, "undecided"), ("wl_exact", -.09, "lower"), ("f1", .07, "higher"))]


def label_scores(labels: list[str]) -> dict:
    return {label: {"f1": share(.3 + .04 * i), "precision": share(.5), "recall": .2, "support": 5 + i}
            for i, label in enumerate(labels)}


def example() -> dict:
    text = "入来院朔は鹿児島県を旅し、緑風環境党の党首と『硝子の畦道』について三ツ池小学校で語り合った。"
    spans = [[text.index(s), text.index(s) + len(s), label] for s, label in (
        ("入来院朔", "人名"), ("鹿児島県", "地名"), ("緑風環境党", "政治的組織名"), ("硝子の畦道", "製品名"),
        ("三ツ池小学校", "施設名"))]
    options = "".join(f"<{label}>" for label in TEXT_LABELS)
    return {"text": text, "label": "文芸", "spans": spans, "prompt": f"{text}{options}固有表現抽出",
            "output": "<文芸>固有表現抽出" + "".join(f":{n};{text[a:b]}" for a, b, n in spans)}


def crowded() -> dict:
    """Tags wider than their spans, side by side, and the last one near the edge."""
    text = "同社のAI「Mini-7B」は東京、大阪、京都で使われている。"
    spans = [[3, 5, "その他の組織名"], [6, 13, "製品名"], [15, 17, "政治的組織名"],
             [18, 20, "その他の組織名"], [21, 23, "その他の組織名"]]
    return {"text": text, "label": "社会", "spans": spans, "prompt": text + "<社会><文芸>固有表現抽出",
            "output": "<社会>固有表現抽出:無い;"}


MATRIX = [[30, 2, 1, 0, 0, 1], [1, 9, 0, 0, 1, 0], [0, 0, 7, 2, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1200]]
FIGURES = {
    "composition": lambda: composition.composition("scnm", stats(TEXT_LABELS, ENTITIES), SOURCE),
    "composition_two": lambda: composition.composition("scpos-n", stats(["積極", "消極"], ["中立"]), SOURCE),
    "composition_many": lambda: composition.composition(
        "tcree", stats(TEXT_LABELS, [f"{e}{i}" for e in ENTITIES for i in range(6)]), SOURCE),
    "token_cost": lambda: token_cost.token_cost({"scnm": cost(0)}, SOURCE),
    "token_cost_six": lambda: token_cost.token_cost({t: cost(i) for i, t in enumerate(SIX)}, SOURCE),
    "loss_curves": lambda: loss_curves.loss_curves(history(list(LEVELS)), SOURCE),
    "loss_curves_one": lambda: loss_curves.loss_curves(history(["joint"], 4), SOURCE),
    "accuracy": lambda: accuracy.accuracy({"tasks": {"scnm": systems()}}, SOURCE),
    "accuracy_six": lambda: accuracy.accuracy({"tasks": {t: systems() for t in SIX}}, SOURCE),
    "confusion": lambda: confusion.confusion({"labels": TEXT_LABELS, "matrix": MATRIX}, "scnm, joint", SOURCE),
    "per_label_f1": lambda: per_label_f1.per_label_f1(label_scores(ENTITIES), SOURCE),
    "effects": lambda: effects.effects(effect("scnm"), SOURCE),
    "effects_six": lambda: effects.effects([e for t in SIX for e in effect(t)], SOURCE),
    "headline": lambda: composition.headline({"tasks": {"scnm": systems()}}, example(), SOURCE),
    "headline_crowded": lambda: composition.headline({"tasks": {"scnm": systems()}}, crowded(), SOURCE),
    "headline_six": lambda: composition.headline({"tasks": {t: systems() for t in SIX}}, example(), SOURCE),
}


def texts(fig: Figure) -> list[str]:
    return [t.get_text() for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]


def shown_boxes(fig: Figure) -> list[tuple[str, object]]:
    """(text, box in pixels) of every text that is drawn; ticks outside the axes are not."""
    renderer = FigureCanvasAgg(fig).get_renderer()
    hidden = {label for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)
              for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
              if not ax.axison or not min(axis.get_view_interval()) <= tick.get_loc() <= max(
                  axis.get_view_interval()) for label in (tick.label1, tick.label2)}
    return [(t.get_text(), t.get_window_extent(renderer)) for t in fig.findobj(Text)
            if t.get_visible() and t.get_text().strip() and t not in hidden]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_all_glyphs_its_source_and_no_overlap(name: str) -> None:
    fig = FIGURES[name]()
    boxes = shown_boxes(fig)
    assert any(re.sub(r"\s+", " ", text) == f"Source: {SOURCE}" for text, _ in boxes)
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1, \
            f"{text!r} leaves the figure"
    for (a, box_a), (b, box_b) in itertools.combinations(boxes, 2):
        width = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
        height = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
        # Boxes hold the font's whole line height, so that a few pixels of touching show nothing.
        assert width <= 1.5 or height <= 3, f"{a!r} and {b!r} overlap by {width:.1f} x {height:.1f} px"


def test_the_overlap_check_can_fail() -> None:
    fig = FIGURES["token_cost"]()
    fig.text(0.012, 0.98, "over the title", va="top")
    boxes = shown_boxes(fig)
    (_, box), (_, title) = (next(b for b in boxes if b[0].startswith(t)) for t in ("over", "Tokens"))
    assert min(box.y1, title.y1) - max(box.y0, title.y0) > 3


@pytest.mark.parametrize("name", ["confusion", "headline"])
def test_saved_files_are_the_same_bytes_every_time(name: str, tmp_path) -> None:
    first = composition.save(FIGURES[name](), tmp_path / "a", "図")
    second = composition.save(FIGURES[name](), tmp_path / "b", "図")
    assert [p.name for p in first] == ["図.png", "図.svg"]
    assert sorted(tmp_path.joinpath("a").iterdir()) == first
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    svg = first[1].read_text(encoding="utf-8")
    assert "<text" not in svg and "dc:date" not in svg and str(tmp_path) not in svg
    assert first[0].read_bytes().startswith(b"\x89PNG")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    fig = FIGURES["token_cost"]()
    (tmp_path / "x.png").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        composition.save(fig, tmp_path, "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"] and (tmp_path / "x.png").read_text() == "old"


def test_headline_is_1600_by_900_pixels(tmp_path) -> None:
    png, _ = composition.save(FIGURES["headline"](), tmp_path, "h")
    assert plt.imread(png).shape[:2] == (900, 1600)


def test_japanese_font_is_the_installed_one() -> None:
    assert findfont(FontProperties(family=FONT), fallback_to_default=False) == FONT_FILE
    assert FONT_FILE.endswith("ipaexg.ttf") and "matplotlib_fontja" in FONT_FILE


def test_a_missing_glyph_would_be_noticed() -> None:
    with pytest.raises(UserWarning, match="[Gg]lyph"):
        effects.effects(effect("\U0001F9FF\U00020BB7"), SOURCE)
    plt.close("all")


def test_accuracy_writes_values_and_leaves_out_what_a_system_lacks() -> None:
    found = texts(FIGURES["accuracy"]())
    assert "87.0 [79.0, 95.0]" in found and found.count("text only") == 1 and "scnm  (n = 75)" in found
    assert [r.label for r in system_rows(systems(), "f1")] == ["joint", "words only", "always empty"]
    assert [r.label for r in system_rows(systems(), "tl")] == ["joint", "text only", "majority class"]
    without = {k: v for k, v in systems().items() if k != "always_empty"}
    assert [r.label for r in system_rows(without, "f1")][-1] == "always empty"
    assert [r.label for r in system_rows(without, "all")] == ["joint", "majority class"]
    assert system_rows({"slg": {"all": {"tl": share(.5)}}}, "tl")[0].label == "slg"


def test_effects_show_undecided_hollow_and_the_sign() -> None:
    fig = FIGURES["effects"]()
    points = [line for line in fig.axes[0].lines if line.get_marker() in ("o", "s")]
    assert [p.get_markerfacecolor() == "#ffffff" for p in points] == [True, False, False]
    assert "+2.0 [−3.0, +7.0]   undecided" in texts(fig)
    assert "−9.0 [−14.0, −4.0]   joint worse" in texts(fig)
    nothing = effects.effects([{**effect("a")[0], "difference": 0.0, "low": -0.0, "high": 0.0}], SOURCE)
    assert "0.0 [0.0, 0.0]   undecided" in texts(nothing)
    assert effects.effects([{**effect("a")[0], "low": None}], SOURCE).axes[0].get_xlim() == (-1, 1)


def test_confusion_normalises_rows_and_names_the_extra_column() -> None:
    fig = FIGURES["confusion"]()
    shares = fig.axes[0].images[0].get_array()
    assert shares.shape == (5, 6) and shares[0, 0] == pytest.approx(30 / 34) and not shares[3].any()
    assert "no\nlabel" in texts(fig) and "1,200\n100 %" in texts(fig)
    square = confusion.confusion({"labels": ["積極", "消極"], "matrix": [[3, 1], [0, 4]]}, "t", SOURCE)
    assert "no\nlabel" not in texts(square)


def test_composition_sums_the_rare_labels() -> None:
    assert "17 more labels" in texts(FIGURES["composition_many"]())


def test_loss_curves_draw_without_dev_loss_and_at_zero() -> None:
    frame = history(["joint"], 5).assign(dev_loss=np.nan, loss=0.0)
    assert not any("best dev" in t for t in texts(loss_curves.loss_curves(frame, SOURCE)))


def test_wrap_counts_wide_characters_twice() -> None:
    assert wrap("あい うえ ab", 10) == "あい うえ\nab"
    assert wrap("あいうえおかきくけこ b", 4) == "あいうえおかきくけこ\nb"


def test_headline_lines_keep_spans_whole_and_hang_closing_marks() -> None:
    def lines(text: str, em: float, *spans: tuple[int, int]) -> list[str]:
        return [text[a:b] for a, b in _lines(text, [Ink(*s, "black") for s in spans], em)]

    assert lines("あいうえお東京タワに", 7) == ["あいうえお東京", "タワに"]
    assert lines("あいうえお東京タワに", 7, (5, 9)) == ["あいうえお", "東京タワに"]
    assert lines("あ東京タワに", 4, (1, 5)) == ["あ東京タ", "ワに"], "a span as long as a line must break"
    assert lines("あいう。え", 3) == ["あいう。", "え"]
    assert lines("ab" * 6, 3) == lines("ab" * 6, 3, (0, 12)) and len(lines("ab" * 6, 3)) < 6
