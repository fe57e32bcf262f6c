"""The dataset archive that a device sends to a host for a fine-tuning: one tar file with fixed names and order.

    manifest.jsonl               {"audio": "audio/HASH.flac", "text": ..., "split": "train" or "test"} per line
    audio/HASH.flac              recordings, named by their SHA-256
    vectors/HASH.safetensors     task vectors of the edits of the device's model, named by their SHA-256

The archive is uncompressed ustar with regular files only. The reader parses one header at a time and
supports no links, no other paths, no long names and no sparse files, so these cannot be used for attacks.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from device_app.audio.native_messages import without_mpg123_messages
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.importing import MAX_UTTERANCE_S
from device_app.data.names import checked_text
from device_app.data.utterance import Utterance
from editing.errors import BadAudioError, BadInputError, one_line
from editing.files import sha256
from editing.json_text import parse_json
from editing.privacy import make_folder, private_folder

MANIFEST = "manifest.jsonl"
MAX_MANIFEST_BYTES = 16 << 20
MAX_UTTERANCES = 20_000
NAMES = re.compile(r"(audio/[0-9a-f]{64}\.flac|vectors/[0-9a-f]{64}\.safetensors)")
CHUNK = 1 << 20  # bytes that are read at a time
MAX_SPEECH_S = 100 * 3600.0  # each line of the manifest counts, also if it names a recording again
TOLERANCE_S = 1.0  # added to the maximal duration of an utterance; the device itself tolerates 0.1 s


@dataclass(frozen=True)
class ArchiveContents:
    """The content of an archive: training utterances, held-out utterances, and task vectors by their hash."""

    training: Sequence[Utterance]
    held_out: Sequence[Utterance]
    vectors: dict[str, Path]


def pack(path: Path, training: Sequence[Utterance], held_out: Sequence[Utterance], vectors: Iterable[Path] = ()) -> str:
    """Writes an archive that only its owner can read; the same content gives the same bytes.

    Args:
        path: a new file.
        training: labelled utterances with FLAC recordings.
        held_out: likewise; may be empty.
        vectors: files of task vectors, named by their hash.

    Returns:
        The SHA-256 of the archive.

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
        _add_file(tar, MANIFEST, io.BytesIO(manifest), len(manifest))
        for name, source in [*audio.items(), *((f"vectors/{vector.name}", vector) for vector in vectors)]:
            with source.open("rb") as file:
                _add_file(tar, name, file, source.stat().st_size)
    return sha256(path)


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)  # without owner and time
    member.size = size
    tar.addfile(member, file)


def unpack(path: Path, folder: Path) -> ArchiveContents:
    """Extracts an untrusted archive into a folder that only its owner can read.

    Args:
        path: the archive.
        folder: a new folder.

    Raises:
        BadInputError: it is not a valid archive; the message says why.
        StorageError, OSError: the folder cannot be written.
    """
    private_folder(folder)
    for inner in ("audio", "vectors"):
        make_folder(folder / inner)
    with path.open("rb") as file:
        found = members(file)
        manifest = _read_manifest(file, found)
        written = _extract_all(file, found, folder)
    utterances = [_utterance(number, line, written) for number, line in enumerate(manifest.splitlines(), 1)]
    if len(utterances) > MAX_UTTERANCES:
        raise BadInputError(f"the archive: {len(utterances)} utterances; at most {MAX_UTTERANCES} are allowed")
    of_split = {split: [one for one in utterances if one.split == split] for split in ("train", "test")}
    if not of_split["train"]:
        raise BadInputError("the archive: has no training utterances")
    _check_recordings(written, Counter(one.file for one in utterances))
    vectors = {target.stem: target for name, target in written.items() if name.startswith("vectors/")}
    return ArchiveContents(of_split["train"], of_split["test"], vectors)


def _read_manifest(file: IO[bytes], found: Iterator[tuple[str, int]]) -> bytes:
    """Reads the first member, which must be the manifest; an empty archive has none."""
    for name, size in found:
        if name != MANIFEST or size > MAX_MANIFEST_BYTES:
            raise _not_allowed(name, size)
        return b"".join(content(file, size))
    return b""


def _extract_all(file: IO[bytes], found: Iterator[tuple[str, int]], folder: Path) -> dict[str, Path]:
    """Extracts the recordings and task vectors; returns their paths by member name."""
    written: dict[str, Path] = {}
    for name, size in found:
        if not NAMES.fullmatch(name) or name in written or len(written) >= 2 * MAX_UTTERANCES:
            raise _not_allowed(name, size)
        written[name] = folder / name
        _extract(file, name, size, folder / name)
    return written


def _not_allowed(name: str, size: int) -> BadInputError:
    return BadInputError(f"the archive: {name!r} ({size} bytes) is not allowed in it")


def _check_recordings(written: Mapping[str, Path], named: Mapping[Path, int]) -> None:
    """Checks that the manifest names every recording, that each can be decoded, and the total duration.

    Args:
        written: the files of the archive by their names.
        named: how many lines of the manifest name each recording, by its path.
    """
    listed_s = 0.0
    for name, target in written.items():
        if name.startswith("audio/"):
            if target not in named:
                raise BadInputError(f"the archive: no line of its manifest names {name}")
            listed_s += named[target] * check_recording(target, name)
            if listed_s > MAX_SPEECH_S:
                raise BadInputError(
                    f"the archive: its manifest lists more than {MAX_SPEECH_S / 3600:g} hours of speech, in which a "
                    "recording counts as often as it is listed"
                )


def check_recording(path: Path, name: str) -> float:
    """Decodes a FLAC file block by block, up to the maximal duration of an utterance, whatever its header says.

    Returns:
        Its duration in seconds.

    Raises:
        BadInputError: it is not FLAC, is damaged, or is too long.
    """
    import soundfile

    from device_app.audio.samples import read_blocks

    try:
        with without_mpg123_messages(), soundfile.SoundFile(path) as file:
            if file.format != "FLAC" or file.channels > 2 or not 8_000 <= file.samplerate <= 48_000:
                raise BadInputError(f"the archive: {name} is not FLAC of one or two channels, 8 to 48 kHz")
        decoded_s = 0.0
        for block in read_blocks(path, name):
            decoded_s += len(block) / SAMPLE_RATE
            if decoded_s > MAX_UTTERANCE_S + TOLERANCE_S:
                raise BadInputError(f"the archive: {name} is longer than {MAX_UTTERANCE_S:g} s")
    except (BadAudioError, soundfile.LibsndfileError) as error:
        raise BadInputError(f"the archive: {name} is not a readable recording ({one_line(str(error))})") from error
    return decoded_s


def members(file: IO[bytes], what: str = "the archive", encoding: str = "ascii") -> Iterator[tuple[str, int]]:
    """Yields name and size of each file in an untrusted tar; supports no links, no long names and no sparse files.

    Args:
        file: the tar; the caller must read the `content` of each file before the next iteration.
        what: the tar in error messages.
        encoding: the encoding of the names.

    Raises:
        BadInputError: it is not such a tar.
    """
    while True:
        header = file.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        try:
            member = tarfile.TarInfo.frombuf(header, encoding, "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise BadInputError(
                f"{what}: is no tar file, or is damaged ({one_line(str(error))}); nothing was used of it"
            ) from error
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
            raise BadInputError(f"{what}: {member.name!r} is not a regular file; nothing was used of it")
        yield member.name, member.size
        file.seek(-member.size % tarfile.BLOCKSIZE, 1)


def content(file: IO[bytes], size: int, what: str = "the archive") -> Iterator[bytes]:
    """Yields the content of a file of a tar in chunks.

    Raises:
        BadInputError: the tar ends before.
    """
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise BadInputError(f"{what}: is truncated; nothing was used of it")
        left -= len(chunk)
        yield chunk


def _extract(file: IO[bytes], name: str, size: int, target: Path) -> None:
    digest = hashlib.sha256()
    target.touch(0o600, exist_ok=False)
    with target.open("wb") as out:
        for chunk in content(file, size):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != target.stem:
        raise BadInputError(f"the archive: the content of {name} does not match the hash in its name")


def _utterance(number: int, line: bytes, written: dict[str, Path]) -> Utterance:
    validators: dict[str, Callable[[Any], bool]] = {
        "audio": lambda value: value in written and value.startswith("audio/"),
        "text": lambda value: isinstance(value, str),
        "split": lambda value: value in ("train", "test"),
    }
    try:
        record = parse_json(line)
        if record.keys() != validators.keys() or not all(is_valid(record[key]) for key, is_valid in validators.items()):
            raise ValueError("expected audio of the archive, a text and a split")
        return Utterance(audio=written[record["audio"]], text=checked_text(record["text"]), split=record["split"])
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInputError(
            f"the archive: line {number} of its manifest cannot be used ({one_line(str(error))})"
        ) from error
