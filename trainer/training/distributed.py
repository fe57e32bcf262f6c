"""Data-parallel training: each process of a torch.distributed group computes its share of every batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import distributed


class Group:
    """The processes that train together; only this one if torch.distributed is not initialised.

    Attributes:
        rank: the rank of this process, from 0.
        size: the number of processes.
        device: where `sum` computes; NCCL reduces no tensors on the CPU.
    """

    def __init__(self) -> None:
        is_joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if is_joined else 0
        self.size = distributed.get_world_size() if is_joined else 1
        self.device = "cuda" if is_joined and distributed.get_backend() == "nccl" else "cpu"

    def own_seed(self, seed: int) -> int:
        """The seed of this process for random numbers that are to differ between the processes, such as augmentation.

        Args:
            seed: not negative, the same in all processes.

        Returns:
            `seed` for rank 0, so that a single process has the random numbers of its settings; otherwise a number of
            64 bits made from `seed` and the rank.
        """
        if self.rank == 0:
            return seed
        return int(np.random.SeedSequence((seed, self.rank)).generate_state(1, np.uint64)[0])

    def sum(self, value: float) -> float:
        """The sum of the processes' values."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(self._sum(tensor))

    def all_reduce(self, trained: Iterable[torch.Tensor], changing: Iterable[torch.Tensor]) -> None:
        """Sums gradients, and averages the tensors that change without a gradient: the statistics of batch norms.

        Args:
            trained: the parameters whose `grad` becomes the sum over the processes.
            changing: all tensors that change; those that require a gradient are left out.
        """
        if self.size == 1:
            return
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self._sum(parameter.grad)
        with torch.no_grad():
            for tensor in changing:
                if not tensor.requires_grad:
                    self._sum(tensor).div_(self.size)

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        distributed.all_reduce(tensor)
        return tensor
