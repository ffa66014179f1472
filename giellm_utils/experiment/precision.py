"""In which precision a cell is computed: that of the cells it will be compared with.

A difference is of two cells of one seed. A seed that was begun in fp32, by a grid that named it or where
`auto` meant it, goes on in fp32 elsewhere. A training of several datasets takes the first one's; where
another dataset's seed is in another precision, evaluation.trials leaves that seed out of what compares the
two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from giellm_utils.core.cells import Dtype, MAIN
from giellm_utils.experiment.cells import read_cell
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.weights import dtype_name


def of_seed(cells: Path, datasets: Sequence[str], arm: str, seed: int) -> Dtype | None:
    """What the finished cells of this seed were computed in: those of `arm`, else of the main arm; None
    where there are none. `datasets`: of the cell's training."""
    for name in dict.fromkeys((arm, MAIN)):
        for path in _finished(cells, datasets, name, seed):
            return read_cell(path).precision
    return None


def model_in(model: ModelConfig, dtype: Dtype | None) -> ModelConfig:
    """`model` as it is computed in `dtype` (None: in what `auto` means here), however slow that is here.

    A model whose configuration names a precision keeps it.
    """
    if model.dtype != "auto" or dtype in (None, dtype_name(model)):
        return model
    return model.model_copy(update={"dtype": dtype})


def _finished(cells: Path, datasets: Sequence[str], arm: str, seed: int) -> Iterator[Path]:
    inner = "*" if arm == MAIN else f"*/{arm}"
    for name in datasets:
        yield from sorted((cells / name).glob(f"{inner}/seed-{seed}.json.gz"))
