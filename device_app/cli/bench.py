"""asr-edge bench: speed, latency and memory of the recogniser on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.progress import progress


def bench(
    recordings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILES|FOLDERS]...", help="At least 10 s of speech.", show_default="the embedded recordings"
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs, of which the median is shown.")] = 5,
    model: options.Model = None,
    precision: options.Precision = "int8",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Measure speed, latency and memory on this machine."""
    import time

    from device_app.audio.samples import SAMPLE_RATE, read
    from device_app.audio.sources import find_recordings
    from device_app.evaluation.memory import peak_memory_mb
    from device_app.evaluation.speed import measure, steps
    from device_app.paths import RECORDINGS
    from editing.errors import BadInputError

    paths = [r.path for r in find_recordings(recordings or [str(RECORDINGS)])]
    if None in paths:
        raise BadInputError("bench reads files, not standard input")
    audio = [read(path) for path in paths if path is not None]
    if sum(map(len, audio)) < 10 * SAMPLE_RATE:
        raise BadInputError(f"{', '.join(map(str, paths))}: less than 10 s in total; add recordings")
    # Bakes the model if necessary, so that the next load is measured without it.
    options.load(model, threads, precision)
    began = time.perf_counter()
    bundle, transcriber = options.load(model, threads, precision)
    load_s = time.perf_counter() - began
    with progress("measuring", steps(repeats)) as advance:
        figures = measure(transcriber, audio, repeats, on_done=lambda: advance(1))
    report = {
        "model": bundle.name,
        "precision": precision,
        "load_s": round(load_s, 3),
        **figures,
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    if as_json:
        print_json(report)
        return
    echo(f"{bundle.name} ({precision})")
    echo(f"  load               {report['load_s']:.3f} s")
    echo(f"  first text         {report['first_text_s']:.3f} s  (3 s of speech, just after loading)")
    echo(f"  real-time factor   {report['rtf']:.4f}  ({1 / report['rtf']:.0f} x real time)")
    echo(f"  clips              {', '.join(f'{s} s: {ms:.0f} ms' for s, ms in report['clips_ms'].items())}")
    latency = report["end_of_speech_ms"]
    echo(
        f"  end of speech      {latency['median']:.1f} ms median, {latency['p95']:.1f} ms p95, "
        f"after {report['silence_s']:g} s of silence"
    )
    echo(f"  peak memory        {report['peak_memory_mb']:.0f} MB")
