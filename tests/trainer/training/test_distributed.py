"""Groups of processes that train together."""

import pytest
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
