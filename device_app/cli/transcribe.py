"""asr-edge transcribe: recordings, standard input, or the microphone -> text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json, print_text
from device_app.cli.terminal.progress import progress
from device_app.recognition.writers import Format
from editing.errors import AsrEdgeError, BadInputError

if TYPE_CHECKING:
    from device_app.audio.sources import Recording
    from device_app.data.utterance import Source
    from device_app.recognition.results import Transcript, TranscriptSegment
    from device_app.recognition.transcriber import Transcriber
    from device_app.recording.saver import UtteranceSaver

TO_FILES_ONLY = (Format.SRT, Format.VTT, Format.TSV)
STDOUT = "-"
PROGRESS_FROM_S = 10.0  # a shorter recording is done before a bar could be read


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
            help="A file, or for several recordings a folder; - is standard output. [default: -]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    model: options.Model = None,
    precision: options.Precision = "int8",
    lm: options.LanguageModel = None,
    beam: options.Beam = None,
    threads: options.Threads = None,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or a part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="Show the microphones and exit.")] = False,
    silence: Annotated[
        float, typer.Option(min=0.1, max=5.0, help="Microphone: seconds of silence that end an utterance.")
    ] = 0.5,
    save: Annotated[
        bool, typer.Option("--save", help="Keep what is heard, sound and text, on this machine, to correct it.")
    ] = False,
    domain: Annotated[str, typer.Option(help="With --save: the domain to keep it in.")] = "my-speech",
) -> None:
    """Turn speech into text, offline.

    With no argument it listens to the microphone until Ctrl-C.
    """
    if output == STDOUT:
        output = None
    if list_devices:
        _list_devices(as_json=form == Format.JSON)
        return

    def load() -> Transcriber:
        return options.load(model, threads, precision, decoding=options.decoding_options(lm, beam))[1]

    with _saving(domain, "imported" if sources else "recorded") if save else nullcontext() as saver:
        if sources:
            from device_app.audio.sources import find_recordings

            read = [*([lm] if lm else []), *options.model_files(model)]
            recordings = find_recordings(sources)
            targets = _targets(recordings, form, output, read, overwrite)
            _transcribe_recordings(recordings, targets, form, load, saver)
        else:
            _check_live(form, output)
            _listen(form, device, silence, load(), saver)


@contextmanager
def _saving(domain: str, source: Source) -> Iterator[UtteranceSaver]:
    """Says that what is heard is kept, and at the end, under which numbers."""
    from device_app.data.store import Store
    from device_app.recording.saver import UtteranceSaver

    with Store() as store:  # reports now, not after the first sentence, if it cannot be opened
        saver = UtteranceSaver(store, domain, source)
        options.tell(f"What is heard is kept on this machine, in {store.folder}, domain {domain!r}.")
        try:
            yield saver
        finally:
            if ids := saver.ids:
                numbers = f"{ids[0]}" if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
                options.tell(
                    f"Kept as {numbers}. If one was misheard: asr-edge correct ID TEXT, or correct --last TEXT"
                )
            if known := saver.known:
                options.tell(f"There already, not kept again: {', '.join(map(str, known))}")


def _check_live(form: Format, output: str | None) -> None:
    if output is not None:
        raise BadInputError("--output is for recordings; from the microphone, use the shell's '> FILE'")
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


def _targets(
    recordings: Sequence[Recording], form: Format, output: str | None, read: Sequence[Path], overwrite: bool
) -> list[Path]:
    """The file of each recording's result, checked before any work; none where standard output is meant."""
    from device_app.audio.sources import check_outputs, output_paths
    from editing.files import check_writable

    if output is None and len(recordings) > 1 and form in TO_FILES_ONLY:
        raise BadInputError(f"--format {form} with several recordings needs --output FOLDER")
    targets = [] if output is None else output_paths(recordings, output, form.value)
    check_outputs(recordings, targets, read, overwrite=overwrite)
    for target in targets:
        check_writable(target, makes_folder=targets != [Path(output or "")])
    return targets


def _transcribe_recordings(
    recordings: Sequence[Recording],
    targets: Sequence[Path],
    form: Format,
    load: Callable[[], Transcriber],
    saver: UtteranceSaver | None,
) -> None:
    from device_app.recognition.writers import document, render
    from editing.files import write_atomically

    several = len(recordings) > 1
    transcriber = load()
    failed, documents = 0, []
    for index, recording in enumerate(recordings):
        show = None if targets else _shower(form, recording.name, several)
        try:
            transcript = _transcribe_one(transcriber, recording, show, saver)
        except AsrEdgeError as error:
            if not several:
                raise
            failed += 1
            options.tell(f"asr-edge: {error}")
            continue
        if not transcript.segments:
            options.tell(f"{recording.name}: no speech was found")
        if targets:
            write_atomically(targets[index], render(transcript, form, recording.name).encode())
        elif form == Format.JSON:
            documents.append(document(transcript, recording.name))
        elif show is None:
            print_text(render(transcript, form, recording.name))
    if documents:
        print_json(documents if several else documents[0])
    if failed:
        raise AsrEdgeError(f"{failed} of {len(recordings)} recordings could not be transcribed")


def _shower(form: Format, name: str, several: bool) -> Callable[[TranscriptSegment], None] | None:
    """How to print a segment as soon as it is recognised, in the formats that allow it."""
    from device_app.recognition.writers import json_line

    if form == Format.TXT:
        prefix = f"{name}: " if several else ""
        return lambda segment: echo(prefix + segment.text)
    if form == Format.JSONL:
        return lambda segment: echo(json_line(segment, name))
    return None


def _transcribe_one(
    transcriber: Transcriber,
    recording: Recording,
    show: Callable[[TranscriptSegment], None] | None,
    saver: UtteranceSaver | None,
) -> Transcript:
    from device_app.audio.samples import duration_s

    length_s = 0.0 if recording.path is None or recording.is_stream else duration_s(recording.path)
    # A bar would be torn by text that is printed to the same terminal as it is heard.
    is_shown = length_s > PROGRESS_FROM_S and not (show is not None and sys.stdout.isatty())
    with recording.opened() as source, progress(recording.name, length_s, is_shown) as advance:

        def pass_on(segment: TranscriptSegment) -> None:
            if show is not None:
                show(segment)
            if saver is not None:
                saver.save(segment)

        return transcriber.transcribe_file(source, recording.name, on_segment=pass_on, on_progress=advance)


def _listen(
    form: Format, device: str | None, silence_s: float, transcriber: Transcriber, saver: UtteranceSaver | None
) -> None:
    from device_app.audio.microphone import Microphone
    from device_app.audio.samples import level_dbfs
    from device_app.audio.vad import SegmentSettings
    from device_app.cli.terminal.live import LiveLine
    from device_app.recognition.writers import json_line

    line = LiveLine()
    lost = 0

    def show(updates: list[Any]) -> None:
        for update in updates:
            if not update.is_final:
                line.text = update.segment.text
                continue
            line.clear()
            echo(update.segment.text if form == Format.TXT else json_line(update.segment, "microphone"))
            sys.stdout.flush()
            if saver is not None:
                saver.save(update.segment)

    with Microphone(device) as microphone:
        stream = transcriber.stream(
            microphone.sample_rate,
            settings=SegmentSettings(silence_s=silence_s),
            partial_s=0.5 if line.is_visible else 0,
        )
        options.tell(f"Listening to {microphone.name}; Ctrl-C stops.")
        try:
            for block in microphone:
                show(stream.feed(block))
                line.show(level_dbfs(block))
                if microphone.lost > lost:
                    lost = microphone.lost
                    line.clear()
                    options.tell("Some audio was lost: this computer cannot keep up. Close other programs.")
        except KeyboardInterrupt:
            pass
        finally:
            line.clear()
            show(stream.finish())
