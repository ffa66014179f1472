"""README.md and NOTICE.txt of a published training: what it is, what it learned from, on which terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import yaml

from giellm_utils.core.artifacts import Score
from giellm_utils.core.calibration_report import temperatures_line
from giellm_utils.core.conditions import CONDITIONS
from giellm_utils.core.settings import load_yaml
from giellm_utils.core.sources import METHODS
from giellm_utils.experiment.release import Release
from giellm_utils.models.bundle import Card
from giellm_utils.models.packaged import PACKAGED
from giellm_utils.models.spec import statement
from giellm_utils.training.config import TrainingJob

#: What stands on every card, whatever was trained.
STAND_IN = ("This is **not** one of the models published with GIELLM (Gan, Zhang, Mori 2023, arXiv "
            "2311.06838). It was trained with the code of GIELLM Lab on the data named below, not on the "
            "paper's, which they stand in for at best; its scores are not the paper's.")
#: Of a training with output_rows: texts.
FEW_ROWS = (" The loss scored only the rows of the output layer that a grammar could allow for the texts "
            "trained on: decode under a grammar, or score no other rows.")
#: Metric -> head of its column.
SCORED = {"tl": "TL", "wl_exact": "WL, exact", "all": "ALL", "f1": "word micro-F1"}


def readme(release: Release, repo: str, note: str = "") -> bytes:
    """The model card of `repo`: metadata in YAML, then Markdown; `note` stands below its scores."""
    head = yaml.safe_dump(_metadata(release), allow_unicode=True, sort_keys=False)
    parts = [f"---\n{head}---\n", f"# {repo.rpartition('/')[2]}\n", f"{_about(release)}\n", f"{STAND_IN}\n",
             "## Labels, and what it is for\n", labels(release.card),
             "## Data it learned from\n", _data(release), "## Base model and terms\n", _terms(release),
             "## Training\n", _training(release), "## Scores\n",
             _scores(release) + (f"\n{md(note)}\n" if note else ""), "## Use\n",
             "With GIELLM Lab's code (`make setup` in a clone; `giellm` is `.venv/bin/giellm`), which "
             "decodes it under its grammar; free decoding by other code was not tried:\n",
             f'```sh\ngiellm extract "文" --model {repo}\n```\n']
    return "\n".join(parts).encode()


def notice(release: Release) -> bytes:
    """NOTICE.txt: the base model's terms, what was changed, and whose data it learned from."""
    summary = release.summary
    data = [f"- {task}: {p.title}; {p.licence}; {p.attribution}" for task, p in release.data.items()]
    return "\n".join([
        release.terms.notice, "",
        f"Changed here: {METHODS[summary.method]} by GIELLM Lab's giellm_utils; these weights are a modified "
        "version.",
        *([f"\nLicence of the base model: {', '.join(release.terms.files)}"] if release.terms.files else []),
        "", "Trained on:", *data, ""]).encode()


def _metadata(release: Release) -> dict[str, object]:
    base, adapter = release.terms.owner, "adapter_config.json" in release.files
    found: dict[str, object] = {"license": release.terms.licence or "other", "language": ["ja"],
                                "library_name": "peft" if adapter else "transformers",
                                "pipeline_tag": "text-generation",
                                "tags": ["giellm", "information-extraction", "japanese"]}
    if base:
        found |= {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"}
    return found


def _about(release: Release) -> str:
    card, summary = release.card, release.summary
    condition = CONDITIONS[card.condition].title if card.condition in CONDITIONS else "unknown"
    return (f"{METHODS[summary.method]} of {md(summary.model)} for Japanese information extraction: "
            f"{', '.join(f'{md(t.title)} (`{name}`)' for name, t in card.tasks.items())}. Condition: "
            f"{condition}. Format: `{card.format_name}`.")


def labels(card: Card) -> str:
    """What it can say of a text, of which texts it learned, and what to expect beside them."""
    said = CONDITIONS[card.condition].scored if card.condition in CONDITIONS else "joint"
    rows = [(task.title, kind, "、".join(found)) for task in card.tasks.values()
            for kind, found in (("text", task.text_labels), *((p.kind, p.labels) for p in task.parts))
            if said == "joint" or (kind == "text") == (said == "text")]
    lengths = "; ".join(f"{name} {task.lengths.median}, {task.lengths.p95}, {task.lengths.longest}"
                        for name, task in card.tasks.items() if task.lengths)
    of = (f" Characters of the texts it learned from, median, 95th percentile and longest: {lengths}."
          if lengths else "")
    return (table(("task", "level", "labels"), rows)
            + "\nFor research and for reading many texts like those below, whose labels somebody checks: of "
              "any text at all it says what it learned to say, also where no label fits, and no decision "
              f"about a person should rest on it.{of}\n")


def _data(release: Release) -> str:
    return table(("task", "data", "licence", "attribution", "may be passed on", "note"), (
        (task, p.title, p.licence, p.attribution, "yes" if p.redistributable else "no", p.note)
        for task, p in release.data.items()))


def _terms(release: Release) -> str:
    base, terms = release.card.base, release.terms
    files = f" Its licence is in {', '.join(f'`{name}`' for name in terms.files)}." if terms.files else ""
    said = "\n".join(f"> {md(line)}" for line in terms.notice.splitlines())
    odd = ("" if base.id not in PACKAGED else
           f" It was trained on weights that were dequantised ({md(statement(base))}), not on those of "
           f"`{terms.owner}`: on these it was not tried.")
    bare = ("" if "tokenizer.json" in release.files else
            f" Its tokenizer is the base model's ({md(base.id)} here) and does not lie beside it.")
    return f"{said}\n\n{files.strip()}{odd}{bare}\n".lstrip()


def _training(release: Release) -> str:
    s = release.summary
    job = release.training / "training.yaml"
    few = job.exists() and load_yaml(job, TrainingJob).training.output_rows == "texts"
    stopped = f" (of {s.planned_steps:,} planned: the clock stopped it)" if s.stopped_by_minutes else ""
    return (f"{s.sequences:,} sequences, {s.steps:,} steps of {s.batch_size}{stopped}, seed {s.seed}, "
            f"{s.dtype} on {s.device}, {s.seconds / 60:.1f} minutes, {s.trainable_parameters:,} trained "
            f"parameters, last logged loss {s.final_loss:.3f} nats a target token."
            f"{FEW_ROWS if few else ''}\n")


def _scores(release: Release) -> str:
    at = temperatures_line({name: task.temperatures for name, task in release.card.tasks.items()})
    sure = f"\nIts confidences are said at temperatures that were fitted on dev: {at}.\n" if at else ""
    if not release.scores:
        return f"This model was not scored.\n{sure}"
    rows = [(task, *(_cell(found.all.get(metric)) for metric in SCORED), str(found.n))
            for task, found in release.scores.items()]
    return (table(("task", *SCORED.values(), "n"), rows)
            + "\nPer cent on the test split of the data above, with 95 % bootstrap intervals over documents; "
              f"one seed.\n{sure}")


def _cell(score: Score | None) -> str:
    if score is None or score.value is None:
        return "–"
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of plain texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(md(cell) for cell in row) + " |\n" for row in lines)


def md(text: str) -> str:
    """`text` on one line, none of it read as Markdown or HTML."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|" else c for c in line)
