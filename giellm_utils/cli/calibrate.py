"""`giellm calibrate`: how far a run's confidences agree with what is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

import typer

from giellm_utils.cli.evaluate import checked_split
from giellm_utils.core import paths
from giellm_utils.core.calibration_report import FOLDER, Reliability, Temperatures
from giellm_utils.core.settings import ConfigError
from giellm_utils.models.bundle import CARD

if TYPE_CHECKING:
    from giellm_utils.experiment.calibrate import Subject


def calibrate(
        run: Annotated[str, typer.Argument(
            help="Folder below runs/ of a run, or of one training (mre-dev/scnm/joint/scnm/seed-101), "
            "trained without the split that is asked about; or the path of released weights "
            "(weights/scnm-tcree): with --split test, on the open datasets of their tasks, at "
            "the temperatures of their card.")],
        task: Annotated[list[str] | None, typer.Option(
            "--task", "-t", help="One of the model's tasks; again for another. Default: all.")] = None,
        condition: Annotated[str, typer.Option(help="Which trained system of a run.")] = "joint",
        data: Annotated[str | None, typer.Option(
            help="The dataset of one training, where its path does not say it: tcree-blind.")] = None,
        split: Annotated[str, typer.Option(
            help="dev, or test to report on: there nothing is fitted.")] = "dev",
        limit: Annotated[int | None, typer.Option(
            min=1, help="Documents of each task, the first by text hash; default: all.")] = None,
        batch_size: Annotated[int, typer.Option(min=1, help="Texts decoded at once.")] = 16,
        resamples: Annotated[int, typer.Option(min=10, help="Of the bootstrap over documents.")] = 2000,
        seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 42,
        temperatures: Annotated[Path | None, typer.Option(
            help="Report on dev of the same training: take confidences at its temperatures. Not on "
            "dev.")] = None,
        out: Annotated[Path, typer.Option(
            help="Folder in which RUN.json goes; its name says a condition that is not joint, data that were "
            "given, test, and temperatures.")] = Path("results") / FOLDER,
        ) -> None:
    """Reliability of the confidences of text labels and words, and a temperature: fitted on half of dev and
    measured on the other, and on all of it for giellm push --calibration."""
    from giellm_utils.experiment import calibrate as engine

    there, alone, subject, taken_at = _subject(run, condition, data, temperatures)
    name = engine.run_name(there, alone=alone)
    report = engine.calibrate(subject, name, split=checked_split(split), tasks=task or (), limit=limit,
                              batch_size=batch_size, resamples=resamples, seed=seed, temperatures=taken_at,
                              show=typer.echo)
    for dataset, found in report.tasks.items():
        for what, reliability in (("text label", found.label), ("words", found.words)):
            if reliability:
                typer.echo(f"{dataset}, {what}: {sentence(reliability)}")
    # A look at another condition, other data or test does not take the place of the report on dev.
    parts = (name, data if alone else "" if condition == "joint" else condition,
             "" if split == "dev" else split, "temperatures" if taken_at else "")
    typer.echo(paths.shown(engine.write_report(out / f"{'-'.join(filter(None, parts))}.json", report)))


def _subject(run: str, condition: str, data: str | None, temperatures: Path | None
             ) -> tuple[Path, bool, Subject, Mapping[str, Temperatures] | None]:
    """Its folder, whether that is one training's, what is calibrated, and the temperatures to be taken."""
    from giellm_utils.experiment import calibrate as engine

    if (Path(run) / CARD).is_file():
        if condition != "joint" or data or temperatures:
            raise ConfigError(f"{run} holds released weights, whose card says condition, tasks and "
                              "temperatures; leave out --condition, --data and --temperatures")
        there = Path(run).resolve()
        return there, False, *engine.of_released(there)
    there = paths.runs_dir() / run
    alone = (there / "summary.json").exists()
    subject = engine.of_training(there, data) if alone else engine.of_run(there, condition)
    return there, alone, subject, temperatures and engine.temperatures_of(temperatures, subject.folder)


def sentence(found: Reliability) -> str:
    """One level in a line; per cent, its 95 % intervals in brackets."""
    error, temperature = found.error, found.temperature
    said = (f"{found.n} in {found.documents} documents, {100 * found.right.value:.1f} % right, mean "
            f"confidence {100 * found.confidence.value:.1f} %, expected calibration error "
            f"{100 * error.value:.1f} [{100 * error.low:.1f}, {100 * error.high:.1f}]")
    if temperature and not temperature.fitted:
        said += (f", {100 * temperature.before.value:.1f} without the temperature "
                 f"{temperature.value:.2f}")
    elif temperature:
        said += (f"; temperature {temperature.value:.2f} takes it from {100 * temperature.before.value:.1f} "
                 f"to {100 * temperature.after.value:.1f} on the other half")
        if temperature.whole:
            said += f"; that of all documents is {temperature.whole:.2f}"
    return said
