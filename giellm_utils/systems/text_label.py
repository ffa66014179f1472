"""The text label by logistic regression on character n-grams: what a user without a language model picks.

Japanese needs no segmentation for it: tf-idf of all n-grams up to a length, one linear classifier
(scikit-learn). Shared by the systems that find words in another way and have no classifier of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from giellm_utils.core.schema import Record
from giellm_utils.systems.choice import choose, halves, Setting
from giellm_utils.systems.floors import NotFittedError

#: Longest n-gram and inverse regularisation; the same for every task, chosen on dev. The first counts in ties
#: and without dev.
GRID: tuple[Setting, ...] = tuple({"ngrams": n, "C": c} for n in (3, 5) for c in (10.0, 1.0, 100.0))


class TextLabel:
    """Text label of a text; `settings` is what was chosen, with its accuracy on dev."""

    def __init__(self) -> None:
        self._model: Any = None
        self.settings: Setting = {}

    def fit(self, records: Sequence[Record]) -> None:
        """Choose on dev, then learn from all records; raises ValueError without records."""
        if not records:
            raise ValueError("the text label needs train records to learn from, but there are none")
        train, dev = halves(records)

        def accuracy(setting: Setting) -> float:
            model = _fitted(train, setting)
            return float(model.score([r.text for r in dev], [r.label for r in dev]))

        self.settings = choose(GRID, accuracy, bool(train and dev))
        self._model = _fitted(records, self.settings)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """A label for each text; raises NotFittedError before `fit`."""
        if self._model is None:
            raise NotFittedError("the text label has learned nothing yet: fit it on the train records")
        return [str(label) for label in self._model.predict(list(texts))] if texts else []


def _fitted(records: Sequence[Record], setting: Setting) -> Any:
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = [r.label for r in records]
    # A regression needs two classes; a handful of records may all have one.
    classifier = (LogisticRegression(C=setting["C"], max_iter=1000) if len(set(labels)) > 1
                  else DummyClassifier())
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, setting["ngrams"]), sublinear_tf=True)
    return make_pipeline(vectors, classifier).fit([r.text for r in records], labels)
