"""From a trained folder to a model that can decode, without transformers and peft: they take longer to
import than all that is done here. Gives what `load` gives, to the bit, or None."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from giellm_utils.core.files import read_json, StorageError
from giellm_utils.core.paths import cache_dir
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import ModelConfig
from giellm_utils.models.text_tokenizer import FILE, SETTINGS, TextTokenizer

if TYPE_CHECKING:
    from giellm_utils.models.weights import Weights


def open_light(base: ModelConfig, folder: Path) -> tuple[TextTokenizer, Weights] | None:
    """Tokenizer and weights of the adapter or full model in `folder`; None where anything is not plainly
    there: then `load` finds it, makes it, or says what is wrong."""
    adapter = folder if (folder / "adapter_config.json").exists() else None
    source = _there(base) if adapter else folder
    if source is None:
        return None
    # A base of this project's making has a tokenizer as transformers saves it, which need not lie here too.
    made = base.id in PACKAGED or base.id == "scratch"
    own = source if made and not (folder / FILE).exists() else folder
    if not all((own / name).exists() for name in (FILE, SETTINGS)):
        return None
    from giellm_utils.models.weights import dtype_for, read

    try:
        weights = read(source, adapter, dtype_for(base))
        return weights and (TextTokenizer(own), weights)
    except (OSError, StorageError, KeyError):
        return None


def _there(base: ModelConfig) -> Path | None:
    """The folder of a base model that lies on this machine, finished; None for one that must be made or
    asked for."""
    if base.id != "scratch" and base.id not in PACKAGED:
        return Path(base.id) if Path(base.id).is_dir() and base.revision is None else None
    folder = cache_dir() / "models" / ("scratch-1" if base.id == "scratch" else base.id)
    done, weights = folder / "COMPLETE.json", folder / "model.safetensors"
    whole = done.exists() and weights.exists() and weights.stat().st_size == read_json(done)["bytes"]
    return folder if whole else None
