"""Cells of the MRE experiment with made-up answers."""

from __future__ import annotations

import numpy as np

from giellm_utils.core.cells import Cell, Counts, MAIN

TEXT_ONLY = ("text", "placebo-words")
WORDS_ONLY = ("words", "placebo-label")


def cell(condition: str, seed: int, tl: list[int] | None = None, matched: list[int] | None = None,
         predicted: list[int] | None = None, gold: list[int] | None = None, **more) -> Cell:
    """A cell from columns written by hand; wl_exact where everything was found and nothing else."""
    n = len(tl if tl is not None else matched)
    gold = gold or [2] * n
    ones, zeros = [1] * n, [0] * n
    exact = None if matched is None else [
        int(m == p == g) for m, p, g in zip(matched, predicted, gold, strict=True)]
    counts = Counts(tl=tl, matched=matched, predicted=predicted, wl_exact=exact, wl_set=exact,
                    well_formed=ones, truncated=zeros)
    return Cell(**{
        "task": "scnm", "condition": condition, "seed": seed, "texts": 1000, "split": "test", "settings": {},
        "level": "text" if matched is None else "words" if tl is None else "joint", "seconds": 300.0,
        "decoding_seconds": {"constrained": 60.0}, "machine": "2 cores", "git": "abc",
        "ids": [f"d{i}" for i in range(n)], "clusters": [f"c{i}" for i in range(n)], "gold": gold,
        "decoded": {"constrained": counts}, **more})


def synthetic(task: str = "scnm", conditions: tuple[str, ...] = ("joint", "text", "words"), *, n: int = 200,
              seeds: int = 3, shift: float = 0.0, arm: str = MAIN, texts: int = 1000, random: int = 0,
              start: str = "") -> list[Cell]:
    """Cells of a latent difficulty a document; joint is better by `shift` (latent). The same documents for
    the same task; `start` prefixes clusters, which are the same for the same start."""
    documents = np.random.default_rng(99)
    difficulty, gold = documents.normal(0.8, 1, n), documents.poisson(2.2, n)
    rng = np.random.default_rng(random)
    found = []
    for condition in conditions:
        for s in range(1, seeds + 1):
            latent = difficulty + (shift if condition == "joint" else 0) + rng.normal(0, .05) + rng.normal(
                0, .7, n)
            matched = rng.binomial(gold, 1 / (1 + np.exp(-latent)))
            predicted = (matched + rng.binomial(gold - matched, .7)).tolist()
            found.append(cell(
                condition, s, task=task, arm=arm, texts=texts,
                tl=None if condition in WORDS_ONLY else (latent > 0).astype(int).tolist(),
                matched=None if condition in TEXT_ONLY else matched.tolist(),
                predicted=None if condition in TEXT_ONLY else predicted, gold=gold.tolist(),
                ids=[f"{task}-{i:06d}" for i in range(n)], clusters=[f"{start}{i:08x}" for i in range(n)]))
    return found
