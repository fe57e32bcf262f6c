"""Spelled letters, and a model so small that it can be trained on them in seconds, for the tests of commands."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile

from device_app.audio.samples import SAMPLE_RATE, Samples, read
from device_app.audio.vad import VoiceActivity
from device_app.paths import ASSETS
from export.bundle import Bundle

KNOWN = "afimor"  # what the trained bundle recognises
WORDS = (
    "fio",
    "mam",
    "oma",
    "arm",
    "fioma",
    "fiomf",
)  # the words of the tests; the model is trained on them, so that it makes no errors
RENAMED: Mapping[str, str] = {"f": "b", "o": "c"}  # a domain whose labels replace two of the letters
PAUSE = round(0.3 * SAMPLE_RATE)
NOT_COUNTED = -100  # the target that torch's cross-entropy ignores
STEPS = 130  # training steps; after 120 all letters are correct


def spell(letters: Iterable[str]) -> tuple[Samples, list[tuple[int, int]]]:
    """Joins real recordings of letters with pauses; also returns the span of each, in samples."""
    audio = read(ASSETS / "demo" / "characters.flac")
    audio = np.round(audio * 32_768) / np.float32(32_768)  # 16 bits, as in files
    lines = (ASSETS / "demo" / "characters.jsonl").read_text("utf-8").splitlines()
    places = {record["text"]: (2 * record["start"], 2 * record["end"]) for record in map(json.loads, lines)}
    pause = np.zeros(PAUSE, np.float32)
    parts, spans, at = [pause], [], PAUSE
    for letter in letters:
        start, end = places[letter]
        parts += [audio[start:end], pause]
        spans.append((at, at + end - start))
        at += end - start + PAUSE
    return np.concatenate(parts), spans


def write_spelled(path: Path, letters: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, spell(letters)[0], SAMPLE_RATE)
    return path


def write_domain(folder: Path, count: int, renamed: Mapping[str, str] = RENAMED, seed: int = 3) -> Path:
    """Writes `count` spelled codes with renamed letters in the labels; returns the manifest."""
    random = np.random.default_rng(seed)
    lines = []
    seen: set[str] = set()
    while len(seen) < count:
        letters = [*random.choice(list(KNOWN), 1), "f", "o"]
        random.shuffle(letters)
        if "".join(letters) in seen:
            continue
        number = len(seen)
        seen.add("".join(letters))
        write_spelled(folder / f"{number:02}.wav", letters)
        text = " ".join(renamed.get(letter, letter) for letter in letters)
        lines.append({"audio": f"{number:02}.wav", "text": text, "speaker": "allison"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return manifest


def train_on_letters(tiny: Bundle, out: Path) -> Bundle:
    """The tiny bundle, trained until it recognises the letters of `KNOWN`.

    Which frames belong to which letter is known here, so cross-entropy of the frames does in
    seconds what CTC does in minutes.
    """
    import torch

    from trainer import families
    from trainer.families import conformer_ctc
    from trainer.training.data import speech_span
    from trainer.training.from_scratch import with_weights
    from trainer.vocabulary import ctc_tokeniser

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    tokenise, vocabulary = ctc_tokeniser(tiny), tiny.config["vocab_size"]
    voice = VoiceActivity()
    clips, targets = [], []
    for letters in (*WORDS, *("".join(random.choice(list(KNOWN), 4)) for _ in range(14))):
        audio, spans = spell(letters)
        start, end = speech_span(audio, voice)  # as the segmenter cuts it
        clips.append(audio[start:end])
        spans = [(one - start, other - start) for one, other in spans]
        targets.append(_targets(end - start, spans, [tokenise(letter) for letter in letters], vocabulary - 1))
    samples, frames = max(map(len, clips)), max(map(len, targets))
    padded = [np.pad(one, (0, frames - len(one)), constant_values=NOT_COUNTED) for one in targets]
    target = torch.from_numpy(np.stack(padded))
    model = conformer_ctc.build(tiny.config)
    families.load_weights(model, tiny.weights())
    audio = torch.from_numpy(np.stack([np.pad(one, (0, samples - len(one))) for one in clips]))
    features, mask = conformer_ctc.masked_features(model, audio, torch.tensor([len(one) for one in clips]))
    optimizer = torch.optim.AdamW(model.parameters(), 0.005, weight_decay=0.0)
    model.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.005 * min(1, (step + 1) / 10) * (1 - step / STEPS)
        picks = torch.randperm(len(clips))[:6]
        output = model.encoder(features[picks], attention_mask=mask[picks], output_hidden_states=True)
        loss = torch.zeros(())
        for hidden, share in ((output.last_hidden_state, 1.0), (output.hidden_states[1], 0.5)):
            logits = model.ctc_head(hidden)[:, :frames]
            wanted = target[picks][:, : logits.shape[1]]
            loss = loss + share * torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    model.eval()
    return with_weights(tiny, families.arrays(model), out)


def renamed_letters(bundle: Bundle) -> dict[str, np.ndarray]:
    """The bundle's weights, with rows of the output layer exchanged so that it writes the letters of `RENAMED`.

    What a fine-tuning on such a domain would find, but at once and exactly.
    """
    from trainer.vocabulary import ctc_tokeniser

    weights = {name: np.array(tensor) for name, tensor in bundle.weights().items()}
    tokenise = ctc_tokeniser(bundle)
    for old, new in RENAMED.items():
        rows, exchanged = [tokenise(old)[-1], tokenise(new)[-1]], [tokenise(new)[-1], tokenise(old)[-1]]
        for name in ("ctc_head.weight", "ctc_head.bias"):
            weights[name][rows] = weights[name][exchanged]
    return weights


def _targets(samples: int, spans: list[tuple[int, int]], tokens: list[list[int]], blank: int) -> np.ndarray:
    """The token of each frame of 40 ms: a word's beginning in the pause before it, its letter in its middle."""
    frame = SAMPLE_RATE // 25
    found = np.full(samples // frame + 1, blank)
    for (start, end), (beginning, letter) in zip(spans, tokens, strict=True):
        middle = (start - PAUSE // 2) // frame
        found[middle - 1 : middle + 2] = beginning
        quarter = (end - start) // 4
        found[round((start + quarter) / frame) : round((end - quarter) / frame)] = letter
    return found
