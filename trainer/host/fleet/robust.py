"""Finds poisoned and broken task vectors by their norms and directions alone, without any speech.

The rules compare each vector with the median of the group, which fewer than half of the devices cannot move far:

1. Near-copies count once. Otherwise an attacker with several devices has as many votes (Sybils; Fung et al. 2018,
   arXiv 1808.04866).
2. Each tensor's share of the norm is limited by the median of its shares. A limit on the whole norm alone (Sun et
   al. 2019, arXiv 1911.07963) admits a vector that puts its whole norm into one layer.
3. The cosine similarity to most others must be close to what is usual in the group. FLTrust (Cao et al. 2021, arXiv
   2012.13995) compares with a trusted update; without one, the median over the others takes its place.
4. Not more may be left out than a majority can be trusted about: n vectors with f left out need n >= 2 f + 3, the
   bound of Krum (Blanchard et al. 2017, arXiv 1703.02757). With two of five colluding, any choice may be the wrong one.

Why the rules leave out whole vectors: the coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498) and the
geometric median (RFA, Pillutla et al. 2019, arXiv 1912.13445) also change a merge without attackers.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from editing.errors import counted
from editing.method import Tensors
from editing.task_vector import TaskVector

COPY_COSINE = 0.95  # near-copies have at least this cosine similarity; real vectors of different devices 0.3 to 0.5
OUTLIER = 5.0  # vectors whose norm is above this many times the median, or below the median divided by it, are left out
TENSOR_OUTLIER = 3.0  # times the median of a tensor's share of the norm; of four real ones, at most 1.4
CLIP_FACTOR = 1.5  # times the median norm, to which longer vectors are scaled down; real ones stay below it
# The group has a common direction if the median of its agreements (see `agreements`) is at least MIN_AGREEMENT; of real
# vectors, it is 0.3 to 0.5. Then each vector must have at least AGREEMENT_SHARE of that median; a random direction has
# about 0. Otherwise the vectors are nearly orthogonal, as honest ones may be, and each needs only MIN_COSINE.
MIN_AGREEMENT = 0.05
AGREEMENT_SHARE = 1 / 3
MIN_COSINE = -0.1
FEWEST_TO_COMPARE = 3  # vectors; if two of two disagree, it is unknown which one is wrong
MIN_CHANGE = 1e-5  # of the norm of the base weights; a vector of a smaller norm does not change what is recognised


def too_small(vector: TaskVector, base_norm: float) -> str:
    """Why a vector changes nothing; "" if it does. Vectors of tiny norm would make honest ones seem too long."""
    if not vector.norm:
        return "it changes nothing"
    if vector.norm < MIN_CHANGE * base_norm:
        return f"it changes nothing: its norm is {vector.norm / base_norm:.0e} of the base model's"
    return ""


def cosines_of(vectors: Mapping[str, TaskVector]) -> NDArray[np.float64]:
    """(n, n): the cosine similarities of vectors, in their order. None of them is zero."""
    ordered = list(vectors.values())
    products = np.zeros((len(ordered), len(ordered)))
    for row, one in enumerate(ordered):
        for column in range(row + 1):
            products[row, column] = products[column, row] = one.dot(ordered[column])
    lengths = np.sqrt(np.diagonal(products))
    found: NDArray[np.float64] = products / np.outer(lengths, lengths)
    return found


def copies(names: Sequence[str], cosines: NDArray[np.float64]) -> dict[str, str]:
    """Finds near-copies: by name, the earlier vector that each one repeats.

    Args:
        names: the names of the vectors.
        cosines: (vectors, vectors), their cosine similarities.
    """
    found: dict[str, str] = {}
    for at, name in enumerate(names):
        for earlier in range(at):
            if names[earlier] not in found and cosines[at, earlier] >= COPY_COSINE:
                found[name] = names[earlier]
                break
    return found


def unusual_tensors(vectors: Mapping[str, TaskVector]) -> dict[str, str]:
    """Names of vectors that change a tensor much more than most of the group does, with the reason."""
    shares = {name: _shares(vector) for name, vector in vectors.items()}
    tensors = next(iter(shares.values()))
    medians = {tensor: statistics.median(one[tensor] for one in shares.values()) for tensor in tensors}
    found = {}
    for name, own in shares.items():
        foreign = [tensor for tensor, share in own.items() if share and not medians[tensor]]
        ratios = {tensor: share / medians[tensor] for tensor, share in own.items() if medians[tensor]}
        worst = max(ratios, key=ratios.__getitem__, default="")
        if foreign:
            found[name] = f"it changes {foreign[0]}, which most devices of the group do not change"
        elif ratios and ratios[worst] > TENSOR_OUTLIER:
            found[name] = f"{ratios[worst]:.0f} times more of it than usual is in {worst}"
    return found


def _shares(vector: TaskVector) -> dict[str, float]:
    """The norm of each tensor, as a fraction of the vector's norm."""
    whole = vector.norm
    return {name: float(np.linalg.norm(tensor)) / whole for name, tensor in vector.tensors.items()}


def unusual_norms(vectors: Mapping[str, TaskVector]) -> dict[str, str]:
    """Names of vectors that are much longer or shorter than the median, with the reason."""
    norms = {name: vector.norm for name, vector in vectors.items()}
    median = statistics.median(norms.values())
    found = {}
    for name, norm in norms.items():
        if norm > OUTLIER * median:
            found[name] = f"its norm is {norm / median:.0f} times the median"
        elif norm < median / OUTLIER:
            found[name] = f"its norm is {norm / median:.2g} times the median"
    return found


def clipped(vectors: Mapping[str, TaskVector]) -> dict[str, TaskVector]:
    """The vectors, those longer than `CLIP_FACTOR` times the median scaled down to that (arXiv 1911.07963)."""
    median = statistics.median(vector.norm for vector in vectors.values())
    limit = CLIP_FACTOR * median
    return {
        name: vector.scaled(limit / vector.norm) if vector.norm > limit else vector for name, vector in vectors.items()
    }


def agreements(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): of each vector, the median cosine similarity to the others; 1 if there are none."""
    count = len(cosines)
    others = cosines[~np.eye(count, dtype=bool)].reshape(count, max(0, count - 1))
    found: NDArray[np.float64] = np.median(others, axis=1) if count > 1 else np.ones(count)
    return found


def opposed(names: Sequence[str], cosines: NDArray[np.float64]) -> dict[str, str]:
    """Names of vectors whose direction differs from that of most of the group, with the reason.

    Args:
        names: the names of the vectors.
        cosines: (vectors, vectors), their cosine similarities.
    """
    own = agreements(cosines)
    usual = float(np.median(own))
    limit = AGREEMENT_SHARE * usual if usual >= MIN_AGREEMENT and len(names) >= FEWEST_TO_COMPARE else MIN_COSINE
    found = {}
    for name, cosine in zip(names, own, strict=True):
        if cosine < min(limit, MIN_COSINE):
            found[name] = f"it points away from the others (cosine {cosine:.2f})"
        elif cosine < limit:
            found[name] = f"it points elsewhere than the others (cosine {cosine:.2f}, usual are {usual:.2f})"
    return found


def disagreement(count: int, left_out: int) -> str:
    """Why a majority cannot be trusted; "" if n >= 2 f + 3 (arXiv 1703.02757).

    Args:
        count: number of vectors that were compared, n.
        left_out: number of them that were left out, f.
    """
    if not left_out or count >= 2 * left_out + 3:
        return ""
    return (
        f"{left_out} of {counted(count, 'vector')} disagree with the others, so it is unknown which ones are wrong "
        f"({2 * left_out + 3} devices would be enough); nothing is offered"
    )


def norm_of(weights: Tensors) -> float:
    """The Euclidean norm over all tensors."""
    return float(np.sqrt(sum(float(np.vdot(tensor, tensor)) for tensor in weights.values())))
