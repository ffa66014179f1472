"""GIELLM's format, ours in full: label, Instruction Words and escaped items, at three levels.

SCNM's joint format is the published one (GIELLM model cards, arXiv 2311.06838); the formats of the
other tasks and levels follow it and are ours, as are the escape rule and the canonical order.
Parts are joined with nothing between them:

    joint   {text}{options}{Instruction Words}   ->  <label>{Instruction Word}:type;span:type;span
    text    {text}{options}                      ->  <label>
    words   {text}{Instruction Words}            ->  {Instruction Word}:type;span

Words first, for the experiment: the same prompts, and the joint target with its levels the other way round,

    joint   {text}{options}{Instruction Words}   ->  {Instruction Word}:type;span:type;span<label>

The text twice, after SLG's format (arXiv 2306.15978): the same targets, and between options and Instruction
Words the text once more, so that a decoder, which reads from left to right, has seen all of it there:

    joint   {text}{options}{text}{Instruction Words}
    text    {text}{options}{text}
    words   {text}{text}{Instruction Words}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from giellm_utils.core.answer import Answer, Problem
from giellm_utils.core.schema import Item, Level, Part, Record, Task
from giellm_utils.formats.base import Format, FormatError, Places
from giellm_utils.formats.escapes import Escapes
from giellm_utils.formats.grammar import build_grammar
from giellm_utils.formats.reading import (
    check_in_text,
    label_at_end,
    marked_label,
    read_items,
    whole_mark,
)

#: The name of the format with each pair of marks: "<>" as in the SLG code, "‹>" as the GIELLM model
#: cards print for the published weights.
NAMES = {"<>": "giellm", "‹>": "giellm-card"}


class GiellmFormat(Format):
    """One task's format. `marks`: opening and closing mark around a text label, one character each;
    `words_first`: a joint target ends with its label; `twice`: a prompt holds the text twice.

    `name` is that of NAMES, with "-words-first" or "-twice" where that is so; a format of other marks is in
    no registry. Raises FormatError for marks that could not be told from the rest of a target.
    """

    def __init__(self, task: Task, marks: str = "<>", *, words_first: bool = False,
                 twice: bool = False) -> None:
        super().__init__(task)
        if len(marks) != 2 or any(c in "\\:;" for c in marks):
            raise FormatError(f"marks must be two characters, none of them \\ : ;, not {marks!r}")
        for label in task.text_labels:
            if any(c in label for c in marks):
                raise FormatError(f"marks {marks!r} stand in text label {label!r} of task {task.name}; "
                                  "choose marks that no label holds")
        self.name = (NAMES.get(marks, f"giellm {marks}") + ("-words-first" if words_first else "")
                     + ("-twice" if twice else ""))
        self.words_first, self.twice = words_first, twice
        self.open, self.close_mark = marks
        self.options = "".join(self.mark(label) for label in task.text_labels)
        self.instructions = "".join(p.instruction for p in task.parts)
        self._escapes = Escapes([p.instruction for p in task.parts])

    def mark(self, label: str) -> str:
        """`label` in its marks, as it stands in prompts and targets."""
        return f"{self.open}{label}{self.close_mark}"

    def escape(self, span: str) -> str:
        r"""`span` with a backslash before every `\`, `:`, `;` and Instruction Word of the task."""
        return self._escapes.escape(span)

    def escaped_pieces(self, text: str) -> list[str]:
        """`text` cut into one escaped piece a character (Escapes.pieces)."""
        return self._escapes.pieces(text)

    def instruction_at(self, text: str, at: int) -> str:
        """The Instruction Word of the task that stands in `text` at offset `at`, or ""."""
        return self._escapes.instruction_at(text, at)

    # -- writing ---------------------------------------------------------------------------------

    def prompt(self, text: str, level: Level = "joint") -> str:
        """What the model reads; the text is never escaped."""
        options = "" if level == "words" else self.options
        again = text if self.twice else ""
        return text + options + again + ("" if level == "text" else self.instructions)

    def prompt_given(self, text: str, level: Level, given: Answer) -> str:
        """The prompt of a single level with the other one behind the text, as it stands in a target: for the
        words `{text}<label>{Instruction Words}`, for the text label `{text}{words}{options}`.

        Ours. Without a label in `given` its marks are empty. Raises FormatError for level joint, in which
        nothing is left to be given, and where the text stands twice.
        """
        if self.twice:
            return super().prompt_given(text, level, given)
        if level == "joint":
            raise FormatError("level joint asks for both levels, so none can be given; take text or words")
        if level == "words":
            return text + self.mark(given.label or "") + self.instructions
        return text + self.words(given.items) + self.options

    def target(self, record: Record, level: Level = "joint") -> str:
        """What the model should write for `record`; expects canonical order (Record.validate)."""
        return self._joined("" if level == "words" else self.mark(record.label),
                            "" if level == "text" else self.words(record.items()))

    def border(self, record: Record) -> int:
        """Where in the joint target of `record` its second level starts, in characters."""
        return len(self.words(record.items()) if self.words_first else self.mark(record.label))

    def _joined(self, label: str, words: str) -> str:
        return words + label if self.words_first else label + words

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

    def fixed_strings(self) -> list[str]:
        """Options, Instruction Words, labels and marks, as they meet a tokenizer: alone and joined."""
        pieces = [self.options, f":{self.task.none};", ":;\\", "\\:\\;\\\\"]
        for part in self.task.parts:
            pieces += [part.instruction, f"{part.instruction}:{self.task.none};",
                       f"{self.close_mark}{part.instruction}:",
                       *(f":{label};" for label in part.labels), *(f";{label};" for label in part.labels)]
        if self.words_first:
            pieces += [f":{self.task.none};{self.mark(label)}" for label in self.task.text_labels]
        return pieces

    # -- reading ---------------------------------------------------------------------------------

    def parse(self, output: str, level: Level = "joint", text: str | None = None) -> Answer:
        """What `output` says; total: any string gives an Answer with named problems, never an error.

        With `text`, spans that are no substring of it are reported as `not_in_text` (and kept).
        """
        problems: list[Problem] = []
        label, rest = (None, output) if level == "words" else self._label(output, level, problems)
        items: list[Item] = []
        if level != "text":
            items = self._sections(rest, problems)
        elif rest:
            problems.append(Problem("unexpected_text", rest))
        check_in_text(items, text, problems)
        return Answer(label, tuple(items), tuple(problems), output)

    def _label(self, output: str, level: Level, problems: list[Problem]) -> tuple[str | None, str]:
        """The text label of `output`, None where none can be read, and the words part."""
        marks = self.open, self.close_mark
        if self.words_first and level == "joint":
            return label_at_end(self.task, output, marks, problems)
        return marked_label(self.task, output, marks, self._escapes.instructions, problems)

    def _sections(self, rest: str, problems: list[Problem]) -> list[Item]:
        """Cut the words part at its unescaped Instruction Words and read each section."""
        sections = self._cut_sections(rest)
        before, found = sections[0][1], {}
        if before:
            problems.append(Problem("unexpected_text", before))
        kinds = {p.instruction: p.kind for p in self.task.parts}
        for word, body in sections[1:]:
            if kinds[word] in found:
                problems.append(Problem("unexpected_text", word))
            found[kinds[word]] = body
        if list(found) != [p.kind for p in self.task.parts]:
            problems.append(Problem("missing_instruction", "wanted " + " ".join(self._escapes.instructions)))
        return [item for part in self.task.parts if part.kind in found
                for item in self._section(part, found[part.kind], problems)]

    def _section(self, part: Part, body: str, problems: list[Problem]) -> list[Item]:
        cut = self._escapes.cut
        return read_items(part, self.task.none, body, cut(body, ":"),
                          lambda chunk, _: cut(chunk, ";"), self._escapes.unescape, problems)

    def _cut_sections(self, rest: str) -> list[tuple[str, str]]:
        """(Instruction Word, what follows it) of every section; first "" and what stands before any."""
        sections, word, piece, i = [], "", [], 0
        while i < len(rest):
            next_word = self.instruction_at(rest, i)
            if rest[i] == "\\":
                # Past an escaped first character no Instruction Word can start inside the word (Task).
                piece.append(rest[i:i + 2])
                i += 2
            elif next_word:
                sections.append((word, "".join(piece)))
                word, piece = next_word, []
                i += len(word)
            else:
                piece.append(rest[i])
                i += 1
        return [*sections, (word, "".join(piece))]

    def places(self, output: str, level: Level = "joint") -> Places:
        """Where in `output` the text label and each item stand; raises FormatError for a faulty output."""
        answer = self.parse(output, level)
        if not answer.well_formed:
            raise FormatError(f"output {output[:20]!r} is none of this format ({answer.problems[0].name}), "
                              "so its places are not known")
        # Without faults an output is what this format writes for its answer, so lengths are enough.
        size = 0 if level == "words" else len(self.mark(answer.label))
        behind = self.words_first and level == "joint"
        start, at, items = len(output) - size if behind else 0, 0 if behind else size, []
        for part in () if level == "text" else self.task.parts:
            at += len(part.instruction)
            mine = [self._items(part, [item]) for item in answer.items if item.kind == part.kind]
            for piece in mine:
                items.append((at, at + len(piece)))
                at += len(piece)
            at += 0 if mine else len(f":{self.task.none};")
        return Places(None if level == "words" else (start, start + size), tuple(items))

    # -- the grammar -----------------------------------------------------------------------------

    def grammar(self, level: Level, text: str, max_items: Mapping[str, int] | int) -> str:
        """A Lark grammar (llguidance's dialect) of every output this format can write for `text`.

        Each part holds at most `max_items` items (of its kind). Raises FormatError for a bound below
        0 and for a part without one.
        """
        heads = [] if level == "words" else [self.mark(label) for label in self.task.text_labels]
        parts = () if level == "text" else self.task.parts
        return build_grammar(heads, parts, self.task.none, text, max_items, words_first=self.words_first)

    def close(self, output: str, level: Level, text: str) -> str:
        """A complete output from `output`, the beginning of an accepted one that ran out of tokens.

        Items that can be read and stand in the text stay (the last one as far as it was written), the
        rest is dropped; a text label that was cut becomes the first that begins so. Raises FormatError
        where none does: `output` did not come from this grammar.
        """
        head, rest = "", output
        if level != "words":
            cut = self._cut_at_end if self.words_first and level == "joint" else self._cut_head
            head, rest = cut(output)
        if level == "text":
            return head
        answer = self.parse(rest, "words", text)
        return self._joined(head, self.words(
            item for item in answer.items if all(s in text for s in item.surfaces)
            and item.label in self.task.part(item.kind).labels))

    def _cut_head(self, output: str) -> tuple[str, str]:
        """The marked label that a cut output begins with, made whole, and what follows it."""
        label, rest = self._label(output, "text", [])
        return whole_mark(self.task, label, output, self.mark), rest

    def _cut_at_end(self, output: str) -> tuple[str, str]:
        """The marked label that a cut output of words first ends with, made whole (the task's first where it
        had not come to one), and what stands before it."""
        label, rest = self._label(output, "joint", [])
        if label:
            return self.mark(label), rest
        marks = [self.mark(known) for known in self.task.text_labels]
        for size in range(min(len(output), max(map(len, marks)) - 1), 0, -1):
            if begun := next((m for m in marks if m.startswith(output[-size:])), ""):
                return begun, output[:-size]
        return marks[0], output
