"""asr-edge lifelong: the experiment of arXiv 2406.17935 (sequential editing), with more methods, on any data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table
from device_app.extras import need_packages

app = typer.Typer(help="Compare lifelong-learning methods on a sequence of domains.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Base, order of domains, methods, seeds.")]
Out = Annotated[
    Path | None, typer.Option(help="The folder for the results.", show_default="the configuration's name without .toml")
]


@app.command("run")
def run(
    config: Config,
    out: Out = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Run on this machine or on a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster.", show_default="one on this machine")
    ] = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Run every method on all domains in order; finished steps are not repeated.

    Writes summary.md, results.json, results.csv and plots.
    """
    need_packages("train")
    from trainer import executors
    from trainer.lifelong import plots, runner
    from trainer.lifelong.config import read_experiment
    from trainer.lifelong.results import write_results
    from trainer.lifelong.tables import table

    experiment = read_experiment(config)
    folder = out or (config.with_suffix("") if config.suffix else config.with_name(f"{config.name}-results"))
    executor = executors.RayExecutor(address) if engine == "ray" else executors.LocalExecutor()
    runner.run(experiment, folder.resolve(), options.tell, threads, executor)
    results = write_results(experiment, folder)
    if as_json:
        print_json(results)
    else:
        head, rows = table(results)
        print_table([head, *rows], right=set(range(1, len(head))))
        options.tell(f"Full results: {folder / 'summary.md'}")
    _draw(lambda: plots.draw_run(results, experiment.order, folder))


@app.command("sweep")
def sweep(
    config: Config,
    out: Out = None,
    utterances: Annotated[
        int, typer.Option(min=1, metavar="N", help="Test on the first N utterances of each test split.")
    ] = 20,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Score lambda 0.1 to 0.9 with density 0.1 to 0.9 (TIES), with one fine-tuning per step.

    Each step starts from the step before, merged with lambda 0.6 and density 0.5. Writes sweep.json and a heat map per
    step.
    """
    need_packages("train")
    from trainer.lifelong import plots
    from trainer.lifelong import sweep as sweeping
    from trainer.lifelong.config import read_experiment

    experiment = read_experiment(config)
    folder = out or config.with_name(f"{config.stem}-sweep")
    cells = len(experiment.order) * len(sweeping.LAMBDAS) * len(sweeping.DENSITIES)
    with progress("scoring", cells) as advance:
        found = sweeping.sweep(
            experiment, folder, options.tell, utterances=utterances, threads=threads, on_done=lambda: advance(1)
        )
    if as_json:
        print_json(found)
    else:
        _print_best(found)
        options.tell(f"Full results: {folder}")
    _draw(lambda: plots.draw_sweep(found, folder))


def _print_best(found: Mapping[str, Any]) -> None:
    """Prints the best pair of each step of a sweep as a table."""
    rows: list[list[object]] = [
        ["step", "domain", "lambda", "density", "average WER", "fine-tuning s", "merging s", "recognition s"]
    ]
    for step in found["steps"]:
        best = step["best"]
        costs = (f"{step[key]:.0f}" for key in ("tuning_s", "merging_s", "recognition_s"))
        rows.append(
            [step["number"], step["domain"], best["lam"], best["density"], f"{best['average_wer']:.1%}", *costs]
        )
    print_table(rows, right={0, *range(2, 8)})


@app.command("overhead")
def overhead(
    out: Annotated[Path, typer.Option(help="The folder for the task vectors that it writes.")] = Path("overhead"),
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure the cost of 1, 5, 10 and 20 stored edits: disk, memory, merging and latency."""
    need_packages("train")
    from trainer.lifelong.overhead import overhead as measure

    rows = measure(out, model=model, threads=threads)
    if as_json:
        print_json(rows)
        return
    table: list[list[object]] = [["edits", "disk MB", "merge s", "bake s", "peak MB", "latency ms", "relative to base"]]
    table += [
        [
            int(row["edits"]),
            f"{row['disk_mb']:.0f}",
            f"{row['merge_s']:.2f}",
            f"{row['bake_s']:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{row['latency_ms']:.0f}",
            f"{row['latency_ratio']:.2f} x",
        ]
        for row in rows
    ]
    print_table(table, right=set(range(7)))


@app.command("synthesise")
def synthesise(
    folder: Annotated[Path, typer.Argument(help="The folder for the accents, one folder each.")],
    base: Annotated[int, typer.Option(min=1, help="US utterances, to train a base.")] = 4000,
    train: Annotated[int, typer.Option(min=1, help="Training utterances of each other accent.")] = 200,
    test: Annotated[int, typer.Option(min=1, help="Test utterances of each accent.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="For sentences, voices and speeds.")] = 0,
) -> None:
    """Synthesise the benchmark synthetic-accents with espeak-ng and flite, offline: six accents, many voices.

    Train and test share no sentence and no voice.
    """
    need_packages("train")
    from trainer.lifelong.corpora.synthetic import ACCENTS, Sizes
    from trainer.lifelong.corpora.synthetic import synthesise as synthesise_accents

    sizes = Sizes(base, train, test)
    total = base + (len(ACCENTS) - 1) * train + len(ACCENTS) * test
    with progress("synthesising", total) as advance:
        for manifest in synthesise_accents(folder, sizes, seed, lambda: advance(1)):
            echo(manifest)


@app.command("corpus")
def corpus(
    name: Annotated[
        Literal["common-voice", "librispeech", "ted-lium"], typer.Argument(help="The corpus in the folder.")
    ],
    folder: Annotated[Path, typer.Argument(help="The unpacked corpus.")],
    out: Annotated[Path, typer.Argument(help="The folder for manifests and configuration.")],
    accents: Annotated[
        list[str] | None,
        typer.Option(
            "--accent",
            help="For Common Voice: accents in order, the base's first.",
            show_default="US, then the largest",
        ),
    ] = None,
    train: Annotated[int, typer.Option(min=1, help="Training utterances of each domain.")] = 1000,
    test: Annotated[int, typer.Option(min=1, help="Test utterances of each domain.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="For the choice of utterances.")] = 0,
) -> None:
    """Prepare an experiment from a published corpus: Common Voice by accent, LibriSpeech, TED-LIUM 3."""
    from trainer.lifelong.corpora.experiment import prepare

    with progress("reading", 0) as advance:
        config = prepare(name, folder, out, accents=accents or (), train=train, test=test, seed=seed, on_done=advance)
    echo(config)
    options.tell(f"If the file has a line 'base', enter your base model there. Then: asr-edge lifelong run {config}")


def _draw(draw: Callable[[], list[Path]]) -> None:
    """Draws plots if matplotlib is installed; call it last, so that a full disk hides no result.

    Raises:
        StorageError: a plot cannot be written.
    """
    from editing.errors import MissingDependencyError

    try:
        draw()
    except MissingDependencyError as error:
        options.tell(str(error))
