"""Short and cut-off speech: single digits, sentences that end at their last word, and audio without speech.

    python benchmarks/short_speech.py ../shared/data [--beam 4]

Single digits are cut from the strings of the digits-* sets (all lines; nothing is trained) at the pauses between
words, where as many pieces as words are found. Sentence ends are cut where the last loud frame of a test recording
ends. Both leave no silence. Printed: how often the word, or the last word, is right (WER `english`), how often no
text came out, and how often a digit came out with more words than one; for sentences, the same of the uncut
recording, as some last words are misrecognised with any silence. Audio without speech is noise of four colours, hum,
clicks and silence at levels from -70 to -20 dB full scale, with a fixed seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device_app import Transcriber, embedded_bundle
from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_manifest
from device_app.evaluation.error_rates import english
from device_app.recognition.options import DecodingOptions

FRAME = SAMPLE_RATE // 100  # samples
DIGIT_SETS = ("digits-jackson", "digits-nicolas", "digits-theo")
SENTENCE_SETS = ("read-speech", "cv-us", "cv-canada", "telephone-prompts", "general-judge")
GAP_FRAMES = 8  # more quiet frames in a row separate two words
SHORTEST_FRAMES = 10  # of a word; shorter runs of loud frames are clicks
DIGIT_S = (0.18, 0.75)  # shorter or longer cuts are not a single digit
QUIET_DB = -32.0  # frames below this level of the loudest are silence after a sentence


def levels(audio: Samples) -> Samples:
    """The amplitude of each frame of 10 ms relative to the loudest."""
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    rms = np.sqrt(np.square(frames).mean(axis=1))
    return np.asarray(rms / max(1e-9, rms.max(initial=0)), np.float32)


def runs(loud: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of each run of loud frames, joined over gaps up to `GAP_FRAMES`."""
    indices = np.flatnonzero(loud)
    if not len(indices):
        return []
    breaks = np.flatnonzero(np.diff(indices) > GAP_FRAMES)
    starts, ends = np.r_[indices[0], indices[breaks + 1]], np.r_[indices[breaks], indices[-1]] + 1
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a >= SHORTEST_FRAMES]


def words_of(audio: Samples, number: int) -> list[Samples]:
    """The words of a string of `number` digits, cut at the first threshold that gives so many parts; none without."""
    level = levels(audio)
    for threshold_db in range(-50, -15, 2):
        if len(found := runs(level > 10 ** (threshold_db / 20))) == number:
            return [audio[a * FRAME : b * FRAME] for a, b in found]
    return []


def digits(data: Path) -> Iterator[tuple[str, Samples]]:
    for name in DIGIT_SETS:
        for one in read_manifest(data / name / "manifest.jsonl"):
            words = one.transcript.split()
            for word, audio in zip(words, words_of(one.read(), len(words)), strict=False):
                if DIGIT_S[0] <= len(audio) / SAMPLE_RATE <= DIGIT_S[1]:
                    yield word, audio


def sentences(data: Path) -> Iterator[tuple[str, Samples, Samples]]:
    """Test sentences of at most 8 s: the text, the recording, and the recording cut after its last loud frame."""
    for name in SENTENCE_SETS:
        for one in read_manifest(data / name / "manifest.jsonl", "test"):
            audio = one.read()
            if len(audio) <= 8 * SAMPLE_RATE:
                end = int(np.flatnonzero(levels(audio) > 10 ** (QUIET_DB / 20))[-1]) + 1
                yield one.transcript, audio, audio[: end * FRAME]


def without_speech(number: int) -> Iterator[Samples]:
    random = np.random.default_rng(0)
    kinds = ("silence", "white", "pink", "brown", "hum", "clicks")
    for i in range(number):
        length = int(random.uniform(0.4, 8.0) * SAMPLE_RATE)
        time_s = np.arange(length) / SAMPLE_RATE
        white = random.standard_normal(length)
        kind = kinds[i % len(kinds)]
        if kind in ("pink", "brown"):
            spectrum = np.fft.rfft(white)
            slope = np.maximum(1, np.arange(len(spectrum))) ** (0.5 if kind == "pink" else 1.0)
            sound = np.fft.irfft(spectrum / slope, length)
        elif kind == "hum":
            sound = np.sin(2 * np.pi * random.choice([50, 60]) * time_s) + 0.1 * white
        elif kind == "clicks":
            sound = white * (random.random(length) < 0.0005)
        else:
            sound = white if kind == "white" else np.zeros(length)
        level = 10 ** (random.uniform(-70, -20) / 20)
        yield np.asarray(level * sound / max(1e-9, np.sqrt(np.square(sound).mean())), np.float32)


def drawn(items: list, number: int) -> list:  # type: ignore[type-arg]
    return [items[i] for i in sorted(np.random.default_rng(0).permutation(len(items))[:number])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the development sets")
    parser.add_argument("--digits", type=int, default=600)
    parser.add_argument("--sentences", type=int, default=75)
    parser.add_argument("--noises", type=int, default=300)
    parser.add_argument("--beam", type=int)
    arguments = parser.parse_args()
    transcriber = Transcriber(embedded_bundle(), threads=1, options=DecodingOptions(beam=arguments.beam))

    def words(audio: Samples) -> list[str]:
        return english(transcriber.transcribe(audio, SAMPLE_RATE).text).split()

    cut_digits = drawn(list(digits(arguments.data)), arguments.digits)
    found = [(english(text).split(), words(audio)) for text, audio in cut_digits]
    right = sum(reference == said for reference, said in found)
    empty = sum(not said for _, said in found)
    more = sum(len(said) > 1 for _, said in found)
    twice = sum(len(set(said)) < len(said) for _, said in found)
    print(f"{len(found)} digits: {right} right, {empty} empty, {more} of several words, {twice} with a word twice")

    cut = whole = empty = 0
    chosen = drawn(list(sentences(arguments.data)), arguments.sentences)
    for text, recording, shortened in chosen:
        last = english(text).split()[-1:]
        said = words(shortened)
        cut, whole, empty = cut + (said[-1:] == last), whole + (words(recording)[-1:] == last), empty + (not said)
    print(f"{len(chosen)} sentences: last word right in {cut} cut, {whole} uncut; {empty} empty")

    texts = [text for audio in without_speech(arguments.noises) if (text := " ".join(words(audio)))]
    print(f"{arguments.noises} recordings without speech: text in {len(texts)} {texts[:5]}")


if __name__ == "__main__":
    main()
