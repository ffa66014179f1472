"""One step of the grammar, to look at: what may follow a given beginning of an output, and what must."""

from __future__ import annotations

from dataclasses import dataclass

from giellm_utils.core.schema import Level
from giellm_utils.inference.matcher import GrammarError, OutputConstraint


@dataclass(frozen=True)
class Step:
    """Pieces of text that may come next, the longest first, then bytes inside a character as <0xE3>; whether
    the output may end here; and what follows whatever the model says ("" where it has a choice)."""

    allowed: tuple[str, ...]
    may_end: bool
    forced: str


def allowed_next(constraint: OutputConstraint, text: str, level: Level, beginning: str) -> Step:
    """What the grammar of `text` allows after `beginning`, in tokens of the model.

    Raises GrammarError where `beginning` is not the beginning of any output for `text`.
    """
    tokenizer, matcher = constraint.tokenizer, constraint.matcher(text, level)
    for token in tokenizer.tokenize_str(beginning):
        matcher.consume(token)
    forced = matcher.forced_tokens()
    ids = [i for i in matcher.allowed_ids().tolist() if i != tokenizer.eos_token]
    pieces = sorted({_shown(tokenizer.decode_bytes([i])) for i in ids},
                    key=lambda piece: (piece.startswith("<0x"), -len(piece), piece))
    if not pieces and not matcher.is_complete():
        raise GrammarError(f"nothing may follow {beginning!r}: it begins no output for this text")
    follows = tokenizer.decode_bytes(forced).decode("utf-8", "ignore")
    return Step(tuple(pieces), matcher.is_complete(), follows)


def _shown(piece: bytes) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)
