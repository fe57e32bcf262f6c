"""Groups of processes that train together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from trainer.training.distributed import Group


@pytest.mark.parametrize(("backend", "device"), [("nccl", "cuda"), ("gloo", "cpu")])
def test_sums_are_computed_where_the_backend_can(backend, device, monkeypatch):
    """Regression: on GPUs, whose backend is NCCL, the sum of a number was a tensor on the CPU, which NCCL refuses."""
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    assert Group().device == device


@given(seed=st.integers(0, 2**52))
def test_only_the_process_of_rank_0_has_the_seed_itself(seed):
    group, seeds = Group(), []
    for rank in range(4):
        group.rank = rank
        seeds.append(group.own_seed(seed))
    assert seeds[0] == seed
    assert len(set(seeds)) == 4
    torch.Generator().manual_seed(max(seeds))  # in range
