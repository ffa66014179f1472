"""`giellm bench`: measurements whose JSON and table are committed below results/.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from giellm_utils.core import paths
from giellm_utils.core.artifacts import EVALUATE
from giellm_utils.core.settings import ConfigError

bench_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                        help="Measurements: speed of decoding, training and a first answer, planned beside "
                             "measured memory, kills, token costs, scores on samples of documents.")


class Corpus(str, Enum):
    embedded = "embedded"
    open = "open"


class Dtype(str, Enum):
    auto = "auto"
    bfloat16 = "bfloat16"
    float32 = "float32"


@bench_app.command()
def decoding(profile: Annotated[str, typer.Option("--profile", "-p", help="The run's profile.")] = "mini",
             run: Annotated[str, typer.Option(help="Folder below runs/; default: the profile's name.")] = "",
             items: Annotated[int, typer.Option(min=1, help="Texts, by text hash.")] = 200,
             systems: Annotated[str, typer.Option(help="Some of them, with commas; default: all.")] = "",
             batch_size: Annotated[int | None, typer.Option(
                 min=1, help="Default: the profile's generation.batch_size.")] = None,
             growth: Annotated[int, typer.Option(
                 min=0, help="Texts for growth with batch size and length; 0: none.")] = 64,
             threads: Annotated[int | None, typer.Option(
                 min=1, help="Threads of torch; default: all processors.")] = None,
             out: Annotated[Path, typer.Option(help="Where RUN.json goes.")] = Path("results/bench"),
             ) -> None:
    """How fast a run's joint model decodes, and what each lever of our decoding gives."""
    from giellm_utils.experiment.profile import load_profile

    loaded = load_profile(profile)
    folder = paths.runs_dir() / (run or loaded.name)
    import torch

    from giellm_utils.experiment.benchmarks import decoding as benchmark
    from giellm_utils.reporting.measurements import decoding_table
    from giellm_utils.reporting.results import RunResults
    from giellm_utils.reporting.tables import write_measured

    if threads:
        torch.set_num_threads(threads)
    names = [name.strip() for name in systems.split(",") if name.strip()] or list(benchmark.SYSTEMS)
    result = benchmark.run_bench(loaded, folder, items, names, source=RunResults(folder).source(),
                                 batch_size=batch_size, grow=growth)
    write_measured(out / f"{folder.name}.json", result, decoding_table(result))


@bench_app.command()
def training(source: Annotated[Corpus, typer.Option(help="embedded (mini corpus) or open.")] = Corpus.open,
             model: Annotated[str, typer.Option(help="Base model.")] = "gemma-3-270m-q4km",
             steps: Annotated[int, typer.Option(min=8, help="Of 8 sequences, an epoch.")] = 16,
             epochs: Annotated[int, typer.Option(min=1, help="The last is timed; of an only one all but its "
                                                             "first steps.")] = 2,
             ways: Annotated[str, typer.Option(help="Some of them, with commas; default: all.")] = "",
             seed: Annotated[int, typer.Option(help="Of adapters and order.")] = 42,
             out: Annotated[Path, typer.Option(help="Where scnm-SOURCE-PROCESSOR.json goes.")] = Path(
                 "results/training")) -> None:
    """How fast we train, beside transformers' Trainer and TRL as they come, and the ceiling of products."""
    from giellm_utils.experiment.benchmarks import training as benchmark
    from giellm_utils.models.spec import ModelConfig
    from giellm_utils.reporting.measurements import training_table
    from giellm_utils.reporting.tables import write_measured

    names = [name.strip() for name in ways.split(",") if name.strip()] or list(benchmark.WAYS)
    result = benchmark.run(source.value, ModelConfig(id=model), steps, epochs, seed, names)
    processor = result["instructions"].lower().replace(" ", "-")
    write_measured(out / f"scnm-{source.value}-{processor}.json", result, training_table(result))


@bench_app.command()
def dev_loss(source: Annotated[Corpus, typer.Option(help="embedded (mini corpus) or open.")] = Corpus.open,
             model: Annotated[str, typer.Option(help="Base model.")] = "gemma-3-270m-q4km",
             dtype: Annotated[Dtype, typer.Option(help="What it computes in.")] = Dtype.auto,
             texts: Annotated[int, typer.Option(min=8, help="Of train, by text hash.")] = 128,
             epochs: Annotated[int, typer.Option(min=1, help="Over them.")] = 3,
             seeds: Annotated[list[int] | None, typer.Option("--seed", help="A seed; again for another. "
                                                             "Default: 1 to 3.")] = None,
             levers: Annotated[str, typer.Option(help="Some of them, with commas; default: all.")] = "",
             out: Annotated[Path, typer.Option(help="Where scnm-SOURCE.json goes.")] = Path(
                 "results/dev-loss")) -> None:
    """What dropout, the order of batches and few output rows cost or earn on dev, over seeds.

    Begun again after a kill, it goes on with the training that was cut.
    """
    from giellm_utils.experiment.benchmarks import dev_loss as benchmark
    from giellm_utils.models.spec import ModelConfig
    from giellm_utils.reporting.measurements import dev_loss_table
    from giellm_utils.reporting.tables import write_measured

    names = [name.strip() for name in levers.split(",") if name.strip()] or list(benchmark.LEVERS)
    path = out / f"scnm-{source.value}.json"
    part = path.with_name(f"{path.name}.part")
    result = benchmark.run(source.value, ModelConfig(id=model, dtype=dtype.value), texts, epochs,
                           seeds or [1, 2, 3], names, typer.echo, part)
    write_measured(path, result, dev_loss_table(result))
    part.unlink(missing_ok=True)


@bench_app.command()
def memory(source: Annotated[Corpus, typer.Option(help="embedded (mini corpus) or open.")] = Corpus.open,
           models: Annotated[str, typer.Option(help="Some of them, with commas; default: both packaged ones "
                                               "and a Llama from scratch.")] = "",
           methods: Annotated[str, typer.Option(help="lora, full or both, with commas.")] = "lora,full",
           batches: Annotated[str, typer.Option(help="Sequences a step, with commas.")] = "2,8",
           steps: Annotated[int, typer.Option(min=2, help="Of each training.")] = 6,
           seed: Annotated[int, typer.Option(help="Of adapters and order.")] = 42,
           replan: Annotated[bool, typer.Option(
               "--replan", help="Train nothing: today's plans beside the peaks measured before.")] = False,
           out: Annotated[Path, typer.Option(help="Where scnm-SOURCE.json goes.")] = Path("results/memory"),
           ) -> None:
    """The peak memory that giellm plan gives beside the peak of real trainings; let nothing else run."""
    from giellm_utils.core import artifacts
    from giellm_utils.core.plan_record import MemoryFile
    from giellm_utils.experiment.benchmarks import memory as benchmark
    from giellm_utils.reporting.plan_tables import memory_table

    def listed(text: str, option: str, known: tuple[str, ...]) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"--{option} {unknown[0]}: not known; known: {', '.join(known)}")
        return names

    if not all(part.strip().isdecimal() and int(part) for part in batches.split(",")):
        raise ConfigError(f"--batches {batches}: write numbers of sequences with commas, such as 2,8")
    chosen = listed(models, "models", (*benchmark.MODELS, "scratch")) if models else benchmark.MODELS
    cases = chosen, listed(methods, "methods", benchmark.METHODS), [int(n) for n in batches.split(",")]
    path = out / f"scnm-{source.value}.json"
    if replan:
        anew = benchmark.replan(artifacts.read(path, MemoryFile), source.value)
        artifacts.write(path, anew)
        typer.echo(memory_table(anew.model_dump(mode="json")))
        return
    benchmark.check_replaced(path, *cases)
    # A run cut short leaves its cases there, and the results as they were.
    part = path.with_name(f"{path.name}.part")
    found = benchmark.run(source.value, *cases, steps=steps, seed=seed,
                          keep=lambda file: artifacts.write(part, file))
    part.replace(path)
    typer.echo(memory_table(found.model_dump(mode="json")))


@bench_app.command()
def extract(model: Annotated[str, typer.Option("--model", "-m", help="A training's folder.")] = str(
                paths.WEIGHTS),
            task: Annotated[str, typer.Option("--task", "-t", help="One of the model's.")] = "scnm",
            text: Annotated[str, typer.Option(help="What is read.")] = (
                "2020年、株式会社みどり堂の田中は京都で展示会を開いた。"),
            times: Annotated[int, typer.Option(min=1, help="Answers, each in new processes.")] = 5,
            out: Annotated[Path, typer.Option(help="Where MODEL.json goes.")] = Path("results/extract"),
            ) -> None:
    """What the first answer of giellm extract takes, by parts; let nothing else run."""
    from giellm_utils.experiment.benchmarks import first_answer as benchmark
    from giellm_utils.models.bundle import find_weights, read_card
    from giellm_utils.models.spec import statement
    from giellm_utils.reporting.measurements import first_answer_table
    from giellm_utils.reporting.tables import write_measured

    folder = find_weights(model)
    card = folder and read_card(folder)
    if not card:
        raise ConfigError(f"--model {Path(model).name}: no training's folder (it has no giellm.json)")
    result = benchmark.run(model, task, text, times, source=statement(card.base))
    write_measured(out / f"{Path(model).name}.json", result, first_answer_table(result))


@bench_app.command()
def chaos(target: Annotated[list[str] | None, typer.Option(help="One of them; again for another. Default: "
                                                           "all.")] = None,
          kills: Annotated[int, typer.Option(min=1, help="SIGKILLs a target.")] = 20,
          minutes: Annotated[float, typer.Option(help="Begin nothing new after so long.")] = 600,
          seed: Annotated[int, typer.Option(help="Of the moments and the victims.")] = 42,
          work: Annotated[Path, typer.Option(help="Where it works, and goes on.")] = Path("runs/.chaos"),
          out: Annotated[Path, typer.Option(help="Where PROFILE.json goes.")] = Path("results/chaos"),
          ) -> None:
    """Kill runs, trainings and extractions at random moments; what is there in the end against unbroken ones.

    Exit code 1 where anything was lost, doubled or different, or a process outlived a kill.
    """
    import signal
    import sys

    from giellm_utils.experiment.chaos import lives, targets
    from giellm_utils.reporting.measurements import chaos_table
    from giellm_utils.reporting.tables import write_measured

    known = list(targets.targets(work))
    if unknown := [name for name in target or () if name not in known]:
        raise ConfigError(f"--target {unknown[0]}: not known; known: {', '.join(known)}")
    # `timeout` and a closed terminal must not leave what was started behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found = lives.chaos(work.resolve(), target or known, kills, seed, minutes, typer.echo)
    result = found.model_dump(mode="json")
    if all(sum(len(x.kills) for x in found.lives if x.target == name) >= kills for name in known):
        write_measured(out / f"{found.profile}.json", result, chaos_table(result))
    else:
        typer.echo(chaos_table(result))
    raise typer.Exit(int(not all(life.is_clean for life in found.lives)))


@bench_app.command()
def tokens(source: Annotated[Corpus, typer.Option(help="embedded (mini corpus) or open.")],
           model: Annotated[str, typer.Option(help="Whose tokenizer.")] = "gemma-3-270m-q4km",
           items: Annotated[int, typer.Option(min=1, help="Sentences, by text hash.")] = 500,
           seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 42,
           out: Annotated[Path, typer.Option(help="Where scnm-SOURCE.json goes.")] = Path(
               "results/token_costs")) -> None:
    """What one SCNM text costs in tokens, in our format and in those of others."""
    from giellm_utils.experiment.benchmarks import tokens as benchmark
    from giellm_utils.models.spec import ModelConfig
    from giellm_utils.reporting.measurements import token_table
    from giellm_utils.reporting.tables import write_measured

    result = benchmark.run(source.value, ModelConfig(id=model), items, seed)
    write_measured(out / f"scnm-{source.value}.json", result, token_table(result))


@bench_app.command()
def subsample(run: Annotated[str, typer.Option(help="Folder below runs/.")],
              task: Annotated[str, typer.Option(help="One of its tasks.")],
              condition: Annotated[str, typer.Option(help="Which trained system.")] = "joint",
              first: Annotated[int, typer.Option(min=1, help="Documents by id to score apart.")] = 200,
              draws: Annotated[int, typer.Option(min=1, help="Samples of each size.")] = 10_000,
              seed: Annotated[int, typer.Option(help="Of the samples and the bootstrap.")] = 42,
              out: Annotated[Path, typer.Option(help="Where RUN.CONDITION.TASK.json goes.")] = Path(
                  "results/subsample")) -> None:
    """How far a score on few test documents may lie from that on all of a run's documents."""
    path = paths.runs_dir() / run / EVALUATE / "documents" / f"{condition}.{task}.csv"
    if not path.exists():
        raise ConfigError(f"{paths.shown(path)} is missing: run the profile of {run} to stage 04 first")
    import pandas as pd

    from giellm_utils.core.files import write_json
    from giellm_utils.evaluation import subsample as samples
    from giellm_utils.experiment.environment import git_revision

    frame = pd.read_csv(path, dtype={"id": str})
    if first > len(frame):
        raise ConfigError(f"--first is {first}; give 1 to {len(frame)}, the documents of this run")
    found = samples.subsample(frame, first, draws=draws, seed=seed)
    write_json(out / f"{run}.{condition}.{task}.json",
               {"run": run, "condition": condition, "task": task, **found.model_dump(mode="json"),
                "git": git_revision()})
    typer.echo(f"all {found.n}, then the first {first}, then 95 % of samples of so many, per cent")
    first_scores = {m: getattr(found.first, m) for m in samples.MEASURED}
    for name, scores in (("all", found.all), ("first", first_scores)):
        typer.echo(f"{name:>6} {({m: round(100 * s.value, 1) for m, s in scores.items() if s})}")
    for n, spans in found.samples.items():
        typer.echo(f"{n:>6} {({m: [round(100 * x, 1) for x in span] for m, span in spans.items()})}")
