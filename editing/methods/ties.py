from collections.abc import Sequence

import numpy as np

from editing.layers import coefficient_of
from editing.method import Density, Lambda, Tensors, for_each_tensor, merge_method
from editing.sparsify import Array, Mask, Scope, magnitude_mask, masks

BLOCK = 1 << 16  # entries processed at a time, so that they stay in the processor's cache


@merge_method("ties", paper="arXiv 2306.01708", oracle="PEFT ties, at weights of 1")
def ties(
    vectors: Sequence[Tensors], *, lam: Lambda = 0.6, density: Density = 0.5, scope: Scope = "tensor"
) -> dict[str, Array]:
    """Trims each vector, elects the sign of each entry, averages the entries of that sign."""
    global_masks = [masks(vector, density, scope) for vector in vectors] if scope == "global" else None

    def merge(name: str, tensors: list[Array]) -> Array:
        if global_masks is not None:
            kept = [mask[name] for mask in global_masks]
        else:
            kept = [magnitude_mask(tensor, density) for tensor in tensors]
        return disjoint_mean(tensors, kept, coefficient_of(lam, name))

    return for_each_tensor(vectors, merge)


def disjoint_mean(tensors: Sequence[Array], kept: Sequence[Mask], lam: float) -> Array:
    """Steps 2 and 3 of TIES: the mean of the kept entries that have the elected sign, times `lam`.

    The elected sign is that of the sum of the kept entries; a sum of zero elects plus, as in PEFT. The kept entries of
    a single tensor are only scaled.

    Args:
        tensors: the tensors of one name, one of each vector, of the same shape.
        kept: the mask of the kept entries of each tensor.
        lam: the scaling coefficient.
    """
    merged = np.empty_like(tensors[0])
    flat = [(tensor.reshape(-1), mask.reshape(-1)) for tensor, mask in zip(tensors, kept, strict=True)]
    out = merged.reshape(-1)
    for start in range(0, out.size, BLOCK):
        block = slice(start, start + BLOCK)
        entries = [tensor[block] * mask[block] for tensor, mask in flat]
        if len(entries) == 1:
            np.multiply(entries[0], np.float32(lam), out=out[block])
            continue
        total = np.add.reduce(entries)
        is_plus = total >= 0
        agreeing = np.zeros(total.shape, np.float32)
        count = np.zeros(total.shape, np.float32)
        for entry in entries:
            agrees = np.where(is_plus, entry > 0, entry < 0)
            np.add(agreeing, entry, out=agreeing, where=agrees)
            count += agrees
        np.multiply(agreeing / np.maximum(count, 1), np.float32(lam), out=out[block])
    return merged
