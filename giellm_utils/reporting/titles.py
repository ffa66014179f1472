"""TODO"""

from __future__ import annotations

#: Names of metrics and systems, in the order in which tables and figures show them.
METRIC_TITLES = {"tl": "TL, text label", "tl_balanced": "TL, balanced",
                 "wl_exact": "WL, exact", "wl_set": "WL, as a set", "wl_words": "WL, share of words",
                 "all": "ALL, both levels", "all_set": "ALL, as a set",
                 "precision": "word precision", "recall": "word recall", "f1": "word micro-F1",
                 "offset_f1": "offset micro-F1", "format_accuracy": "format accuracy",
                 "invented": "invented spans", "truncated": "truncated"}
MAIN_METRICS = ("tl", "tl_balanced", "wl_exact", "wl_set", "wl_words", "all", "f1", "offset_f1", "format_accuracy")
SYSTEM_TITLES = {"joint": "joint", "text": "text only", "words": "words only", "majority": "majority class",
                 "always_empty": "always empty", "lexicon": "lexicon look-up"}
