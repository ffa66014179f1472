"""What the published formats share: one joint level, items without escapes.

`:人名;佐藤:地名;東京` is cut at `:` and at the first `;`, so a surface that holds a `:` cannot be read
back; the published formats have no rule for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from giellm_utils.core.answer import Problem
from giellm_utils.core.schema import Item, Level, Part
from giellm_utils.formats.base import Format, FormatError
from giellm_utils.formats.reading import read_items


class UnescapedFormat(Format):
    """A format of the joint level only, whose spans are written as they are."""

    levels = ("joint",)

    def check_level(self, level: Level) -> None:
        """Raises FormatError for a level other than joint."""
        if level != "joint":
            raise FormatError(f"format {self.name} has the level joint only, not {level}; "
                              "use format giellm for single levels")

    def only_span_part(self) -> Part:
        """The task's one part of spans; raises FormatError where it has others."""
        if len(self.task.parts) != 1 or self.task.parts[0].shape != "span":
            raise FormatError(f"format {self.name} is defined for tasks with one part of spans, not for "
                              f"{self.task.title or self.task.name} (task {self.task.name})")
        return self.task.parts[0]

    def write_items(self, part: Part, items: Iterable[Item]) -> str:
        """`:人名;佐藤:地名;東京`, for relations `:head;relation;tail`; `:無い;` where there are none."""
        def fields(item: Item) -> tuple[str, ...]:
            head, *tail = item.surfaces
            return (item.label, head) if part.shape == "span" else (head, item.label, *tail)

        return "".join(":" + ";".join(fields(i)) for i in items) or f":{self.task.none};"

    def read_items(self, part: Part, body: str, problems: list[Problem]) -> list[Item]:
        """The items of one part, cut at every `:` and at the first `;` (for relations the first two)."""
        return read_items(part, self.task.none, body, body.split(":"),
                          lambda chunk, wanted: chunk.split(";", wanted - 1), lambda span: (span, True),
                          problems)
