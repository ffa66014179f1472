"""The Format Converter: Record <-> (prompt, target).

SCNM's joint format is the published one (GIELLM model cards, arXiv 2311.06838); the formats of the
other tasks and levels follow it and are ours, as are the escape rule and the canonical order.
Parts are joined with nothing between them:

    joint   {text}{options}{Instruction Words}   ->  <label>{Instruction Word}:type;span:type;span
    text    {text}{options}                      ->  <label>
    words   {text}{Instruction Words}            ->  {Instruction Word}:type;span
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from giellm_utils.core.schema import Item, Level, Part, Record, Span, Task, Word
from giellm_utils.data.offsets import locate_relation

#: What `parse` may complain of. All but `not_in_text` are faults of form. Items of
#: `unknown_word_label`, `bad_escape` and `not_in_text` are kept, those of `bad_item`, `empty_span`
#: and `none_with_items` cannot be read and are dropped.
PROBLEMS = ("no_text_label", "unknown_text_label", "missing_instruction", "unexpected_text",
            "bad_item", "unknown_word_label", "empty_span", "bad_escape", "none_with_items",
            "not_in_text")


@dataclass(frozen=True)
class Problem:
    """A named fault of one output, with the piece of the output that shows it."""

    name: str
    detail: str


@dataclass(frozen=True)
class Parsed:
    """What an output says. `words_raw` is its words part, untouched, for exact comparison."""

    label: str | None
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    words_raw: str

    @property
    def well_formed(self) -> bool:
        """No fault of form (a span that is not in the text is a fault of content)."""
        return all(p.name == "not_in_text" for p in self.problems)


class Converter:
    """Writes and reads one task's format.

    `marks` are the opening and closing mark around a text label: "<>" as in the SLG code; the
    GIELLM model cards print "‹>" for the published weights. Raises ValueError for marks that could
    not be told from the rest of a target.
    """

    def __init__(self, task: Task, marks: str = "<>") -> None:
        if len(marks) != 2 or any(c in "\\:;" for c in marks):
            raise ValueError(f"marks must be two characters, none of them \\ : ;, not {marks!r}")
        for label in task.text_labels:
            if any(c in label for c in marks):
                raise ValueError(f"marks {marks!r} stand in text label {label!r} of task {task.name}; "
                                 "choose marks that no label holds")
        self.task = task
        self.open, self.close = marks
        self.options = "".join(self.mark(label) for label in task.text_labels)
        self.instructions = "".join(p.instruction for p in task.parts)

    def mark(self, label: str) -> str:
        return f"{self.open}{label}{self.close}"

    # -- writing ---------------------------------------------------------------------------------

    def escape(self, span: str) -> str:
        r"""`span` with a backslash before every `\`, `:`, `;` and Instruction Word of the task."""
        return "".join(self.escaped_pieces(span))

    def escaped_pieces(self, text: str) -> list[str]:
        r"""`text` cut into one piece a character, each escaped; joined, they are the escaped text.

        The first character of an Instruction Word that stands in the text carries its backslash.
        So `"".join(pieces[i:j]) == escape(text[i:j])` for every i < j but those where j cuts an
        Instruction Word that began at or after i: alone, its beginning needs no backslash
        (`grammar.span_chunks` adds these).
        """
        pieces, i = [], 0
        while i < len(text):
            word = self.instruction_at(text, i)
            if word:
                pieces += ["\\" + word[0], *word[1:]]
                i += len(word)
            else:
                pieces.append("\\" + text[i] if text[i] in "\\:;" else text[i])
                i += 1
        return pieces

    def instruction_at(self, text: str, at: int) -> str:
        """The Instruction Word of the task that stands in `text` at offset `at`, or ""."""
        return next((p.instruction for p in self.task.parts if text.startswith(p.instruction, at)), "")

    def prompt(self, text: str, level: Level) -> str:
        """What the model reads; the text is never escaped."""
        options = "" if level == "words" else self.options
        return text + options + ("" if level == "text" else self.instructions)

    def target(self, record: Record, level: Level) -> str:
        """What the model should write for `record`; expects canonical order (Record.validate)."""
        head = "" if level == "words" else self.mark(record.label)
        return head if level == "text" else head + self.words(record.items())

    def words(self, items: Iterable[Item]) -> str:
        """The words part of a target: every part's Instruction Word and items, in the given order.

        Raises SchemaError for an item of a kind that the task does not have.
        """
        by_kind: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_kind[self.task.part(item.kind).kind].append(item)
        return "".join(part.instruction + (self._items(part, by_kind[part.kind]) or f":{self.task.none};")
                       for part in self.task.parts)

    def _items(self, part: Part, items: list[Item]) -> str:
        if part.shape == "span":
            return "".join(f":{i.label};{self.escape(i.surfaces[0])}" for i in items)
        return "".join(f":{self.escape(i.surfaces[0])};{i.label};{self.escape(i.surfaces[1])}" for i in items)

    # -- reading ---------------------------------------------------------------------------------

    def parse(self, output: str, level: Level, text: str | None = None) -> Parsed:
        """What `output` says; total: any string gives a result and named problems, never an error.

        With `text`, spans that are no substring of it are reported as `not_in_text` (and kept).
        """
        problems: list[Problem] = []
        label, rest = (None, output) if level == "words" else self._label(output, problems)
        items: list[Item] = []
        if level == "text":
            if rest:
                problems.append(Problem("unexpected_text", rest))
        else:
            items = self._sections(rest, problems)
        if text is not None:
            problems += [Problem("not_in_text", s) for i in items for s in i.surfaces if s not in text]
        return Parsed(label, tuple(items), tuple(problems), "" if level == "text" else rest)

    def _label(self, output: str, problems: list[Problem]) -> tuple[str | None, str]:
        end = output.find(self.close, len(self.open))
        if not output.startswith(self.open) or end < 0:
            problems.append(Problem("no_text_label", output[:20]))
            starts = [i for p in self.task.parts if (i := output.find(p.instruction)) >= 0]
            return None, output[min(starts, default=0):]
        label, rest = output[len(self.open):end], output[end + 1:]
        if label not in self.task.text_labels:
            problems.append(Problem("unknown_text_label", label))
            return None, rest
        return label, rest

    def _sections(self, rest: str, problems: list[Problem]) -> list[Item]:
        """Cut the words part at its unescaped Instruction Words and read each section."""
        found: dict[str, str] = {}
        kind, piece, i = None, [], 0
        words = {p.instruction: p.kind for p in self.task.parts}

        def close() -> None:
            body = "".join(piece)
            if kind is None:
                if body:
                    problems.append(Problem("unexpected_text", body))
            else:
                found[kind] = body

        while i < len(rest):
            word = self.instruction_at(rest, i)
            if rest[i] == "\\":
                # Past an escaped first character no Instruction Word can start inside the word (Task).
                piece.append(rest[i:i + 2])
                i += 2
            elif word:
                close()
                if words[word] in found:
                    problems.append(Problem("unexpected_text", word))
                kind, piece = words[word], []
                i += len(word)
            else:
                piece.append(rest[i])
                i += 1
        close()
        if list(found) != [p.kind for p in self.task.parts]:
            wanted = [p.instruction for p in self.task.parts]
            problems.append(Problem("missing_instruction", "wanted " + " ".join(wanted)))
        return [item for part in self.task.parts if part.kind in found
                for item in self._section(part, found[part.kind], problems)]

    def _section(self, part: Part, body: str, problems: list[Problem]) -> list[Item]:
        none = f":{self.task.none};"
        if body == none:
            return []
        head, *chunks = self._split(body, ":")
        if head or not chunks:
            problems.append(Problem("bad_item", head or part.instruction))
        items = []
        for chunk in chunks:
            if chunk == none[1:]:
                problems.append(Problem("none_with_items", body))
                continue
            item = self._item(part, chunk, problems)
            if item is not None:
                items.append(item)
        return items

    def _item(self, part: Part, chunk: str, problems: list[Problem]) -> Item | None:
        fields = self._split(chunk, ";")
        if len(fields) != (2 if part.shape == "span" else 3):
            problems.append(Problem("bad_item", chunk))
            return None
        label, raw = (fields[0], fields[1:]) if part.shape == "span" else (fields[1], [fields[0], fields[2]])
        if label not in part.labels:
            problems.append(Problem("unknown_word_label", label))
        surfaces = tuple(self._unescape(r, problems) for r in raw)
        if not all(surfaces):
            problems.append(Problem("empty_span", chunk))
            return None
        return Item(part.kind, label, surfaces)

    @staticmethod
    def _split(body: str, mark: str) -> list[str]:
        """`body` cut at every unescaped `mark`."""
        pieces, start, i = [], 0, 0
        while i < len(body):
            if body[i] == "\\":
                i += 2
                continue
            if body[i] == mark:
                pieces.append(body[start:i])
                start = i + 1
            i += 1
        return [*pieces, body[start:]]

    def _unescape(self, span: str, problems: list[Problem]) -> str:
        out, i = [], 0
        while i < len(span):
            if span[i] == "\\":
                if span[i + 1:i + 2] not in ("\\", ":", ";") and not self.instruction_at(span, i + 1):
                    problems.append(Problem("bad_escape", span))
                i += 1
            out.append(span[i:i + 1])
            i += 1
        return "".join(out)

    # -- offsets ---------------------------------------------------------------------------------

    def locate(self, items: Iterable[Item], text: str) -> list[Word | None]:
        """Offsets for surfaces, one Word an item; None where a surface is empty or not in `text`.

        The k-th item of a part with the same surface stands for its k-th occurrence, counted from
        the left without overlap (for the last one when there are fewer). A relation takes the first
        occurrence of its head, for one head often carries several relations, and the occurrence of
        its tail nearest to that head.
        """
        last: dict[tuple[str, str], Span] = {}
        words: list[Word | None] = []
        for item in items:
            spans: Sequence[Span] | None = None
            if len(item.surfaces) == 2:
                spans = locate_relation(item.surfaces[0], item.surfaces[1], text)
            elif surface := item.surfaces[0]:
                key = (item.kind, surface)
                at = text.find(surface, last[key].end if key in last else 0)
                if at >= 0:
                    last[key] = Span(at, at + len(surface))
                spans = (last[key],) if key in last else None
            words.append(Word(item.kind, item.label, *spans) if spans else None)
        return words
