"""Lines from a pipe or a keyboard, each answered at once: JSONL out, in the order of the lines."""

from __future__ import annotations

from typing import Any, BinaryIO

from giellm_utils.core.schema import Level
from giellm_utils.inference.extractor import Extractor
from giellm_utils.inference.stream import Counts, dumps, lines, parse_line


def answer_lines(extractor: Extractor, source: BinaryIO, sink: BinaryIO, tasks: list[str],
                 level: Level = "joint", min_confidence: float = 0) -> Counts:
    """Answer every line of `source` in `sink`, flushed, before the next is read; ends with `source`.

    A line that begins with { is JSON, {"id"?, "text"}; any other is a text as it stands; blank ones are
    passed over. A line that cannot be read is answered too, {"line", "reason"}, for someone waits for it.
    What is below `min_confidence` is left out (Extraction.at_least).
    """
    good = bad = cut = 0
    refused: dict[int, str] = {}
    for number, line in lines(source):
        if line is not None and not line.strip():
            continue
        try:
            row = _row(line)
        except ValueError as error:
            bad += 1
            _answer(sink, {"line": number, "reason": str(error)})
            continue
        found = list(extractor.extract([row["text"]], tasks, level, refused.__setitem__))
        if not found:
            bad += 1
            _answer(sink, {"line": number, "reason": refused[0]})
            continue
        known = {"id": row["id"]} if "id" in row else {}
        _answer(sink, {"line": number, **known, **found[0].at_least(min_confidence).to_json()})
        good, cut = good + 1, cut + (found[0].pieces > 1)
    return Counts(good, bad, 0, cut)


def _row(line: bytes | None) -> dict[str, Any]:
    """The {"id"?, "text"} of a line; raises ValueError with a reason that stands for itself."""
    if line is None or line.lstrip().startswith(b"{"):
        return parse_line(line)
    try:
        return {"text": line.decode("utf-8").rstrip("\r\n")}
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; send UTF-8") from None


def _answer(sink: BinaryIO, value: Any) -> None:
    sink.write(dumps(value))
    sink.flush()
