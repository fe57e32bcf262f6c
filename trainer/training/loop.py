"""Fine-tuning: one loop for every family, on the CPU or a GPU, the same for the same seed."""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from device_app.adaptation.training_set import Labelled, Learnt, Lesson
from device_app.audio.samples import Samples
from device_app.recognition.onnx_session import default_threads
from editing.errors import BadInputError, TrainingError
from editing.files import write_atomically
from editing.json_text import parse_json
from editing.task_vector import TaskVector
from export.bundle import Bundle
from trainer import families
from trainer.training.data import Example, batches, load_examples, padded
from trainer.training.distillation import STRENGTH, Anchor, Utterance, general_speech
from trainer.training.distributed import Group

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)  # they look at a whole batch
CLEARLY_WORSE = 0.05  # nats per token
OPTIMIZER = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter
AT_ONCE_S = 20.0  # of a batch's audio are in memory at once; the gradients of its parts are summed
# Freed memory stays with the process up to here, or to a quarter of the machine's: to fault it in again takes a third
# of an update of a small conformer.
KEPT_BYTES = 2.0e9
# Batches are read while a GPU learns from one, which takes less time than reading one. Where the processor learns
# itself, a thread that reads beside it cost 6 % of an update.
AHEAD = 4
CHECKPOINT_S = 60.0  # between two checkpoints: a third of a GB each, for the embedded model


@dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Attributes:
        epochs: passes over the training utterances; None for as many as their number calls for.
        learning_rate: of AdamW at its highest.
        batch_s: seconds of audio in a batch, padding included.
        warm_up: the share of updates during which the learning rate rises.
        clip: the gradient's longest norm.
        scope: which parameters may change: one of `trainer.families.SCOPES`.
        embeddings: whether the token embeddings may change too.
        vary: change speed, noise and timing of each utterance every time it is heard, and mask parts
            of the features where the family can. Off by default: it gained nothing on held-out
            speakers, and general speech was heard a little worse.
        easy_epochs: in so many epochs at first, batches come from short to long and nothing varies: a
            CTC model that starts from nothing else writes only blanks for thousands of updates.
        patience: stop after so many epochs in a row with a clearly worse loss on held-out utterances.
        enough: stop one epoch after the first whose training loss per token is below this: what is
            left would take the model further from where it was, and teach it nothing.
        seed: of order and variation.
    """

    epochs: int | None = None
    learning_rate: float = 1e-4
    batch_s: float = 40.0
    warm_up: float = 0.1
    clip: float = 1.0
    scope: str = "all"
    embeddings: bool = False
    vary: bool = False
    easy_epochs: int = 0
    patience: int = 2
    enough: float = 0.02
    seed: int = 0


# The model, audio (batch, samples), lengths (batch,) and tokens of each -> what is added to the loss of a token.
Penalty = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor, Sequence[Sequence[int]]], torch.Tensor]

# Puts adapters into a model; the function that it gives folds them into the weights again.
Adapters = Callable[[torch.nn.Module], Callable[[], None]]


@dataclass(frozen=True)
class Progress:
    """Where a fine-tuning is; `left_s` is an estimate, `loss` per token."""

    step: int
    steps: int
    epoch: int
    loss: float
    left_s: float


@dataclass(frozen=True)
class FineTuned:
    """What came of it: weights by parameter name, and how it went.

    Attributes:
        weights: float32, all of the model's.
        losses: per token, training, of each epoch.
        held_out: per token, on the held-out utterances, before and after each epoch.
        seconds: of work, over all runs where it was interrupted.
        audio_s: seconds of speech that were learnt from, each pass counted.
    """

    weights: Mapping[str, NDArray[np.float32]]
    losses: Sequence[float]
    held_out: Sequence[float]
    seconds: float
    audio_s: float


def default_epochs(utterances: int) -> int:
    """Passes for a number of utterances: 10 over 10 of them, 6 over 50, 4 over 300, 3 over 450 and more."""
    return max(3, min(10, round(10 * (10 / max(1, utterances)) ** 0.28)))


def teach(
    lesson: Lesson,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> Learnt:
    """`learn`, true to general speech, and the task vector that comes of it, in the precision in which it is stored.

    Raises:
        BadInputError, BadAudioError, TrainingError: as `learn`.
        StorageError: the data folder is full or cannot be written.
        TaskVectorError: the fine-tuned weights are not finite.
    """
    weights = lesson.bundle.weights()
    general = general_speech(lesson.bundle, weights, settings.seed)
    _return_memory()  # of hearing it
    tuned = learn(
        lesson.bundle,
        weights,
        lesson.training,
        lesson.held_out,
        settings,
        checkpoint=checkpoint,
        on_step=on_step,
        general=general,
    )
    _return_memory()  # of model and optimizer
    vector = TaskVector.difference(tuned.weights, weights, lesson.origin).as_stored()
    return Learnt(vector, tuned.losses, tuned.seconds)


def learn(
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    training: Sequence[Labelled],
    held_out: Sequence[Labelled],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
    general: Sequence[Utterance] = (),
) -> FineTuned:
    """`finetune` on recordings and their texts.

    Raises:
        BadInputError: there is no speech in any of them, or a text is longer than the model can write.
        BadAudioError, TrainingError: as `finetune`.
    """
    tokenise = families.find(bundle).tokenise(bundle)
    examples, others = load_examples(training, tokenise), load_examples(held_out, tokenise)
    if not examples:
        raise BadInputError("there is no speech in the recordings that are to be learnt from")
    return finetune(
        bundle, weights, examples, others, settings, checkpoint=checkpoint, on_step=on_step, general=general
    )


def finetune(
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    training: Sequence[Example],
    held_out: Sequence[Example],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
    general: Sequence[Utterance] = (),
    penalty: Penalty | None = None,
    adapters: Adapters | None = None,
) -> FineTuned:
    """Fine-tunes a model on utterances.

    AdamW without weight decay (it would pull towards zero, not towards the model that is edited),
    warm-up and linear decay; stops early where nothing is left to learn, and where held-out
    utterances are heard clearly worse again, and then gives the best epoch's weights. The same
    arguments give the same weights on one machine.

    Where several processes have joined in a torch.distributed group, each calls this with the same
    arguments, learns from its share of every batch, and gets the same weights; the first of them
    alone writes the checkpoint.

    Args:
        bundle: the model's family and configuration.
        weights: where to start from, by parameter name.
        training: to learn from.
        held_out: to know when to stop; never learnt from. May be empty.
        settings: how.
        checkpoint: a file that lets a run that was killed go on; removed by whoever named it.
        on_step: called after each update.
        general: speech in which the model must go on hearing what it hears before (see `trainer.training.distillation`).
        penalty: gives what is added to the loss of each token.
        adapters: puts something into the model that is trained in its weights' place.

    Raises:
        TrainingError: the loss is not finite, or memory ran out.
        BadInputError: the model has no weights of the scope.
        BadAudioError: a recording cannot be read.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(default_threads())
    torch.backends.cudnn.allow_tf32 = False  # the first layers hear the samples themselves: 10 bits are 60 dB
    family = families.find(bundle)
    model = family.build(bundle.config, attention="sdpa")
    families.load_weights(model, weights)
    family.prepare(model)
    fold = adapters(model) if adapters is not None else None
    run = _Run(family, model.to(device), training, held_out, settings, device, general, penalty, fold)
    try:
        if checkpoint is not None and checkpoint.is_file():
            run.resume(checkpoint)
        return run.go(checkpoint, on_step)
    except (MemoryError, RuntimeError) as error:  # torch has its own ways to say that memory ran out
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise TrainingError(
                f"memory ran out while fine-tuning ({settings.batch_s:g} s of audio at a time); nothing was changed. "
                "Close other programs, or fine-tune on another machine"
            ) from error
        raise


@dataclass(frozen=True)
class _Part:
    """What of a batch is in memory at once: audio (utterances, samples), its lengths in samples, what is said."""

    audio: Samples
    lengths: Sequence[int]
    tokens: Sequence[Sequence[int]]
    is_varied: bool

    @classmethod
    def read(cls, examples: Sequence[Example], random: np.random.Generator | None = None) -> _Part:
        """With a generator, the recordings are varied."""
        audio, lengths = padded(examples, random)
        return cls(audio, lengths, [example.tokens for example in examples], random is not None)


class _Run:
    """The state of a fine-tuning, which a checkpoint holds."""

    def __init__(
        self,
        family: families.Family,
        model: torch.nn.Module,
        training: Sequence[Example],
        held_out: Sequence[Example],
        settings: Settings,
        device: str,
        general: Sequence[Utterance],
        penalty: Penalty | None,
        fold: Callable[[], None] | None,
    ) -> None:
        self._family, self._model, self._device, self._settings = family, model, device, settings
        self._penalty, self._fold = penalty, fold
        self._training, self._held_out = training, held_out
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_may_change(name, settings))
        self._state = families.state(model)
        self._trained = {name: tensor for name, tensor in self._state.items() if tensor.requires_grad}
        # All that changes: what is trained, and the statistics of batch norms.
        parameters = {name for name, _ in model.named_parameters()}
        self._changing = {n: t for n, t in self._state.items() if t.requires_grad or n not in parameters}
        if not self._trained:
            raise BadInputError(f"this model has no weights of the scope {settings.scope!r}")
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), settings.learning_rate, weight_decay=0.0, fused=True
        )
        self._epochs = settings.epochs or default_epochs(len(training))
        # Every update of the run: its epoch, its utterances, and whether the epoch ends with it.
        self._plan = [
            (epoch, batch, place == len(groups))
            for epoch, groups in enumerate(map(self._groups, range(self._epochs)), 1)
            for place, batch in enumerate(groups, 1)
        ]
        self._has_batch_norm = any(isinstance(part, BATCH_NORMS) for part in model.modules())
        self._group = Group()
        self._kept = min(KEPT_BYTES, psutil.virtual_memory().total / 4)
        with self._autocast():
            self._anchor = Anchor(family, model, general, device) if general else None
        _return_memory()
        lengths = [sum(example.seconds for example in batch) for _, batch, _ in self._plan]
        self._is_held = self._anchor.schedule(lengths) if self._anchor is not None else []
        self._step = 0
        self._done_s = 0.0
        self._audio_s = 0.0
        self._losses: list[float] = []
        self._sums = [0.0, 0.0]  # of the epoch: loss, tokens
        self._heard: list[float] = []
        self._best: dict[str, torch.Tensor] = {}

    def _groups(self, epoch: int) -> list[list[Example]]:
        """The batches of an epoch, counted from 0."""
        random = np.random.default_rng((self._settings.seed, epoch))
        groups = batches(self._training, self._settings.batch_s, random)
        if epoch < self._settings.easy_epochs:
            groups.sort(key=lambda group: max(example.seconds for example in group))
        return groups

    def go(self, checkpoint: Path | None, on_step: Callable[[Progress], None]) -> FineTuned:
        began, saved = time.monotonic() - self._done_s, time.monotonic()
        if not self._heard:
            self._look()
        recent: list[float] = []
        with closing(self._read_ahead()) as parts:
            while self._step < len(self._plan) and not self._is_worn_out():
                epoch, batch, is_last = self._plan[self._step]
                recent = [*recent[-9:], self._update(batch, next(parts))]
                self._step += 1
                self._give_back()
                self._done_s = time.monotonic() - began
                if is_last:
                    self._losses.append(self._sums[0] / self._sums[1])
                    self._sums = [0.0, 0.0]
                    self._look()
                    self._shorten()
                steps = len(self._plan)
                left_s = self._done_s / self._step * (steps - self._step)
                on_step(Progress(self._step, steps, epoch, float(np.mean(recent)), left_s))
                if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_S:
                    self._save(checkpoint)
                    saved = time.monotonic()
        if self._is_worse(-1):
            with torch.no_grad():
                for name, tensor in self._best.items():
                    self._state[name].copy_(tensor)
        if self._fold is not None:
            self._fold()
        return FineTuned(
            families.arrays(self._model), self._losses, self._heard, time.monotonic() - began, self._audio_s
        )

    def _shorten(self) -> None:
        """Plans one more epoch after the first in which enough was learnt; the learning rate goes down within it."""
        learnt = [epoch for epoch, loss in enumerate(self._losses, 1) if loss < self._settings.enough]
        if learnt:
            self._plan = [update for update in self._plan if update[0] <= learnt[0] + 1]

    def _read_ahead(self) -> Generator[Sequence[_Part]]:
        """What this process learns from in each update, from the next one on."""
        ahead = AHEAD if self._device == "cuda" else 0
        waiting: deque[Future[Sequence[_Part]]] = deque()
        with ThreadPoolExecutor(AHEAD) as pool:
            for step, (epoch, batch, _) in enumerate(self._plan[self._step :], self._step):
                waiting.append(pool.submit(self._read, step, epoch, batch))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self, step: int, epoch: int, batch: Sequence[Example]) -> Sequence[_Part]:
        is_varied = self._settings.vary and epoch > self._settings.easy_epochs
        random = np.random.default_rng((self._settings.seed, 1 + step, 1)) if is_varied else None
        return [_Part.read(part, random) for part in self._parts(batch[self._group.rank :: self._group.size])]

    def _update(self, batch: Sequence[Example], parts: Sequence[_Part]) -> float:
        self._optimizer.param_groups[0]["lr"] = self._settings.learning_rate * _schedule(
            self._step, len(self._plan), self._settings.warm_up
        )
        self._model.train()
        torch.manual_seed(self._settings.seed * 1_000_003 + self._step)  # of dropout and masks
        tokens = round(self._group.sum(sum(len(one) for part in parts for one in part.tokens)))
        loss = 0.0
        for part in parts:
            total, count, extra = self._loss(part, self._penalty)
            ((total + extra * count) / tokens).backward()
            loss += float(total.detach())
        if self._anchor is not None and self._is_held[self._step]:
            self._give_back()  # its utterances are of other lengths
            draw = np.random.default_rng((self._settings.seed, 1 + self._step, 2))
            with self._autocast():
                divergence = self._anchor.divergence(draw)
            (STRENGTH * divergence / self._group.size).backward()
        loss = self._group.sum(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not a number after {self._step} updates; nothing was changed. "
                "A recording or a text must be very unusual: 'asr-edge dataset show' lists them"
            )
        self._group.share(self._trained.values(), self._changing.values())
        torch.nn.utils.clip_grad_norm_(self._trained.values(), self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._audio_s += sum(example.seconds for example in batch)
        self._sums[0] += loss
        self._sums[1] += tokens
        return loss / tokens

    def _parts(self, batch: Sequence[Example]) -> Sequence[Sequence[Example]]:
        """What of a batch is in memory at once: no more than `AT_ONCE_S`, but all of it for a batch norm.

        A GPU takes as long for a part as for all, as most of it is starting kernels, and 40 s are 0.7 GB there.
        """
        if not batch:  # there are fewer utterances than processes
            return []
        return [batch] if self._has_batch_norm or self._device == "cuda" else batches(batch, AT_ONCE_S)

    def _loss(self, part: _Part, penalty: Penalty | None = None) -> tuple[torch.Tensor, int, torch.Tensor | float]:
        given = torch.from_numpy(part.audio).to(self._device), torch.tensor(part.lengths, device=self._device)
        with self._autocast():
            total, tokens = self._family.loss(self._model, *given, part.tokens, vary=part.is_varied)
            return total, tokens, penalty(self._model, *given, part.tokens) if penalty is not None else 0.0

    def _give_back(self) -> None:
        if psutil.Process().memory_info().rss > self._kept:
            _return_memory()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=is_bf16_fast(self._device))

    def _look(self) -> None:
        """Scores the held-out utterances; remembers the best weights."""
        if not self._held_out:
            return
        self._model.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for batch in batches(self._held_out, self._settings.batch_s):
                loss, count, _ = self._loss(_Part.read(batch))
                total, tokens = total + float(loss), tokens + count
        self._heard.append(total / tokens)
        if min(self._heard) == self._heard[-1]:
            self._best = {name: tensor.detach().clone() for name, tensor in self._changing.items()}

    def _is_worse(self, epoch: int) -> bool:
        """Whether held-out utterances were heard clearly worse after an epoch than after the best.

        A little worse is none: weights at the end of the learning rate's decay are the better ones
        to take a difference from, and merging adds but a part of it.
        """
        return bool(self._heard) and self._heard[epoch] > min(self._heard) + CLEARLY_WORSE

    def _is_worn_out(self) -> bool:
        last = range(-self._settings.patience, 0)
        return len(self._heard) > self._settings.patience and all(self._is_worse(epoch) for epoch in last)

    # Checkpoints: one safetensors file, so no pickle

    def _save(self, path: Path) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in self._changing.items():
            tensors[f"weight/{name}"] = tensor.detach()
        for name, parameter in self._trained.items():
            tensors |= {f"{key}/{name}": self._optimizer.state[parameter][key] for key in OPTIMIZER}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        record = {
            "step": self._step,
            "done_s": self._done_s,
            "audio_s": self._audio_s,
            "losses": self._losses,
            "sums": self._sums,
            "heard": self._heard,
            "settings": asdict(self._settings),
        }
        if self._group.rank:
            return
        contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(path, save(contiguous, metadata={"run": json.dumps(record)}))

    def resume(self, path: Path) -> None:
        """Goes on where a checkpoint was written; one that is damaged or of other settings is passed over."""
        try:
            with safe_open(path, framework="pt", device=self._device) as file:
                record: dict[str, Any] = parse_json(file.metadata()["run"])
                if record["settings"] != asdict(self._settings):
                    return
                stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            weights = {name: stored[f"weight/{name}"] for name in self._changing}
            memory = {name: {key: stored[f"{key}/{name}"] for key in OPTIMIZER} for name in self._trained}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return
        with torch.no_grad():
            for name, weight in weights.items():
                self._changing[name].copy_(weight)
        for name, state in memory.items():
            self._optimizer.state[self._trained[name]] = state
        self._best = {key.removeprefix("best/"): tensor for key, tensor in stored.items() if key.startswith("best/")}
        self._step, self._done_s, self._audio_s = record["step"], record["done_s"], record["audio_s"]
        self._losses, self._sums, self._heard = record["losses"], record["sums"], record["heard"]
        self._shorten()


def is_bf16_fast(device: str) -> bool:
    """Whether bfloat16 is faster than float32: where a processor multiplies it in hardware.

    Not on a GPU: with models this small most of an update is starting kernels, and each cast is one more. Moonshine
    Tiny took 1.5 times as long on an H100, and learnt nothing better.
    """
    if device != "cpu":
        return False
    checks = (
        getattr(torch.cpu, name, lambda: False) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks)


def _return_memory() -> None:
    """Gives freed memory back to the system, where the C library is glibc.

    Batches differ in length, so freed blocks seldom fit the next ones: without this, the embedded
    model's resident memory grew by 10 MB an update and passed 2.8 GB after 130 of them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _schedule(step: int, steps: int, warm_up: float) -> float:
    """The share of the learning rate at a step: up to 1 during warm-up, then down to 0 in a line."""
    rising = max(1, math.ceil(warm_up * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def _may_change(name: str, settings: Settings) -> bool:
    if "embed_tokens" in name and not settings.embeddings:
        return False
    parts = families.SCOPES[settings.scope]
    return not parts or any(f".{part}." in f".{name}." for part in parts)
