"""What a drawn figure holds, and that nothing in it overlaps or leaves it."""

from __future__ import annotations

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


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


def assert_nothing_overlaps(fig: Figure) -> None:
    """No two texts overlap and none leaves the figure."""
    boxes = shown_boxes(fig)
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1
        assert inside, f"{text!r} leaves the figure"
    for (a, box_a), (b, box_b) in itertools.combinations(boxes, 2):
        width = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
        height = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
        # Boxes hold the font's whole line height, so that a few pixels of touching show nothing.
        assert width <= 1.5 or height <= 3, f"{a!r} and {b!r} overlap by {width:.1f} x {height:.1f} px"
