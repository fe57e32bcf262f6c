"""asr-edge transcribe: recordings, standard input, or the microphone -> text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json, print_text
from device_app.cli.terminal.listening import listen
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.term_usage import counting_terms
from device_app.data.names import DEFAULT_DOMAIN
from device_app.recognition.writers import Format
from editing.errors import AsrEdgeError, BadInputError, counted

if TYPE_CHECKING:
    from device_app.audio.sources import Recording
    from device_app.data.utterance import Source
    from device_app.recognition.recordings.unfinished import UnfinishedTranscript
    from device_app.recognition.results import TranscriptSegment
    from device_app.recognition.transcriber import Transcriber
    from device_app.recording.saver import UtteranceSaver

FILE_FORMATS = (Format.SRT, Format.VTT, Format.TSV)  # a file of these formats holds one recording
STDOUT = "-"
PROGRESS_FROM_S = 10.0  # shorter recordings finish before a progress bar is useful


def transcribe(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILES|FOLDERS|-]...", help="Recordings; - is standard input. None: the microphone."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.TXT,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, or for several recordings a folder; - is standard output.",
            show_default="-",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Skip recordings whose result exists, to continue an interrupted run."),
    ] = False,
    model: options.Model = None,
    precision: options.Precision = "int8",
    lm: options.LanguageModel = None,
    beam: options.Beam = None,
    terms: options.TermsFile = None,
    no_terms: options.NoTerms = False,
    threads: options.Threads = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, help="How many recordings at once.", show_default="as many as there are cores"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or a part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="Show the microphones and exit.")] = False,
    silence: Annotated[
        float, typer.Option(min=0.1, max=5.0, help="Microphone: seconds of silence that end an utterance.")
    ] = 0.5,
    save: Annotated[
        bool, typer.Option("--save", help="Store audio and text on this machine, to correct the text.")
    ] = False,
    domain: Annotated[str, typer.Option(help="With --save: the name to keep the recordings under.")] = DEFAULT_DOMAIN,
) -> None:
    """Turn speech into text, offline.

    With no argument it listens to the microphone until Ctrl-C.
    """
    if output == STDOUT:
        output = None
    if list_devices:
        _list_devices(as_json=form == Format.JSON)
        return

    def load(threads: int | None) -> Transcriber:
        decoding = options.decoding_options(lm, beam, terms, no_terms, with_replacements=True)
        return options.load(model, threads, precision, decoding=decoding)[1]

    saving = _saving(domain, "imported" if sources else "recorded") if save else nullcontext()
    with saving as saver, counting_terms() as count_terms:

        def on_segment(segment: TranscriptSegment) -> None:
            count_terms(segment)
            if saver is not None:
                saver.save(segment)

        if sources:
            from device_app.audio.sources import find_recordings

            inputs = [*(path for path in (lm, terms) if path), *options.model_files(model)]
            recordings = find_recordings(sources, options.tell)
            is_several = len(recordings) > 1
            todo, targets = _targets(recordings, form, output, inputs, overwrite, skip_existing)
            if todo:
                jobs, threads = _parallelism(len(todo), jobs, threads, is_saving=save)
                _transcribe_recordings(todo, targets, form, load(threads), on_segment, jobs, is_several)
        else:
            _check_live(form, skip_existing)
            if output is not None:
                from device_app.audio.sources import check_file_output

                check_file_output(Path(output), overwrite=overwrite)
            listen(form, device, silence, lambda: load(threads), on_segment, saver, output)


@contextmanager
def _saving(domain: str, source: Source) -> Iterator[UtteranceSaver]:
    """Opens a saver. Prints that audio and text are stored and, at the end, the numbers of the stored utterances."""
    from device_app.data.store import Store
    from device_app.recording.saver import UtteranceSaver

    with Store() as store:  # opened first, so that an error comes before the first sentence
        saver = UtteranceSaver(store, domain, source)
        options.tell(f"Audio and text are stored on this machine, in {store.folder}, domain {domain!r}.")
        try:
            yield saver
        finally:
            if ids := saver.ids:
                numbers = f"{ids[0]}" if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
                another = "" if len(ids) == 1 else f", 'asr-edge correct {ids[0]}' another"
                options.tell(f"Stored as {numbers}. Is a text wrong? 'asr-edge correct' opens the last one{another}.")
            if known := saver.known:
                options.tell(f"Not stored again, because the same audio is in the store: {', '.join(map(str, known))}")


def _check_live(form: Format, skip_existing: bool) -> None:
    if skip_existing:
        raise BadInputError("--skip-existing is for recordings with --output")
    if form not in (Format.TXT, Format.JSONL):
        raise BadInputError(f"--format {form} is for recordings; the microphone gives txt or jsonl")


def _list_devices(as_json: bool) -> None:
    from dataclasses import asdict

    from device_app.audio.microphone import input_devices

    devices = input_devices()
    if as_json:
        print_json([asdict(device) for device in devices])
    elif not devices:
        options.tell("No microphone was found.")
    else:
        for device in devices:
            mark = "*" if device.is_default else " "
            echo(f"{mark} {device.index:3}  {device.name}  ({device.channels} ch, {device.sample_rate:g} Hz)")


def _parallelism(count: int, jobs: int | None, threads: int | None, *, is_saving: bool) -> tuple[int, int | None]:
    """How many recordings to transcribe at once, and the threads for each (None: the recogniser chooses).

    On two cores, two recordings in parallel with one thread each take two thirds of the time that they take one after
    the other with two threads.
    """
    from device_app.recognition.onnx_session import available_cores

    if is_saving and (jobs or 1) > 1:
        raise BadInputError("--jobs cannot be combined with --save, which stores one recording after the other")
    cores = available_cores()
    if is_saving:
        jobs = 1
    jobs = min(count, jobs or max(1, cores // (threads or 1)))
    if jobs > 1 and threads is None:
        threads = max(1, min(4, cores // jobs))
    return jobs, threads


def _targets(
    recordings: Sequence[Recording],
    form: Format,
    output: str | None,
    inputs: Sequence[Path],
    overwrite: bool,
    skip_existing: bool,
) -> tuple[Sequence[Recording], Sequence[Path]]:
    """The recordings to transcribe and the file of each one's result, checked before any work.

    An empty list of files means standard output. With --skip-existing, recordings that have a result are left out.

    Args:
        recordings: the recordings that the user named.
        form: --format.
        output: --output; None is standard output.
        inputs: other files that the command reads, which no result may replace.
        overwrite: --overwrite.
        skip_existing: --skip-existing.

    Raises:
        BadInputError: the options exclude each other, or a result would replace a file.
        StorageError: a file cannot be written.
    """
    from device_app.audio.sources import check_outputs, output_paths
    from editing.files import check_writable

    if skip_existing and (output is None or overwrite):
        raise BadInputError("--skip-existing needs --output, and cannot be combined with --overwrite")
    if output is None and len(recordings) > 1 and form in FILE_FORMATS:
        raise BadInputError(f"--format {form} with several recordings needs --output FOLDER")
    targets = [] if output is None else output_paths(recordings, output, form.value)
    if skip_existing:
        pairs = [pair for pair in zip(recordings, targets, strict=True) if not _has_content(pair[1])]
        if left_out := len(recordings) - len(pairs):
            options.tell(
                f"{left_out} of {counted(len(recordings), 'recording')}: skipped, as there is a result already"
            )
        recordings, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    check_outputs(recordings, targets, inputs, overwrite=overwrite)
    for target in targets:
        check_writable(target, makes_folder=str(target) != output)
    return recordings, targets


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _transcribe_recordings(
    recordings: Sequence[Recording],
    targets: Sequence[Path],
    form: Format,
    transcriber: Transcriber,
    on_segment: Callable[[TranscriptSegment], None],
    jobs: int,
    is_several: bool,
) -> None:
    """Transcribes recordings; writes or prints the result of each as soon as it is complete.

    An error in one of several recordings is reported, and the others are still transcribed.

    Args:
        recordings: the recordings to transcribe.
        targets: the file of each one's result; empty for standard output.
        form: --format.
        transcriber: the loaded model.
        on_segment: called with each segment, to save it and count its terms.
        jobs: recordings at a time.
        is_several: whether the user named several recordings, also if some of them are skipped. Then texts are printed
            with the name of the recording.

    Raises:
        AsrEdgeError: a recording could not be transcribed.
    """
    from device_app.recognition.recordings.batch import notes, transcribe_all
    from device_app.recognition.recordings.unfinished import UnfinishedTranscript
    from device_app.recognition.writers import document, render
    from editing.files import write_atomically

    show = None if targets else _segment_printer(form, is_several)

    def print_segment(recording: Recording, segment: TranscriptSegment) -> None:
        if show is not None:
            show(recording.name, segment)
        on_segment(segment)

    errors: list[AsrEdgeError] = []
    documents = []
    identity = transcriber.identity() if targets else ""
    unfinished = [UnfinishedTranscript(target, identity) for target in targets]
    if files := [results.path for results in unfinished if results.known]:
        options.tell(f"Continues an interrupted run, from {', '.join(map(str, files))}")
    with _progress(recordings, is_text_shown=show is not None) as advance, _telling_how_to_continue(unfinished):
        outcomes = transcribe_all(
            transcriber, recordings, jobs, unfinished=unfinished, on_segment=print_segment, on_progress=advance
        )
        with closing(outcomes):
            for index, outcome in enumerate(outcomes):
                name, transcript = outcome.recording.name, outcome.transcript
                if transcript is not None:
                    for note in notes(outcome.recording, transcript):
                        options.tell(f"{name}: {note}")
                    if targets:
                        write_atomically(targets[index], render(transcript, form, name).encode())
                        unfinished[index].remove()
                    elif form == Format.JSON:
                        documents.append(document(transcript, name))
                    elif show is None:
                        print_text(render(transcript, form, name))
                if outcome.error is not None:
                    errors.append(outcome.error)
                    if is_several:
                        options.tell(f"asr-edge: {outcome.error}")
    if documents:
        print_json(documents if is_several else documents[0])
    if errors and not is_several:
        raise errors[0]
    if errors:
        raise AsrEdgeError(f"{len(errors)} of {counted(len(recordings), 'recording')} could not be transcribed whole")


@contextmanager
def _telling_how_to_continue(unfinished: Sequence[UnfinishedTranscript]) -> Iterator[None]:
    """After Ctrl-C, names the files that hold what was recognised."""
    try:
        yield
    except KeyboardInterrupt:
        if left := [str(results.path) for results in unfinished if results.has_file]:
            options.tell(f"Interrupted. The same command with --skip-existing continues from {', '.join(left)}")
        raise


def _segment_printer(form: Format, is_several: bool) -> Callable[[str, TranscriptSegment], None] | None:
    """A function that prints a segment with the name of its recording; None for formats of whole recordings."""
    from device_app.recognition.writers import json_line

    if form == Format.TXT:
        return lambda name, segment: echo(f"{name}: {segment.text}" if is_several else segment.text, wraps=False)
    if form == Format.JSONL:
        return lambda name, segment: echo(json_line(segment, name), wraps=False)
    return None


@contextmanager
def _progress(recordings: Sequence[Recording], is_text_shown: bool) -> Iterator[Callable[[Recording, float], None]]:
    """Shows a progress bar of the seconds that have been read, in total over all recordings."""
    from device_app.audio.samples import duration_s

    # Text that is printed to the same terminal would interrupt a bar.
    if not sys.stderr.isatty() or (is_text_shown and sys.stdout.isatty()):
        yield lambda _recording, _seconds: None
        return
    total_s = 0.0
    for recording in recordings:
        if recording.path is not None and not recording.is_read_once:
            with suppress(AsrEdgeError):  # the error is reported when the recording is read
                total_s += duration_s(recording.path)
    label = recordings[0].name if len(recordings) == 1 else f"{len(recordings)} recordings"
    with progress(label, total_s, total_s > PROGRESS_FROM_S) as advance:
        yield lambda _recording, seconds: advance(seconds)
