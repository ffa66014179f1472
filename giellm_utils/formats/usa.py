"""USA's format: the text twice, every label of both levels in the prompt (arXiv 2309.03787)."""

from __future__ import annotations

from collections.abc import Sequence

from giellm_utils.formats.slg import TextTwiceFormat

#: Polarities in the order of the model card.
_POLARITIES = ("ポジティブ", "中立", "ネガティブ")


class UsaFormat(TextTwiceFormat):
    """USA (Gan, Zhang, Mori 2023): `{text}<積極><消極>{text}POS:ポジティブ;:中立;:ネガティブ;`.

    From the model card of USA-7B, whose home is SCPOS: its sets have the published Instruction Word "POS"
    and the published order of the polarities. Other tasks with one part of spans keep their own Instruction
    Word and order (inferred: the format was never published for them). Unlike SLG it offers no "無い".
    """

    name = "usa"

    @property
    def word(self) -> str:
        return "POS" if self.task.name.startswith("scpos-") else self.part.instruction

    @property
    def offered(self) -> Sequence[str]:
        if set(self.part.labels) <= set(_POLARITIES):
            return tuple(p for p in _POLARITIES if p in self.part.labels)
        return self.part.labels
