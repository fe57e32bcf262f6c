"""Merging at the embedded model's size, compared with numpy's copy and PEFT, in alternating rounds.

    python benchmarks/merging.py [--rounds 5]

Merging one dense vector must at least read two arrays and write one (3 x 108 MB), where a copy reads
one and writes one. TIES of 8 vectors is compared with PEFT's function on each tensor, with 2 threads.
Peak memory is measured in its own process, without the 8 vectors themselves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from device_app.models.bundles import embedded_bundle
from editing.methods import METHODS
from editing.task_vector import apply

VECTORS = 8


def random_vectors(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    shapes = {name: tensor.shape for name, tensor in embedded_bundle().weights().items()}
    return [
        {name: random.standard_normal(shape, np.float32) * np.float32(1e-3) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def seconds_of(operation: Callable[[], object]) -> float:
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def merge(base: dict[str, Any], vector: dict[str, Any]) -> dict[str, Any]:
    """Merges as the ledger does."""
    merged = METHODS["task_arithmetic"]([vector], lam=0.4)
    return apply(base, merged, out=merged)


def peak_of_ties() -> float:
    """MB that TIES needs besides the vectors, including its result."""
    vectors = random_vectors(VECTORS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    METHODS["ties"](vectors, density=0.5)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(peak_of_ties)
    import torch
    from peft.utils.merge_utils import ties as peft_ties

    torch.set_num_threads(2)
    base = embedded_bundle().weights()
    size_mb = 4 * sum(tensor.size for tensor in base.values()) / 1e6
    vectors = random_vectors(VECTORS)
    tensors = {name: [torch.from_numpy(vector[name]) for vector in vectors] for name in base}
    weights = torch.ones(VECTORS)
    operations: dict[str, Callable[[], object]] = {
        "copy": lambda: {name: tensor.copy() for name, tensor in base.items()},
        "merge": lambda: merge(base, vectors[0]),
        "ties": lambda: METHODS["ties"](vectors, lam=1.0, density=0.5),
        "peft": lambda: {name: peft_ties(own, weights, density=0.5) for name, own in tensors.items()},
    }
    times: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(rounds):
        for name, operation in operations.items():
            times[name].append(seconds_of(operation))
    median = {name: statistics.median(found) for name, found in times.items()}
    print(f"model: {size_mb:.0f} MB as fp32; medians of {rounds} rounds")
    print(
        f"copy {1e3 * median['copy']:.0f} ms, merge of one dense vector {1e3 * median['merge']:.0f} ms: "
        f"{median['merge'] / median['copy']:.2f} x"
    )
    print(
        f"TIES of {VECTORS}: {median['ties']:.2f} s, PEFT {median['peft']:.2f} s: "
        f"{median['peft'] / median['ties']:.1f} x; "
        f"memory above the vectors {peak:.0f} MB, {peak / size_mb:.2f} models"
    )


if __name__ == "__main__":
    main()
