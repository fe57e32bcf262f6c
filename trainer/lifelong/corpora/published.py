"""Corpora that others publish, as the domains of an experiment: a manifest each, and a configuration.

Common Voice by accent, US first as in the paper; LibriSpeech by how clear it is; TED-LIUM 3, whose
talks are cut into utterances. Recordings stay where they are, except the latter's. Where a corpus
has no test part of its own, speakers are set aside: none is in both parts.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from device_app.audio.samples import encode, to_model_rate
from device_app.data.corpora import UNKNOWN_ACCENT, find_candidates
from editing.errors import BadInputError
from editing.files import write_atomically

Corpus = Literal["common-voice", "librispeech", "ted-lium"]

FEWEST = 10  # utterances that make an accent a domain
FIRST = ("united states english", "us")  # what the paper's base was trained on
SHARE_HELD_OUT = 0.2  # of an accent's utterances, at most
IGNORED = "ignore_time_segment_in_scoring"
MARKS = re.compile(r"<[^>]*>|\(\d+\)|\{[^}]*\}")  # of TED-LIUM: <unk>, a word's variant (2), {NOISE}


@dataclass(frozen=True)
class Line:
    """One utterance of a manifest."""

    audio: Path
    text: str
    speaker: str
    split: str


def prepare(
    corpus: Corpus,
    folder: Path,
    out: Path,
    *,
    accents: Sequence[str] = (),
    train: int = 1000,
    test: int = 200,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _count: None,
) -> Path:
    """Writes manifests and the configuration of an experiment.

    Args:
        corpus: which one lies in `folder`.
        folder: as it was unpacked.
        out: a folder.
        accents: of Common Voice, in the order in which they are to be learnt, the base's first; by
            default US and then as many utterances as they have.
        train, test: utterances of each domain, at most; those of the first, which the base is
            trained on, are not limited.
        seed: of the choice.
        on_done: called with how many utterances have been written.

    Returns:
        The configuration.

    Raises:
        BadInputError: it is not that corpus, an accent has too few utterances, or there is a
            configuration already, which the user may have edited.
    """
    config = out / f"{corpus}.toml"
    if config.exists():
        raise BadInputError(f"{config}: is there already; nothing was changed. Name another folder, or remove it")
    readers: Mapping[Corpus, Callable[[], Mapping[str, Sequence[Line]]]] = {
        "common-voice": lambda: _common_voice(folder, accents),
        "librispeech": lambda: _librispeech(folder),
        "ted-lium": lambda: {"ted-lium": _ted_lium(folder, out, train, test, on_done)},
    }
    domains = readers[corpus]()
    random = np.random.default_rng(seed)
    for number, (name, lines) in enumerate(domains.items()):
        most = {"train": None if number == 0 and len(domains) > 1 else train, "test": test}
        chosen = [one for split, limit in most.items() for one in _some(lines, split, limit, random)]
        text = "".join(
            json.dumps(
                {"audio": str(one.audio.resolve()), "text": one.text, "speaker": one.speaker, "split": one.split},
                ensure_ascii=False,
            )
            + "\n"
            for one in chosen
        )
        write_atomically(out / name / "manifest.jsonl", text.encode())
        on_done(len(chosen))
    write_atomically(config, _configuration(list(domains)).encode())  # last: a run that was killed can be repeated
    return config


def _some(lines: Sequence[Line], split: str, limit: int | None, random: np.random.Generator) -> list[Line]:
    of_split = [one for one in lines if one.split == split]
    picks = random.permutation(len(of_split))[:limit]
    return [of_split[i] for i in sorted(picks)]


def _configuration(names: Sequence[str]) -> str:
    first, order = (names[0], names[1:]) if len(names) > 1 else (None, names)
    head = f'base = "BUNDLE"  # trained on {first}: asr-edge train {first}/manifest.jsonl\nbase_domain = "{first}"\n'
    lines = [
        *([head] if first else []),
        f"order = {json.dumps(list(order))}",
        'methods = ["fine-tuning", "task-arithmetic", "ties"]',
        "seeds = [0]",
        "",
        "[manifests]",
        *(f'{name} = "{name}/manifest.jsonl"' for name in names),
    ]
    return "\n".join(lines) + "\n"


def _common_voice(folder: Path, accents: Sequence[str]) -> dict[str, list[Line]]:
    kind, candidates = find_candidates(folder)
    if not kind.startswith("Common Voice"):
        raise BadInputError(f"{folder}: no release of Common Voice, but a {kind}")
    by_accent: dict[str, list[Line]] = defaultdict(list)
    for one in candidates:
        if one.text and one.domain and one.domain != UNKNOWN_ACCENT:
            by_accent[one.domain.lower()].append(Line(one.audio, one.text, one.speaker or "", ""))
    largest = sorted(by_accent, key=lambda name: -len(by_accent[name]))
    wanted = [accent.lower() for accent in accents]
    if missing := [accent for accent in wanted if len(by_accent.get(accent, ())) < FEWEST]:
        most = ", ".join(largest[:8])
        raise BadInputError(f"{folder}: has fewer than {FEWEST} utterances of {missing[0]!r}; it has {most}")
    if not wanted:
        enough = [name for name in largest if len(by_accent[name]) >= FEWEST]
        wanted = sorted(enough, key=lambda name: name not in FIRST)
    return {_slug(accent): _with_speakers_aside(by_accent[accent]) for accent in wanted}


def _with_speakers_aside(lines: Sequence[Line]) -> list[Line]:
    """Those with the fewest utterances first, so that the test part has many voices."""
    counts = Counter(one.speaker for one in lines)
    held_out: set[str] = set()
    total = 0
    for speaker, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        if total + count > SHARE_HELD_OUT * len(lines) and held_out:
            break
        if len(held_out) + 1 < len(counts):
            held_out.add(speaker)
            total += count
    return [
        Line(one.audio, one.text, one.speaker, "test" if one.speaker in held_out else "train")
        for one in sorted(lines, key=lambda one: str(one.audio))
    ]


def _librispeech(folder: Path) -> dict[str, list[Line]]:
    kind, candidates = find_candidates(folder)
    if not kind.startswith("LibriSpeech"):
        raise BadInputError(f"{folder}: no LibriSpeech tree, but a {kind}")
    domains: dict[str, list[Line]] = {"clean": [], "other": []}
    for one in candidates:
        found = re.search(r"(train|test)-(clean|other)", str(one.audio.relative_to(folder)))
        if found and one.text:
            domains[found[2]].append(Line(one.audio, one.text.lower(), one.speaker or "", found[1]))
    known = {name: lines for name, lines in domains.items() if lines}
    if not known:
        raise BadInputError(f"{folder}: has none of train-clean-*, train-other-*, test-clean, test-other")
    return known


def _ted_lium(folder: Path, out: Path, train: int, test: int, on_done: Callable[[int], None]) -> list[Line]:
    """Utterances of the STM files beside the talks, cut out as FLAC."""
    parts = {"train": (folder / "data", train), "test": (folder / "legacy" / "test", test)}
    lines = []
    for split, (part, most) in parts.items():
        tables = sorted((part / "stm").glob("*.stm"))
        if not tables:
            raise BadInputError(f"{part / 'stm'}: has no .stm files; expected TED-LIUM 3 as it was unpacked")
        each = max(1, -(-most // len(tables)))  # a few of every talk
        cut = (one for table in tables for one in islice(_cut(table, out / "ted-lium" / split, split), each))
        for one in islice(cut, most):
            lines.append(one)
            on_done(1)
    return lines


def _cut(table: Path, out: Path, split: str) -> Iterable[Line]:
    import soundfile

    talk = table.parent.parent / "sph" / f"{table.stem}.sph"
    for number, line in enumerate(table.read_text("utf-8").splitlines(), 1):
        fields = line.split(" ", 6)
        try:
            start, end = float(fields[3]), float(fields[4])
            text = " ".join(MARKS.sub(" ", fields[6]).replace(" '", "'").split())
        except (IndexError, ValueError) as error:
            raise BadInputError(f"{table}, line {number}: is not a line of STM ({error})") from error
        if not text or IGNORED in text or end <= start:
            continue
        path = out / f"{table.stem}-{number:05d}.flac"
        if not path.is_file():
            try:
                with soundfile.SoundFile(talk) as file:
                    rate = file.samplerate
                    file.seek(round(start * rate))
                    audio = file.read(round((end - start) * rate), dtype="float32")
            except (OSError, soundfile.LibsndfileError) as error:
                raise BadInputError(f"{talk}: cannot be read from {start:g} to {end:g} s ({error})") from error
            write_atomically(path, encode(to_model_rate(audio, rate, str(talk))))
        yield Line(path, text, fields[2], split)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
