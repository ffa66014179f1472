"""What metrics are called in tables and figures, in the order in which these show them."""

from __future__ import annotations

METRIC_TITLES = {"tl": "TL, text label", "tl_balanced": "TL, balanced",
                 "wl_exact": "WL, exact", "wl_set": "WL, as a set", "wl_words": "WL, share of words",
                 "all": "ALL, both levels", "all_set": "ALL, as a set",
                 "precision": "word precision", "recall": "word recall", "f1": "word micro-F1",
                 "offset_f1": "offset micro-F1", "format_accuracy": "format accuracy",
                 "invented": "invented spans", "truncated": "truncated"}
#: Columns of a table that shows one dataset in full, and of one that shows several.
MAIN_METRICS = ("tl", "tl_balanced", "wl_exact", "wl_set", "wl_words", "all", "f1", "offset_f1",
                "format_accuracy")
FEW_METRICS = ("tl", "wl_exact", "all", "f1")


def metric_title(name: str) -> str:
    """How a metric is called; its bare name where it has no title."""
    return METRIC_TITLES.get(name, name.replace("_", " "))
