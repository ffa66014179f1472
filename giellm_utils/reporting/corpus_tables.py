"""Tables of the data sheets and of the SCPOS rules, from results/corpus: rules.json and statistics.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from giellm_utils.data.registry import TASKS
from giellm_utils.reporting.published import composition_table, statistics_table, tcree_labels
from giellm_utils.reporting.tables import MISSING, percent

Report = Mapping[str, Any]
_SCPOS = tuple(name for name in TASKS if name.startswith("scpos"))
#: Data sheet -> its columns: (heading, task, variant of statistics.json).
SHEETS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "scnm-mini": (("SCNM-mini", "scnm", "embedded"),),
    "scpos-mini": tuple((TASKS[name].title, name, "embedded") for name in _SCPOS),
    "tcree-mini": (("TCREE-mini", "tcree", "embedded"),),
    "scnm-open": (("SCNM-open", "scnm", "open"),),
    "scpos-open": tuple((TASKS[name].title, name, "open") for name in _SCPOS),
    "tcree-open": (("coupled label", "tcree", "open"), ("blind label", "tcree", "open-blind")),
}
#: What data.describe counts where two rules differ -> how a table says it.
_REASONS = {"other_lexicon": "word not in morph's noun list under that polarity",
            "another_label": "same surface, another polarity",
            "other_class": "an adjective or predicate for morph",
            "cuts_token": "cuts a token", "inside_morph_word": "inside or across a longer morph word",
            "condition": "left out by another condition of morph", "other_form": "listed under another form"}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {count:,}" for label, count in counts.items()) or MISSING


def sheet_table(name: str, rules: Report, statistics: Report) -> pd.DataFrame:
    """The facts of one data sheet: a row a fact, a column a dataset of SHEETS[name]."""
    columns = {head: _facts(found) for head, found in _of(name, statistics)}
    return pd.DataFrame(columns).rename_axis("fact").reset_index()


def _of(name: str, statistics: Report) -> list[tuple[str, Report]]:
    return [(head, statistics["datasets"][task][variant]) for head, task, variant in SHEETS[name]]


def _interval(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return MISSING
    return f"{percent(score['value'])} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def _facts(found: Report) -> dict[str, str]:
    splits, distinct, lengths = found["splits"], found["distinct_labels"], found["characters"]
    scores = found["baselines"]
    facts = {
        "train / dev / test": " / ".join(f"{splits[s]:,}" for s in ("train", "dev", "test")),
        "text labels": _counts({label: sum(c.values()) for label, c in found["text_labels"].items()}),
        "words": _counts(found["word_labels"]),
        "word labels used (of)": f"{distinct['word']} ({distinct['word_defined']})",
        "items with words, all / test": " / ".join(map(percent, found["with_words"].values())),
        "words per item, all / test": " / ".join(f"{v:.2f}" for v in found["words_per_item"].values()),
        "characters, mean / median / longest": " / ".join(f"{v:g}" for v in lengths.values()),
        "majority TL (test)": _interval(scores["majority"]["tl"]),
        "majority, balanced TL": _interval(scores["majority"]["tl_balanced"]),
        "always-empty WL": _interval(scores["majority"]["wl_exact"])}
    if "lexicon" in scores:
        facts |= {"lexicon TL": _interval(scores["lexicon"]["tl"]),
                  "lexicon, balanced TL": _interval(scores["lexicon"]["tl_balanced"]),
                  "lexicon WL": _interval(scores["lexicon"]["wl_exact"]),
                  "lexicon word F1": _interval(scores["lexicon"]["f1"])}
    return facts | {"licence of the source": found["licence"]}


def _sources(name: str, rules: Report, statistics: Report) -> pd.DataFrame:
    files = {f["name"]: f["sha256"] for _, found in _of(name, statistics) for f in found["files"]}
    return pd.DataFrame({"file": list(files), "sha256": [f"`{h}`" for h in files.values()]})


def _statistics(source: str, rules: Report, statistics: Report) -> pd.DataFrame:
    table = statistics_table(statistics, source)
    for column in table.columns[1:]:
        shares = column.startswith(("majority", "always", "lexicon")) or column == "with words"
        table[column] = [percent(v) if shares else f"{v:.2f}" if column == "words per item" else f"{v:,}"
                         for v in table[column]]
    return table


def _composition(rules: Report, statistics: Report) -> pd.DataFrame:
    table = composition_table(statistics)
    for column in table.columns[1:]:
        table[column] = [percent(v) if column.startswith("share") else f"{v:,}" for v in table[column]]
    return table


def _agreement_of_labels(rules: Report, statistics: Report) -> pd.DataFrame:
    rows = {name: row for name, row in statistics["agreement"].items() if "kappa" in row}
    return pd.DataFrame([{"passes": name, "items": f"{row['n']:,}", "agreement": percent(row["agreement"]),
                          "Cohen's κ": f"{row['kappa']:.3f}"} for name, row in rows.items()])


def _judges(rules: Report, statistics: Report) -> pd.DataFrame:
    found = statistics["agreement"]["scpos, JRTE judges"]
    return pd.DataFrame([{"distinct polar sentences": f"{found['n']:,}",
                          "judges a sentence": " or ".join(found["judges"]),
                          "unanimous": percent(found["unanimous"])}])


def _rules(corpus: str, rules: Report, statistics: Report) -> pd.DataFrame:
    found = rules["corpora"][corpus]
    return pd.DataFrame([{
        "rule": name, "words": f"{r['words']:,}", "by label": _counts(r["by_label"]),
        "sentences with a word": f"{r['sentences_with_word']:,} of {found['sentences']:,}",
        "share": percent(r["share_with_word"]), "words per sentence": f"{r['words_per_sentence']:.2f}",
        "not whole tokens": f"{r['not_whole_tokens']:,}"} for name, r in found["rules"].items()])


def _rule_agreement(corpus: str, rules: Report, statistics: Report) -> pd.DataFrame:
    found = rules["corpora"][corpus]["agreement"]
    return pd.DataFrame([{
        "scan rule against morph:scpos-n": name, "in both": f"{a['common']:,}",
        "scan only": f"{sum(a['only_scan'].values()):,}", "morph only": f"{sum(a['only_morph'].values()):,}",
        "word F1": f"{a['f1']:.3f}", "scan's words found by morph": percent(a["scan_words_found_by_morph"]),
        "morph's words found by scan": percent(a["morph_words_found_by_scan"]),
        "sentences that differ": percent(a["sentences_differ"])} for name, a in found.items()])


def _reasons(corpus: str, rules: Report, statistics: Report) -> pd.DataFrame:
    found = rules["corpora"][corpus]["agreement"]
    rows = [(side, reason) for side in ("only_scan", "only_morph") for reason in _REASONS
            if any(reason in a[side] for a in found.values())]
    return pd.DataFrame([{"found by": side.removeprefix("only_") + " only", "why": _REASONS[reason],
                          **{name: f"{a[side].get(reason, 0):,}" for name, a in found.items()}}
                         for side, reason in rows])


def _sampling(rules: Report, statistics: Report) -> pd.DataFrame:
    def said(found: Mapping[str, Any]) -> str:
        return f"{found['with_word']:,} of {found['sentences']:,} ({percent(found['share'])})"

    return pd.DataFrame([{"set": TASKS[name].title, "split": split, "natural": said(found["natural"]),
                          "sampled": said(found["sampled"])}
                         for name, splits in rules["corpora"]["jrte"]["sampling"].items()
                         for split, found in splits.items()])


#: Name in a document -> table of (rules.json, statistics.json).
TABLES: dict[str, Callable[[Report, Report], pd.DataFrame]] = {
    **{f"sheet:{name}": partial(sheet_table, name) for name in SHEETS},
    **{f"sources:{name}": partial(_sources, name) for name in SHEETS},
    **{f"statistics:{source}": partial(_statistics, source) for source in ("open", "embedded")},
    **{f"rules:{corpus}": partial(_rules, corpus) for corpus in ("mini", "jrte")},
    **{f"rule-agreement:{corpus}": partial(_rule_agreement, corpus) for corpus in ("mini", "jrte")},
    **{f"reasons:{corpus}": partial(_reasons, corpus) for corpus in ("mini", "jrte")},
    "composition": _composition, "label-agreement": _agreement_of_labels, "judges": _judges,
    "sampling": _sampling,
    "tcree-labels": lambda rules, statistics: tcree_labels(statistics),
}
