"""In which precision a cell is computed: that of the cells it will be compared with.

A difference is of two cells of one seed. Where a machine computes in bf16 and the next one, without AVX512,
in fp32, a seed begun on the first would be half of each; so the queue goes on in the precision that the seed
began with, and leaves cells to another machine where this one would have to emulate it. A training of several
datasets takes the first one's; where another dataset's seed is in another precision, evaluation.trials leaves
that seed out of what compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from giellm_utils.core.cells import Dtype, MAIN
from giellm_utils.experiment.cells import read_cell
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.weights import dtype_for


def of_seed(cells: Path, datasets: Sequence[str], arm: str, seed: int) -> Dtype | None:
    """What the finished cells of this seed were computed in: those of `arm`, else of the main arm; None
    where there are none. `datasets`: of the cell's training."""
    for name in dict.fromkeys((arm, MAIN)):
        for path in _finished(cells, datasets, name, seed):
            return read_cell(path).precision
    return None


def model_in(model: ModelConfig, dtype: Dtype | None) -> ModelConfig | None:
    """`model` as it is loaded here to be computed in `dtype`; None where that would be emulated.

    A model whose configuration names a precision keeps it.
    """
    here = _here(model)
    if dtype in (None, here) or model.dtype != "auto":
        return model
    return model.model_copy(update={"dtype": dtype}) if dtype == "float32" else None


def _here(model: ModelConfig) -> str:
    return str(dtype_for(model)).removeprefix("torch.")


def _finished(cells: Path, datasets: Sequence[str], arm: str, seed: int) -> Iterator[Path]:
    inner = "*" if arm == MAIN else f"*/{arm}"
    for name in datasets:
        yield from sorted((cells / name).glob(f"{inner}/seed-{seed}.json.gz"))
