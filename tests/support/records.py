"""Tasks, records and answers that several rooms' tests build on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from giellm_utils.core.answer import Answer
from giellm_utils.core.schema import Level, Part, Record, Span, Task, Word
from giellm_utils.formats.giellm import GiellmFormat

TRIP = Task("trip", "a text label, places and people, and who is where", ("旅行", "仕事"),
            (Part("entity", "抽出", ("地", "人")), Part("place", "関係", ("居", "行"), "relation")))
FORMAT = GiellmFormat(TRIP)


def record(id: str, text: str, label: str, *words: tuple) -> Record:
    """A record of TRIP; words as (label, start, end), for relations (label, start, end, start, end)."""
    return Record(id, "trip", text, label, tuple(
        Word("entity" if len(w) == 3 else "place", w[0], *(Span(*w[i:i + 2]) for i in range(1, len(w), 2)))
        for w in words)).validate(TRIP)


#                      0 1 2 3 4 5 6 7
TWICE = record("1", "東京と京都と東京", "旅行", ("地", 0, 2), ("地", 3, 5), ("地", 6, 8))
PERSON = record("2", "田中は奈良にいる", "仕事", ("人", 0, 2), ("地", 3, 5), ("居", 0, 2, 3, 5))
EMPTY = record("3", "雨が降る", "旅行")
RECORDS = [TWICE, PERSON, EMPTY]
#: Their joint targets, written down by hand.
GOLD = {"1": "<旅行>抽出:地;東京:地;京都:地;東京関係:無い;",
        "2": "<仕事>抽出:人;田中:地;奈良関係:田中;居;奈良", "3": "<旅行>抽出:無い;関係:無い;"}


def answers(*outputs: str, level: Level = "joint") -> list[Answer]:
    """What outputs in TRIP's format say."""
    return [FORMAT.parse(output, level) for output in outputs]


def gold_answers(records: Sequence[Record], level: Level = "joint") -> list[Answer]:
    """The records' own targets, read back."""
    return answers(*(FORMAT.target(r, level) for r in records), level=level)


@st.composite
def trip_records(draw: st.DrawFn) -> Record:
    """A record of TRIP over a small alphabet full of marks, so that surfaces repeat and need escapes."""
    text = draw(st.text(alphabet="ab:;\\<>抽出関係無い", min_size=1, max_size=10))

    def span() -> tuple[int, int]:
        start = draw(st.integers(0, len(text) - 1))
        return start, draw(st.integers(start + 1, len(text)))

    words = {(draw(st.sampled_from("地人")), *span()) for _ in range(draw(st.integers(0, 4)))}
    words |= {(draw(st.sampled_from("居行")), *span(), *span()) for _ in range(draw(st.integers(0, 3)))}
    return record("h", text, draw(st.sampled_from(TRIP.text_labels)), *words)


def records_of(task: Task, texts: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[Record]:
    """Records of any task with up to `most` words a part."""
    @st.composite
    def build(draw: st.DrawFn) -> Record:
        text = draw(texts)
        points = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
        spans = points.filter(lambda p: p[0] != p[1]).map(lambda p: Span(min(p), max(p)))
        words = set()
        for part in task.parts:
            for _ in range(draw(st.integers(0, most))):
                tail = draw(spans) if part.shape == "relation" else None
                words.add(Word(part.kind, draw(st.sampled_from(part.labels)), draw(spans), tail))
        label = draw(st.sampled_from(task.text_labels))
        return Record("r", task.name, text, label, tuple(words)).validate(task)
    return build()
