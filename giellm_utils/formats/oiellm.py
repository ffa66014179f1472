"""OIELLM's format: the text once, a task word, no labels in the prompt (arXiv 2407.10953)."""

from __future__ import annotations

from giellm_utils.core.answer import Answer, Problem
from giellm_utils.core.schema import Item, Level, Part, Record, Task
from giellm_utils.formats.base import FormatError
from giellm_utils.formats.reading import check_in_text, known_label
from giellm_utils.formats.unescaped import UnescapedFormat

#: The published task words of the sentiment sets; other parts are named by what they hold.
_SENTIMENT = {"scpos-rw": "Sentiment Relation Word", "scpos-n": "Sentiment N", "scpos-adj": "Sentiment Adj",
              "scpos-n-adj": "Sentiment Adj and N"}


def task_word(task: Task, part: Part) -> str:
    """The published task word of one part."""
    if task.name in _SENTIMENT:
        return _SENTIMENT[task.name]
    if part.shape == "relation":
        return "Relation Extraction"
    return "Event Extraction" if part.kind == "event" else "NER"


class OiellmFormat(UnescapedFormat):
    """OIELLM (Gan et al. 2024): `{text}/NER` -> `社会/NER/:人名;佐藤:地名;東京`, no label offered.

    From its model cards (ganchengguang/OIELLM-8B-Instruction), whose example is English; relations are
    `:head;relation;tail:`. Inferred: the English task words stay for Japanese, an empty list is SLG's
    `:無い;`, relations share the `:` between them, a task of several parts joins them in its order.
    Raises FormatError for a task with two parts of one task word.
    """

    name = "oiellm"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.words = tuple(task_word(task, part) for part in task.parts)
        if len(set(self.words)) < len(self.words):
            raise FormatError(f"format oiellm has one task word for several parts of task {task.name} "
                              f"({', '.join(self.words)}), so its outputs could not be told apart")

    def prompt(self, text: str, level: Level = "joint") -> str:
        self.check_level(level)
        return text + "".join(f"/{word}" for word in self.words)

    def target(self, record: Record, level: Level = "joint") -> str:
        self.check_level(level)
        items = list(record.items())
        return record.label + "".join(
            f"/{word}/" + self._section(part, [i for i in items if i.kind == part.kind])
            for word, part in zip(self.words, self.task.parts, strict=True))

    def _section(self, part: Part, items: list[Item]) -> str:
        return self.write_items(part, items) + (":" if part.shape == "relation" and items else "")

    def parse(self, output: str, level: Level = "joint", text: str | None = None) -> Answer:
        self.check_level(level)
        problems: list[Problem] = []
        label, rest = self._label(output, problems)
        items: list[Item] = []
        for k, (word, part) in enumerate(zip(self.words, self.task.parts, strict=True)):
            before, found, after = rest.partition(f"/{word}/")
            if not found:
                problems.append(Problem("missing_instruction", f"wanted /{word}/"))
                continue
            if before:
                problems.append(Problem("unexpected_text", before))
            ends = [at for later in self.words[k + 1:] if (at := after.find(f"/{later}/")) >= 0]
            body, rest = (after[:min(ends)], after[min(ends):]) if ends else (after, "")
            items += self.read_items(part, self._open_end(part, body, problems), problems)
        if rest:
            problems.append(Problem("unexpected_text", rest))
        check_in_text(items, text, problems)
        return Answer(label, tuple(items), tuple(problems), output)

    def _label(self, output: str, problems: list[Problem]) -> tuple[str | None, str]:
        """The text label, which ends at the first task word, and what follows."""
        starts = [at for word in self.words if (at := output.find(f"/{word}/")) >= 0]
        head, rest = (output[:min(starts)], output[min(starts):]) if starts else (output, "")
        if not head:
            problems.append(Problem("no_text_label", output[:20]))
            return None, rest
        return known_label(self.task, head, problems), rest

    def _open_end(self, part: Part, body: str, problems: list[Problem]) -> str:
        """`body` without the `:` that closes a list of relations."""
        if part.shape == "span" or body == f":{self.task.none};":
            return body
        if not body.endswith(":"):
            problems.append(Problem("bad_item", body[-20:]))
        return body.removesuffix(":")

    def fixed_strings(self) -> list[str]:
        return [*self.task.text_labels, f":{self.task.none};",
                *(piece for word, part in zip(self.words, self.task.parts, strict=True)
                  for piece in (f"/{word}", f"/{word}/:", f"/{word}/:{self.task.none};",
                                *(f":{label};" for label in part.labels),
                                *(f";{label};" for label in part.labels)))]
