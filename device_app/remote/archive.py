"""What a device sends to a host to learn from: one tar file, in an order and with names that leave no choice.

    manifest.jsonl               {"audio": "audio/HASH.flac", "text": ..., "split": "train" or "test"} a line
    audio/HASH.flac              named by their SHA-256
    vectors/HASH.safetensors     the edits that the device's model has already, likewise

Only plain files of ustar, uncompressed: the reader takes a header at a time and knows no links, no
paths but these, no long names and no sparse files, so there is nothing in them to be refused later.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from device_app.data.importing import LONGEST_S
from device_app.data.names import checked_text
from device_app.data.utterance import Utterance
from editing.errors import BadAudioError, BadInputError
from editing.files import make_folder, private_folder, sha256
from editing.json_text import parse_json

MANIFEST = "manifest.jsonl"
MOST_MANIFEST = 16 << 20
MOST_UTTERANCES = 20_000
NAMES = re.compile(r"(audio/[0-9a-f]{64}\.flac|vectors/[0-9a-f]{64}\.safetensors)")
CHUNK = 1 << 20
TOLERANCE_S = 1.0  # around the longest utterance


@dataclass(frozen=True)
class Unpacked:
    """What was in an archive: utterances to learn from, utterances held out, and task vectors by their hash."""

    training: Sequence[Utterance]
    held_out: Sequence[Utterance]
    vectors: dict[str, Path]


def pack(path: Path, training: Sequence[Utterance], held_out: Sequence[Utterance], vectors: Iterable[Path] = ()) -> str:
    """Writes an archive, which only its owner can read; the same content gives the same bytes.

    Args:
        path: a new file.
        training: FLAC recordings and their texts.
        held_out: likewise; may be empty.
        vectors: files of task vectors, named by their hash.

    Returns:
        The archive's SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    audio: dict[str, Path] = {}
    lines = []
    for split, utterances in (("train", training), ("test", held_out)):
        for one in utterances:
            name = f"audio/{sha256(one.file)}.flac"
            audio[name] = one.file
            lines.append(json.dumps({"audio": name, "text": one.text, "split": split}, ensure_ascii=False))
    manifest = ("\n".join(lines) + "\n").encode()
    path.touch(0o600)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        import io

        _put(tar, MANIFEST, io.BytesIO(manifest), len(manifest))
        for name, source in [*audio.items(), *((f"vectors/{vector.name}", vector) for vector in vectors)]:
            with source.open("rb") as file:
                _put(tar, name, file, source.stat().st_size)
    return sha256(path)


def _put(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)  # of no owner, at no time
    member.size = size
    tar.addfile(member, file)


def unpack(path: Path, folder: Path) -> Unpacked:
    """Reads an archive that may be anything, and writes its files into a folder that only its owner can read.

    Args:
        path: the archive.
        folder: where there is nothing yet.

    Raises:
        BadInputError: it is not such an archive; the text says what is wrong with it.
        StorageError, OSError: the folder cannot be written.
    """
    private_folder(folder)
    for inner in ("audio", "vectors"):
        make_folder(folder / inner)
    lines = b""
    written: dict[str, Path] = {}
    with path.open("rb") as file:
        for number, (name, size) in enumerate(_members(file)):
            if number == 0 and name == MANIFEST and size <= MOST_MANIFEST:
                lines = b"".join(_content(file, size))
            elif number and NAMES.fullmatch(name) and name not in written and number <= 2 * MOST_UTTERANCES:
                written[name] = folder / name
                _keep(file, name, size, folder / name)
            else:
                raise BadInputError(f"the archive: {name!r} ({size} bytes) has no place in it")
    utterances = [_utterance(number, line, written) for number, line in enumerate(lines.splitlines(), 1)]
    if len(utterances) > MOST_UTTERANCES:
        raise BadInputError(f"the archive: {len(utterances)} utterances; {MOST_UTTERANCES} are the most")
    of_split = {split: [one for one in utterances if one.split == split] for split in ("train", "test")}
    if not of_split["train"]:
        raise BadInputError("the archive: has no utterance to learn from")
    named = {one.file for one in utterances}
    for name, place in written.items():
        if name.startswith("audio/"):
            if place not in named:
                raise BadInputError(f"the archive: no line of its manifest names {name}")
            check_recording(place, name)
    vectors = {place.stem: place for name, place in written.items() if name.startswith("vectors/")}
    return Unpacked(of_split["train"], of_split["test"], vectors)


def check_recording(path: Path, name: str) -> None:
    """Decodes a FLAC file a second at a time, and no further than an utterance may be long.

    Raises:
        BadInputError: it is not one, is damaged, or is longer; whatever its header says.
    """
    import soundfile

    from device_app.audio.samples import read_blocks

    try:
        with soundfile.SoundFile(path) as file:
            if file.format != "FLAC" or file.channels > 2 or not 8_000 <= file.samplerate <= 48_000:
                raise BadInputError(f"the archive: {name} is not FLAC of one or two channels, 8 to 48 kHz")
        heard_s = 0.0
        for block in read_blocks(path, name):
            heard_s += len(block) / 16_000
            if heard_s > LONGEST_S + TOLERANCE_S:
                raise BadInputError(f"the archive: {name} is longer than {LONGEST_S:g} s")
    except (BadAudioError, soundfile.LibsndfileError) as error:
        raise BadInputError(f"the archive: {name} is not a recording that can be read ({error})") from error


def _members(file: IO[bytes]) -> Iterable[tuple[str, int]]:
    """Name and size of each file in a tar; whoever iterates reads its content, padding aside, before the next."""
    while True:
        header = file.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise BadInputError(f"the archive: is not a tar file, or is damaged ({error})") from error
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
            raise BadInputError(f"the archive: {member.name!r} is not a plain file")
        yield member.name, member.size
        file.seek(-member.size % tarfile.BLOCKSIZE, 1)


def _content(file: IO[bytes], size: int) -> Iterable[bytes]:
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise BadInputError("the archive: is cut short")
        left -= len(chunk)
        yield chunk


def _keep(file: IO[bytes], name: str, size: int, place: Path) -> None:
    digest = hashlib.sha256()
    place.touch(0o600, exist_ok=False)
    with place.open("wb") as out:
        for chunk in _content(file, size):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != place.stem:
        raise BadInputError(f"the archive: {name} has other bytes than its name says")


def _utterance(number: int, line: bytes, written: dict[str, Path]) -> Utterance:
    kinds: dict[str, Callable[[Any], bool]] = {
        "audio": lambda value: value in written and value.startswith("audio/"),
        "text": lambda value: isinstance(value, str),
        "split": lambda value: value in ("train", "test"),
    }
    try:
        record = parse_json(line)
        if record.keys() != kinds.keys() or not all(fits(record[key]) for key, fits in kinds.items()):
            raise ValueError("it is not audio of the archive, a text and a split")
        return Utterance(audio=written[record["audio"]], text=checked_text(record["text"]), split=record["split"])
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInputError(f"the archive: line {number} of its manifest cannot be used ({error})") from error
