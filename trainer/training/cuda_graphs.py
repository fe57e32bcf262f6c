"""Gradients of a batch by replaying a CUDA graph, which launches all of its kernels at once.

On a GPU, most of an update of such a small model is kernel launches. A graph has fixed shapes, so batches are padded to
a few of them; the first batch of a shape is computed without a graph, so that a rare shape costs no capture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainer import families
from trainer.training.distillation import TopK
from trainer.training.loader import Microbatch
from trainer.training.model import TrainableModel

# A batch is padded to one of these numbers of rows, and to a multiple of so many samples (half a second) and tokens.
ROWS = (1, 2, 3, 4, 6, 8, 10, 12, 16)
SAMPLES_STEP = 8_000
TOKENS_STEP = 16
MAX_OUTPUTS = 4096  # rows times tokens of a graph; each takes 131 kB in the embedded model, several times over
WARM_UPS = 2  # before a capture, in which libraries must not allocate their workspaces


@dataclass(frozen=True)
class Shape:
    """The shape of a padded batch: utterances, samples of each, and tokens of each."""

    rows: int
    samples: int
    tokens: int

    @classmethod
    def of(cls, microbatch: Microbatch) -> Shape | None:
        """The smallest shape that a microbatch fits in; None if it is too large for a graph."""
        count, samples = microbatch.audio.shape
        rows = next((rows for rows in ROWS if rows >= count), 0)
        tokens = TOKENS_STEP * _in_quarters(-(-max(map(len, microbatch.tokens)) // TOKENS_STEP))
        if not rows or rows * tokens > MAX_OUTPUTS:
            return None
        return cls(rows, SAMPLES_STEP * _in_quarters(-(-samples // SAMPLES_STEP)), tokens)


def _in_quarters(number: int) -> int:
    """Rounds up to a quarter of a power of two, so that padding adds at most a quarter: 8, 10, 12, 14, 16, 20 ..."""
    step = 1 << max(0, number.bit_length() - 3)
    return -(-number // step) * step


class PaddedBatch:
    """Buffers for batches of one shape, and the computation of their loss and gradients.

    Attributes:
        loss: the loss of the last batch, not scaled.
    """

    def __init__(self, model: TrainableModel, family: families.PaddedFamily, shape: Shape, top_k: int = 0) -> None:
        """
        Args:
            model: its trained parameters have gradients, to which those of the batch are added.
            family: the family of the model.
            shape: the shape of the padded batch.
            top_k: for distillation, how many of the teacher's likeliest outputs are kept for each token; 0
                for the cross-entropy.
        """
        device, self._shape = model.device, shape
        self._model, self._family, self._trained = model, family, list(model.trained.values())
        rows, samples, tokens = shape.rows, shape.samples, shape.tokens
        self._audio = _Buffer((rows, samples), torch.float32, device)
        self._lengths = _Buffer((rows,), torch.long, device)
        self._labels = _Buffer((rows, tokens), torch.long, device)
        self._scale = _Buffer((), torch.float32, device)
        self.loss = torch.zeros((), device=device)
        self._teacher_outputs = TopK(
            torch.zeros(rows * tokens, top_k, dtype=torch.long, device=device),
            torch.zeros(rows * tokens, top_k, device=device),
            torch.zeros(rows * tokens, device=device),
        )

    def load(self, microbatch: Microbatch, scale: float, teacher_outputs: TopK | None = None) -> None:
        """Copies a batch into the buffers.

        Args:
            microbatch: fits in the shape.
            scale: a factor of the gradients.
            teacher_outputs: for distillation, the outputs of the teacher for all tokens in turn.
        """
        count, samples = microbatch.audio.shape
        audio, lengths, labels = self._audio.host, self._lengths.host, self._labels.host
        audio.zero_()
        audio[:count, :samples] = torch.from_numpy(microbatch.audio)
        lengths.fill_(self._shape.samples)  # of rows without an utterance, whose labels are all padding
        lengths[:count] = torch.tensor(microbatch.lengths)
        labels.fill_(-1)
        for row, tokens in zip(labels, microbatch.tokens, strict=False):
            row[: len(tokens)] = torch.tensor(tokens)
        self._scale.host.fill_(scale)
        if teacher_outputs is not None:
            rows = (labels.reshape(-1) >= 0).nonzero()[:, 0].to(self.loss.device)
            self._teacher_outputs.outputs.index_copy_(0, rows, teacher_outputs.outputs)
            self._teacher_outputs.log_probabilities.index_copy_(0, rows, teacher_outputs.log_probabilities)
            self._teacher_outputs.rest.index_copy_(0, rows, teacher_outputs.rest)
        for buffer in (self._audio, self._lengths, self._labels, self._scale):
            buffer.send()

    def gradients(self) -> Sequence[torch.Tensor | None]:
        """Computes the loss of the batch in the buffers, and its gradients times the scale in its buffer.

        Returns:
            The gradient of each trained parameter; None for those that the loss does not depend on.
        """
        labels, is_distillation = self._labels.tensor, self._teacher_outputs.outputs.shape[1] > 0
        if is_distillation:
            self._model.network.eval()
        else:
            self._model.train()
        inputs = self._audio.tensor, self._lengths.tensor, labels
        logits = self._family.padded_logits(self._model.network, *inputs).flatten(0, 1)
        flat = labels.flatten()
        if is_distillation:
            divergences = self._teacher_outputs.divergences(torch.log_softmax(logits, dim=-1))
            loss = torch.where(flat >= 0, divergences, 0).sum() / (flat >= 0).sum()
        else:
            loss = torch.nn.functional.cross_entropy(logits, flat, ignore_index=-1, reduction="sum")
        self.loss.copy_(loss.detach())
        return torch.autograd.grad(loss * self._scale.tensor, self._trained, allow_unused=True)

    def add_gradients(self) -> None:
        """Computes the loss, and adds the gradients to those of the parameters (`grad`)."""
        with torch.enable_grad():
            found = self.gradients()
        for parameter, new in zip(self._trained, found, strict=True):
            if new is not None and parameter.grad is not None:
                parameter.grad.add_(new)


class _Buffer:
    """A tensor with a fixed address on the device, and its copy in host memory from which it is filled."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
        self.host = torch.zeros(shape, dtype=dtype, pin_memory=device == "cuda")
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)

    def send(self) -> None:
        self.tensor.copy_(self.host, non_blocking=True)


class GraphedGradients:
    """Computes gradients with one graph for each shape.

    The caller reads a loss in every update, which waits for the GPU: the next update overwrites buffers and memory.
    """

    def __init__(self, model: TrainableModel, family: families.PaddedFamily) -> None:
        """
        Args:
            model: on the GPU. Its parameters get gradients of zero, which must stay in place.
            family: the family of the model.
        """
        self._model, self._family = model, family
        self._seen: Counter[tuple[Shape, int]] = Counter()
        self._ready: dict[tuple[Shape, int], tuple[PaddedBatch, Callable[[], None]]] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self.has_failed = False
        for parameter in model.trained.values():
            parameter.grad = torch.zeros_like(parameter)

    @property
    def captured(self) -> int:
        """The number of graphs."""
        return len(self._ready)

    def add(self, microbatch: Microbatch, scale: float, teacher_outputs: TopK | None = None) -> torch.Tensor | None:
        """Adds the gradients of a batch to those of the parameters.

        Args:
            microbatch: the batch.
            scale: a factor of the gradients.
            teacher_outputs: for distillation, the outputs of the teacher; None for the cross-entropy.

        Returns:
            The loss, not scaled: the summed cross-entropy, or for distillation the mean divergence per token. None if
            the batch has no graph, and nothing was computed.
        """
        shape = Shape.of(microbatch)
        if shape is None or self.has_failed:
            return None
        key = shape, 0 if teacher_outputs is None else teacher_outputs.outputs.shape[1]
        self._seen[key] += 1
        if self._seen[key] == 1:
            return None
        try:
            batch, replay = self._ready.get(key) or self._capture(key, microbatch, scale, teacher_outputs)
        except RuntimeError:  # a version of torch or transformers whose operations cannot be captured, or no memory
            self.has_failed = True
            return None
        batch.load(microbatch, scale, teacher_outputs)
        replay()
        return batch.loss

    def _capture(
        self, key: tuple[Shape, int], microbatch: Microbatch, scale: float, teacher_outputs: TopK | None
    ) -> tuple[PaddedBatch, Callable[[], None]]:
        batch = PaddedBatch(self._model, self._family, *key)
        batch.load(microbatch, scale, teacher_outputs)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                batch.gradients()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            batch.add_gradients()
        self._ready[key] = batch, graph.replay
        return self._ready[key]
