"""SLG's format: the text twice, every label of both levels in the prompt (arXiv 2306.15978)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from giellm_utils.core.answer import Answer, Problem
from giellm_utils.core.schema import Level, Record, Task
from giellm_utils.formats.base import FormatError, Places
from giellm_utils.formats.grammar import build_plain_grammar
from giellm_utils.formats.reading import check_in_text, marked_label, whole_mark
from giellm_utils.formats.unescaped import UnescapedFormat


class TextTwiceFormat(UnescapedFormat):
    """`{text}<社会><文芸>{text}{word}:人名;:地名;` -> `<社会>{word}:人名;佐藤:地名;東京`.

    The grammar is ours, for what such a format can say: a span with a `:` in it could not be read back, so
    no output of the grammar holds one.
    """

    open = "<"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.part = self.only_span_part()
        self.options = "".join(map(self.mark, task.text_labels))

    def mark(self, label: str) -> str:
        """`label` in its marks, as it stands in prompts and targets."""
        return f"{self.open}{label}>"

    @property
    def word(self) -> str:
        """The Instruction Word as this format writes it."""
        return self.part.instruction

    @property
    def offered(self) -> Sequence[str]:
        """What the prompt lists of the word level."""
        return self.part.labels

    def prompt(self, text: str, level: Level = "joint") -> str:
        self.check_level(level)
        return f"{text}{self.options}{text}{self.word}" + "".join(f":{label};" for label in self.offered)

    def target(self, record: Record, level: Level = "joint") -> str:
        self.check_level(level)
        return f"{self.mark(record.label)}{self.word}{self.write_items(self.part, record.items())}"

    def parse(self, output: str, level: Level = "joint", text: str | None = None) -> Answer:
        self.check_level(level)
        problems: list[Problem] = []
        label, rest = marked_label(self.task, output, ("<", ">"), (self.word,), problems)
        before, word, body = rest.partition(self.word)
        if before:
            problems.append(Problem("unexpected_text", before))
        if not word:
            problems.append(Problem("missing_instruction", f"wanted {self.word}"))
        items = self.read_items(self.part, body, problems) if word else []
        check_in_text(items, text, problems)
        return Answer(label, tuple(items), tuple(problems), output)

    def fixed_strings(self) -> list[str]:
        return [self.options, self.word, f">{self.word}:", f"{self.word}:{self.task.none};",
                f":{self.task.none};", *(f":{label};" for label in (*self.offered, *self.part.labels))]

    # -- the grammar -----------------------------------------------------------------------------

    def grammar(self, level: Level, text: str, max_items: Mapping[str, int] | int) -> str:
        """A Lark grammar (llguidance's dialect) of every output this format can write for `text`.

        Raises FormatError for another level, for a bound below 0 and for none.
        """
        self.check_level(level)
        heads = [self.mark(label) for label in self.task.text_labels]
        return build_plain_grammar(heads, self.word, self.part, self.task.none, text, max_items)

    def close(self, output: str, level: Level, text: str) -> str:
        """A complete output from `output`, the beginning of an accepted one that ran out of tokens: items
        that stand in the text stay, a label that was cut becomes the first that begins so.

        Raises FormatError where none does: `output` did not come from this grammar.
        """
        answer = self.parse(output, level, text)
        head = whole_mark(self.task, answer.label, output, self.mark)
        kept = [i for i in answer.items if i.surfaces[0] in text and i.label in self.part.labels]
        return f"{head}{self.word}{self.write_items(self.part, kept)}"

    def places(self, output: str, level: Level = "joint") -> Places:
        """Where in `output` the text label and each item stand; raises FormatError for a faulty output."""
        answer = self.parse(output, level)
        if not answer.well_formed:
            raise FormatError(f"output {output[:20]!r} is none of this format ({answer.problems[0].name}), "
                              "so its places are not known")
        end = len(self.mark(answer.label))
        at, items = end + len(self.word), []
        for item in answer.items:
            start, at = at, at + len(self.write_items(self.part, [item]))
            items.append((start, at))
        return Places((0, end), tuple(items))


class SlgFormat(TextTwiceFormat):
    """SLG (Gan, Zhang, Mori 2023): for tasks with one part of spans, as SCNM is.

    From the authors' repository (ganchengguang/SLG-framework, file "Format Converter"), whose joint templates
    with labels give the text once before either label list. All its templates are commented out: that the
    scores belong to these, not to its two without labels ("simple", "singlepromptword"), is inferred.
    The scoring code there wants `<社会>固有表現抽出…`, so the text labels are in marks, as in its
    template for the text class alone, and the entity types follow the Instruction Word, as in its second.
    """

    name = "slg"

    @property
    def offered(self) -> Sequence[str]:
        return (*self.part.labels, self.task.none)
