"""A profile: one YAML file that says all of a run. Each room owns its section; here they meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from giellm_utils.core.paths import ROOT
from giellm_utils.core.settings import ConfigError, load_yaml, Section
from giellm_utils.data.config import DataConfig
from giellm_utils.evaluation.config import EvaluationConfig
from giellm_utils.formats.config import FormatConfig
from giellm_utils.inference.config import GenerationConfig
from giellm_utils.models.spec import ModelConfig
from giellm_utils.systems.config import SystemsConfig
from giellm_utils.training.config import TrainingConfig

PROFILES = ROOT / "configs" / "profiles"


class Profile(Section):
    """One run: data, format, model, training, generation, evaluation and the one seed; and `systems`, what
    those of `giellm evaluate --system` take."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    description: str
    seed: int = 42
    data: DataConfig
    format: FormatConfig = FormatConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    systems: SystemsConfig = SystemsConfig()

    def value(self, key: str) -> Any:
        """What stands at a dotted key, ready for JSON: value("training.epochs"), value("data")."""
        found: Any = self.model_dump(mode="json")
        for name in key.split("."):
            found = found[name]
        return found


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """A profile by its name in configs/profiles, or by the path of a YAML file, with dotted-key
    `overrides`. Raises ConfigError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise ConfigError(f"no profile {name!r}; known profiles: {known} (or give the path of a .yaml file)")
    return load_yaml(path, Profile, overrides)
