"""GiNZA's named entities (package ja_ginza) in SCNM's eight types; the text label by logistic regression.

GiNZA is not trained here: it knows types of Sekine's Extended Named Entity hierarchy, version 7, from the
corpus GSK2014-A. TYPES brings them to SCNM's. It has no sentence classes, so that the text label is
text_label's, learned from the train records as in the system crf.

Sources of TYPES: the groups are those of GiNZA's own table (ginza.ene_ontonotes_mapper: PERSON, ORG, NORP,
GPE, LOC, FAC, EVENT, PRODUCT, WORK_OF_ART). Its organisations are divided as Stockmark's README does: 法人名
is corporations and the like, 政治的組織名 government, parties, the military and international bodies,
その他の組織名 sports clubs, groups of artists and the rest; 製品名 is goods, programmes, films, books, songs
and brands. Of those groups left out: what names a kind and not one thing by its name (Clothing, Drug,
Food_Other, Money_Form, Weapon), and what no type of SCNM holds (Award, Character, Ethnic_Group_Other, Family,
God, ID_Number, Nationality, Postal_Address, Religion). The train records were looked at once, to see whether
they speak against a group; none does. Everything else that GiNZA finds (dates, numbers, titles) is counted
as unmapped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from giellm_utils.core.answer import Answer
from giellm_utils.core.conditions import Look
from giellm_utils.core.schema import Part, Record, Span, Task, Word
from giellm_utils.core.settings import ConfigError
from giellm_utils.systems.base import answer, Entry, System
from giellm_utils.systems.text_label import GRID, TextLabel

MODEL = "ja_ginza"
#: SCNM's type -> types of GiNZA.
_BY_TYPE = {
    "人名": "Person",
    "法人名": "Company Company_Group Corporation_Other",
    "政治的組織名": "Cabinet Government International_Organization Military Political_Organization_Other "
                    "Political_Party",
    "その他の組織名": "Organization_Other Pro_Sports_Organization Show_Organization Sports_League "
                      "Sports_Organization_Other",
    "地名": "Bay City Continental_Region Country County Domestic_Region GPE_Other Geological_Region_Other "
            "Island Lake Location_Other Mountain Province Region_Other River Sea Spa",
    "施設名": "Airport Amusement_Park Archaeological_Place_Other Bridge Canal Car_Stop Facility_Other "
              "Facility_Part GOE_Other Line_Other Museum Park Port Public_Institution Railroad "
              "Research_Institute Road School Sports_Facility Station Theater Tumulus Tunnel Water_Route "
              "Worship_Place Zoo",
    "製品名": "Aircraft Art_Other Book Broadcast_Program Car Magazine Movie Music Newspaper Printing_Other "
              "Product_Other Ship Show Spaceship Train Vehicle_Other",
    "イベント名": "Conference Earthquake Event_Other Game Incident_Other Natural_Disaster "
                  "Natural_Phenomenon_Other Occasion_Other Religious_Festival War"}
TYPES = {theirs: ours for ours, names in _BY_TYPE.items() for theirs in names.split()}


class Ginza(System):
    """GiNZA's entities with a type of TYPES, and the text label of text_label.

    Raises ConfigError for a task without a part of SCNM's types.
    """

    name, level = "ginza", "joint"

    def __init__(self, task: Task) -> None:
        self._task, self._part = task, _part(task)
        if self._part is None:
            raise ConfigError(f"ginza has no entities for task {task.name}: it needs a part with the types "
                              f"{', '.join(_BY_TYPE)}")
        self._label = TextLabel()
        self._kept: Counter[str] = Counter()
        self._unmapped: Counter[str] = Counter()

    @property
    def settings(self) -> dict[str, Any]:
        """`mapped` and `unmapped`: entities of each type in the last texts asked, kept and left out."""
        pipeline = _pipeline()
        return {"model": f"{MODEL} {pipeline.meta['version']}", "components": list(pipeline.pipe_names),
                "types": _BY_TYPE, "mapped": dict(sorted(self._kept.items())),
                "unmapped": dict(sorted(self._unmapped.items())),
                "text": self._label.settings, "grids": {"text": GRID}}

    def fit(self, records: Sequence[Record]) -> None:
        """The text label learns; the entities do not. Raises ValueError without records."""
        self._label.fit(records)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Raises NotFittedError before `fit`, ConfigError where GiNZA is not installed."""
        texts = [r.text for r in records]
        labels = self._label.predict(texts)
        self._kept, self._unmapped = Counter(), Counter()
        return [answer(self._task, text, label, self._words(doc))
                for text, label, doc in zip(texts, labels, _pipeline().pipe(texts), strict=True)]

    def _words(self, doc: Any) -> list[Word]:
        words = []
        for entity in doc.ents:
            ours = TYPES.get(entity.label_)
            (self._unmapped if ours is None else self._kept)[entity.label_] += 1
            if ours is not None:
                words.append(Word(self._part.kind, ours, Span(entity.start_char, entity.end_char)))
        return words


def _part(task: Task) -> Part | None:
    """The part of a task that takes SCNM's types."""
    return next((p for p in task.parts if p.shape == "span" and set(_BY_TYPE) <= set(p.labels)), None)


@cache
def _pipeline() -> Any:
    """GiNZA with what its entities need: the parser and what follows it change none of them."""
    try:
        import spacy

        return spacy.load(MODEL, exclude=["parser", "morphologizer", "compound_splitter",
                                          "bunsetu_recognizer"])
    except (ImportError, OSError) as error:
        raise ConfigError(f"system ginza needs the packages ginza and {MODEL} ({type(error).__name__}); run: "
                          "pip install -r requirements-peers.txt") from None


ENTRIES = (
    Entry("ginza", "GiNZA and logistic regression", Look(colour="#009E73", marker="s"), "joint", order=41,
          make=Ginza, applies=lambda task: _part(task) is not None),
)
