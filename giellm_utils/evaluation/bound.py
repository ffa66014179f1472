"""How far one level is predictable from the other in gold alone: it bounds what reinforcement can be.

A plain classifier (logistic regression, its penalty chosen by cross-validation on train) reads the gold
words and predicts the text label; beside it the same classifier on the text, and on both: words that add
nothing to the text leave nothing to reinforce. The other way round: the distribution of word labels, with
and without knowing the gold class.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from giellm_utils.core.mre_report import Predictability, TaskBound, WordLabels
from giellm_utils.core.schema import Record
from giellm_utils.evaluation.bootstrap import ratio_interval
from giellm_utils.evaluation.paired import paired_difference

FOLDS = 5
PENALTIES = (0.1, 1.0, 10.0, 100.0)
#: Added to every count of a word label, so that none is impossible.
SMOOTHING = 0.5
SEED = 42


def bound(name: str, train: Sequence[Record], test: Sequence[Record]) -> TaskBound:
    """Both directions for one dataset; `word_labels` is None where test has no gold word."""
    gold = [r.label for r in test]
    majority = Counter(r.label for r in train).most_common(1)[0][0]
    predicted = {"majority": [majority] * len(test),
                 **{source: _classify(read(), train, test) for source, read in SOURCES.items()}}
    right = {source: np.array([a == b for a, b in zip(gold, labels, strict=True)], float)
             for source, labels in predicted.items()}
    ones = np.ones(len(gold))
    return TaskBound(task=name, train=len(train), test=len(test),
                     text_label=[_accuracy(source, found) for source, found in right.items()],
                     gain=paired_difference(right["text and words"], ones, right["text"], ones, seed=SEED),
                     word_labels=_word_labels(train, test))


def word_labels(record: Record) -> dict[str, int]:
    """Counts of its word labels, and of words at all."""
    return Counter([f"{w.kind};{w.label}" for w in record.words] + ["word"] * len(record.words))


def words(record: Record) -> str:
    """Its words as a line: a token a word label and surface."""
    return "\n".join(f"{item.label};{surface}" for item in record.items() for surface in item.surfaces)


def _labels_reader():
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

    return make_pipeline(FunctionTransformer(_each(word_labels)), DictVectorizer(), MaxAbsScaler())


def _characters(read: Callable[[Record], str]):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(_each(read)),
                         TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True))


def _words_reader():
    """Word labels, and characters of the surfaces."""
    from sklearn.pipeline import make_union

    return make_union(_labels_reader(), _characters(words))


def _text_reader():
    return _characters(lambda record: record.text)


def _both_reader():
    from sklearn.pipeline import make_union

    return make_union(_words_reader(), _text_reader())


#: What the text label is predicted from.
SOURCES = {"word labels": _labels_reader, "words": _words_reader, "text": _text_reader,
           "text and words": _both_reader}


def _each(read: Callable[[Record], object]) -> Callable[[Sequence[Record]], list]:
    return lambda records: [read(r) for r in records]


def _classify(reader, train: Sequence[Record], test: Sequence[Record]) -> list[str]:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import KFold

    features = reader.fit_transform(list(train))
    # One penalty starts where the one before ended: several times as fast as a grid search.
    model = LogisticRegressionCV(Cs=list(PENALTIES), cv=KFold(FOLDS, shuffle=True, random_state=SEED),
                                 scoring="accuracy", max_iter=2000)
    with warnings.catch_warnings():
        # Of attributes that will change their shape, which nothing here reads.
        warnings.simplefilter("ignore", FutureWarning)
        model.fit(features, [r.label for r in train])
    return list(model.predict(reader.transform(list(test))))


def _accuracy(source: str, right: np.ndarray) -> Predictability:
    found = ratio_interval(right, np.ones(len(right)), seed=SEED)
    return Predictability(of="text label", source=source, accuracy=found.value, low=found.low,
                          high=found.high)


def _word_labels(train: Sequence[Record], test: Sequence[Record]) -> WordLabels | None:
    known, asked = ([(r.label, f"{w.kind};{w.label}") for r in records for w in r.words]
                    for records in (train, test))
    if not known or not asked:
        return None
    labels = sorted({label for _, label in known + asked})
    overall = _shares([label for _, label in known], labels)
    by_class = {c: _shares([label for k, label in known if k == c], labels)
                for c in {c for c, _ in known + asked}}
    bits, right = {}, {}
    for name, shares in (("", lambda c: overall), ("_given_class", by_class.get)):
        bits[name] = -np.mean([np.log2(shares(c)[label]) for c, label in asked])
        right[name] = np.mean([max(labels, key=shares(c).get) == label for c, label in asked])
    return WordLabels(words=len(asked), **{f"bits{k}": round(float(v), 6) + 0.0 for k, v in bits.items()},
                      **{f"accuracy{k}": round(float(v), 6) for k, v in right.items()})


def _shares(found: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    count = Counter(found)
    total = len(found) + SMOOTHING * len(labels)
    return {label: (count[label] + SMOOTHING) / total for label in labels}
