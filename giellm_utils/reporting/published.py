"""The paper's numbers as data; beside_paper puts ours beside them.

Everything was copied from GIELLM (arXiv 2311.06838) as it is held here. The accuracy table of that copy lost
columns and shifted headers, so every cell keeps the level that is *printed* above it and the level
that is *inferred* from the other tables; `note` says from what. A cell that is lost is None, a word of
the paper that is unknown is UNKNOWN: nothing is guessed. Accuracies are percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from giellm_utils.data.registry import TASKS

PaperLevel = Literal["TL", "WL", "ALL"]
Header = Literal["printed", "inferred"]
LEVELS: tuple[PaperLevel, ...] = ("TL", "WL", "ALL")
UNKNOWN = "unknown"
SOURCE = "Gan, Zhang, Mori 2023, GIELLM, arXiv 2311.06838"
CLAIM = "GIELLM outperforms other models in 14 of 18 accuracy metrics across six datasets."
GIELLM_SYSTEMS = ("GIELLM-7B", "GIELLM-13B", "GIELLM-13B-JP")
SYSTEMS = ("SLG Framework", "USA-7B", "GPT-3.5-Turbo", *GIELLM_SYSTEMS)
_TCREE_TL = ("inferred TL (?): SLG's cell equals the joint TL of the MRE table, though WL is printed above "
             "it")
_TCREE_WL = ("inferred WL (?): SLG's cell equals the joint WL of the MRE table, though ALL is printed above "
             "it; the ALL column is lost")
_LOST = "one of the row's three cells is lost"
_NADJ_TL = ("inferred TL (?): beside SCPOS:N it is TL in every row, though WL is printed above it; " + _LOST)
_NADJ_ALL = f"inferred ALL (?): beside SCPOS:N this row's value is like ALL; {_LOST}"
_NADJ_WL = ("inferred WL (?): beside SCPOS:N this row's value is like WL, though ALL is printed above it; "
            + _LOST)
#: What the numbers say beyond the text; inferred by us, each checked in the tests.
INFERRED = (
    "SCNM and TCREE: ALL is about TL x WL, so WL there is the exact match of a whole item.",
    "SCPOS:RW and SCPOS:N: ALL is far below TL x WL, so WL there is counted per word; its exact formula is "
    "unknown. SCPOS:Adj lies in between.",
    "Every TL- and ALL-like cell of SCPOS:N, Adj and N&Adj is a multiple of 1/3000 up to rounding (6.86 "
    "only if it was cut off, not rounded): about 3,000 items were probably scored, not 187,028.",
    "A GIELLM model is best in 12 of the 16 printed columns; on SCNM all three belong to the SLG Framework.")


@dataclass(frozen=True)
class Accuracy:
    """One cell of the accuracy table: percent, or None where the paper prints a dash.

    `printed` is the level in the header as printed, `inferred` as it must be read; `note` is empty
    where the two are the same and nothing was inferred.
    """

    system: str
    task: str
    printed: PaperLevel
    inferred: PaperLevel
    value: float | None
    note: str = ""


@dataclass(frozen=True)
class DatasetSize:
    """Sequences of one dataset in the paper and where its texts come from. `task` is our name for it."""

    task: str
    train: int
    test: int
    text: str


@dataclass(frozen=True)
class TrainingSetting:
    """How the paper trained each of its models: all of them fully, on all six datasets mixed.

    `bases`: system -> base model; `batch_size` is that of one device.
    """

    bases: Mapping[str, str]
    devices: int
    device: str
    epochs: int
    learning_rate: float
    batch_size: int


@dataclass(frozen=True)
class FormatAccuracy:
    """Share of well-formed outputs without and with SLG's Constraint Mechanism, percent, and whose it is."""

    free: float
    constrained: float
    source: str


@dataclass(frozen=True)
class MreResult:
    """A row of the paper's MRE table (TCREE): percent; None for a level that the training has not.

    The joint row equals the SLG Framework's TCREE row of the accuracy table, hence `note`.
    """

    training: str
    tl: float | None
    wl: float | None
    all: float | None
    note: str = "inferred: most likely measured on the SLG Framework, whose TCREE row the joint row equals"


#: (task, printed level, inferred level, note) of the columns that every row reads alike.
_COLUMNS: tuple[tuple[str, PaperLevel, PaperLevel, str], ...] = (
    *((task, level, level, "") for task in ("scnm", "scpos-rw", "scpos-n", "scpos-adj")
      for level in ("TL", "WL", "ALL")),
    ("tcree", "WL", "TL", _TCREE_TL), ("tcree", "ALL", "WL", _TCREE_WL))
_ROWS: dict[str, tuple[float | None, ...]] = {
    "SLG Framework": (88.89, 81.96, 72.41, 88.21, 55.57, 17.28, 89.50, 27.62, 3.00, 83.00, 73.84, 52.47,
                      96.49, 73.12),
    "USA-7B": (None, None, None, 89.60, 56.32, 18.10, 91.50, 62.41, 6.86, 92.17, 64.94, 50.90, None, None),
    "GPT-3.5-Turbo": (49.46, 11.87, 6.97, 53.60, 14.99, 1.60, 73.83, 10.44, 0.23, 78.83, 15.45, 9.87,
                      80.02, 7.33),
    "GIELLM-7B": (85.70, 63.16, 54.29, 86.31, 66.90, 25.37, 92.10, 58.33, 4.60, 91.6, 75.71, 58.8,
                  97.19, 77.01),
    "GIELLM-13B": (85.06, 54.06, 45.96, 83.33, 65.25, 24.75, 90.13, 68.28, 9.80, 91.9, 77.58, 60.70,
                   94.58, 74.90),
    "GIELLM-13B-JP": (86.44, 62.95, 54.43, 85.83, 67.62, 26.15, 92.43, 49.63, 4.43, 93.47, 78.71, 63.33,
                      97.49, 78.51),
}
#: SCPOS:N&Adj, printed under WL and ALL: (first cell, second cell, what the second is read as).
_N_ADJ: dict[str, tuple[float, float, PaperLevel]] = {
    "SLG Framework": (87.30, 1.60, "ALL"), "USA-7B": (90.20, 3.97, "ALL"),
    "GPT-3.5-Turbo": (73.20, 0.13, "ALL"), "GIELLM-7B": (92.27, 54.23, "WL"),
    "GIELLM-13B": (90.43, 63.98, "WL"), "GIELLM-13B-JP": (93.2, 48.04, "WL")}


def _accuracies() -> tuple[Accuracy, ...]:
    cells = [Accuracy(system, *column[:3], value, column[3]) for system, row in _ROWS.items()
             for column, value in zip(_COLUMNS, row, strict=True)]
    for system, (first, second, read_as) in _N_ADJ.items():
        cells += [Accuracy(system, "scpos-n-adj", "WL", "TL", first, _NADJ_TL),
                  Accuracy(system, "scpos-n-adj", "ALL", read_as, second,
                           _NADJ_ALL if read_as == "ALL" else _NADJ_WL)]
    order = {name: i for i, name in enumerate(TASKS)}
    return tuple(sorted(cells, key=lambda c: (SYSTEMS.index(c.system), order[c.task])))


#: Every printed cell, system by system, datasets in the paper's order.
ACCURACIES: tuple[Accuracy, ...] = _accuracies()
_MARC = "MARC-ja (no longer distributed by its owner)"
SIZES: tuple[DatasetSize, ...] = (
    DatasetSize("scnm", 1000, 4343, "Stockmark ner-wikipedia-dataset, with a sentence class"),
    DatasetSize("scpos-rw", 1000, 1000, _MARC),
    DatasetSize("scpos-n", 500, 187028, _MARC),
    DatasetSize("scpos-adj", 500, 187028, _MARC),
    DatasetSize("scpos-n-adj", 500, 187028, _MARC),
    DatasetSize("tcree", 1000, 1000, "livedoor news, by the authors' credits"))
MRE: tuple[MreResult, ...] = (
    MreResult("joint", 96.49, 73.12, 71.72),
    MreResult("text classification alone", 95.89, None, None),
    MreResult("extraction alone", None, 58.73, None))

#: From the paper's section on training.
TRAINING = TrainingSetting(dict(zip(GIELLM_SYSTEMS, ("LLaMA2-7B", "LLaMA2-13B", "LLM-jp-13B"), strict=True)),
                           8, "A800 80 GB", 3, 1e-5, 1)
#: From the summary of an earlier paper; nothing that is held of GIELLM gives its own format accuracy.
FORMAT_ACCURACY = FormatAccuracy(63.61, 100.0, "Gan, Zhang, Mori 2023, SLG, arXiv 2306.15978")
#: Every Japanese Instruction Word that was seen, in the model cards of GIELLM and of USA.
INSTRUCTION_WORDS = ("固有表現抽出", "POS")


# -- as frames -----------------------------------------------------------------------------------------


def accuracy_cells() -> pd.DataFrame:
    """One row a printed cell: system, task, printed, inferred, value (percent, NaN for a dash), note."""
    return pd.DataFrame(map(asdict, ACCURACIES)).astype({"value": float})


def accuracy_table(header: Header) -> pd.DataFrame:
    """Systems by (dataset title, level), percent; the levels as printed or as inferred.

    16 columns as printed, 17 as inferred (the last cell of SCPOS:N&Adj is read as ALL in three rows and
    as WL in the other three). NaN where the paper prints a dash or the cell is lost.
    """
    cells = accuracy_cells()
    table = cells.pivot(index="system", columns=["task", header], values="value").reindex(list(SYSTEMS))
    columns = [(task, level) for task in TASKS for level in ("TL", "WL", "ALL") if (task, level) in table]
    table = table[columns]
    table.columns = pd.MultiIndex.from_tuples([(TASKS[t].title, level) for t, level in columns],
                                              names=["dataset", header])
    return table


def size_table() -> pd.DataFrame:
    """The paper's dataset sizes: dataset, train, test, text."""
    return pd.DataFrame([{"dataset": TASKS[s.task].title, "train": s.train, "test": s.test, "text": s.text}
                         for s in SIZES])


def mre_table() -> pd.DataFrame:
    """The paper's MRE table on TCREE: training, TL, WL, ALL (percent, NaN where none), note."""
    table = pd.DataFrame(map(asdict, MRE)).astype({"tl": float, "wl": float, "all": float})
    return table.rename(columns={"tl": "TL", "wl": "WL", "all": "ALL"})


# -- beside ours: the paper's displays that concern data -------------------------------------------------


def composition_table(statistics: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The mix of 4,500 training sequences: dataset, the paper's sequences and share, total last.

    With `statistics` (results/corpus/statistics.json) ours stand beside: train with dev, open and
    embedded.
    """
    table = pd.DataFrame({"dataset": [TASKS[s.task].title for s in SIZES],
                          "paper": [s.train for s in SIZES]})
    for source in ("open", "embedded") if statistics else ():
        splits = [statistics["datasets"][s.task][source]["splits"] for s in SIZES]
        table[f"ours, {source}"] = [s["train"] + s["dev"] for s in splits]
    total = {"dataset": "total", **table.drop(columns="dataset").sum().to_dict()}
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    table.insert(2, "share of the paper's mix", table["paper"] / total["paper"])
    return table


def statistics_table(statistics: Mapping[str, Any], source: str = "open") -> pd.DataFrame:
    """The six datasets: the paper's sizes, then ours from statistics.json, one row a dataset.

    `source` is open or embedded. Shares are 0 to 1 and, like the baselines, of the test split;
    the lexicon columns are NaN for datasets without a lexicon rule.
    """
    rows = []
    for size in SIZES:
        ours = statistics["datasets"][size.task][source]
        baselines = ours["baselines"]
        rows.append({
            "dataset": TASKS[size.task].title, "paper train": size.train, "paper test": size.test,
            **{split: ours["splits"][split] for split in ("train", "dev", "test")},
            "with words": ours["with_words"]["test"], "words per item": ours["words_per_item"]["test"],
            "characters": ours["characters"]["mean"],
            "majority TL": _value(baselines, "majority", "tl"),
            "majority balanced TL": _value(baselines, "majority", "tl_balanced"),
            "always-empty WL": _value(baselines, "majority", "wl_exact"),
            "lexicon TL": _value(baselines, "lexicon", "tl"),
            "lexicon balanced TL": _value(baselines, "lexicon", "tl_balanced"),
            "lexicon WL": _value(baselines, "lexicon", "wl_exact"),
            "lexicon word F1": _value(baselines, "lexicon", "f1")})
    return pd.DataFrame(rows)


def _value(baselines: Mapping[str, Any], system: str, metric: str) -> float:
    found = baselines.get(system)
    return float("nan") if found is None else found[metric]["value"]


def tcree_labels(statistics: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """TCREE's labels: level, label, the paper's (unknown throughout), with `statistics` how often each
    stands in our open and embedded sets (train, dev and test)."""
    task = TASKS["tcree"]
    levels = [("text class", task.text_labels), *((part.kind, part.labels) for part in task.parts)]
    table = pd.DataFrame([(level, label, UNKNOWN) for level, labels in levels for label in labels],
                         columns=["level", "our label", "paper's label"])
    for source in ("open", "embedded") if statistics else ():
        found = statistics["datasets"]["tcree"][source]
        counts = {**{k: sum(v.values()) for k, v in found["text_labels"].items()}, **found["word_labels"]}
        table[f"in {source}"] = [counts.get(label, 0) for label in table["our label"]]
    return table
