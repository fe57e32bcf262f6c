from collections.abc import Sequence

from editing.layers import coefficient_of
from editing.method import Density, Lambda, Seed, Tensors, for_each_tensor, merge_method
from editing.methods.dare_linear import drop_entries
from editing.methods.ties import disjoint_mean
from editing.sparsify import Array


@merge_method("dare_ties", paper="arXiv 2311.03099", oracle="PEFT dare_ties, with the same random entries")
def dare_ties(
    vectors: Sequence[Tensors], *, lam: Lambda = 0.4, density: Density = 0.5, seed: Seed = 0
) -> dict[str, Array]:
    """Drops entries at random instead of trimming them, then elects signs and averages as TIES does."""
    return for_each_tensor(
        drop_entries(vectors, density, seed),
        lambda name, tensors: disjoint_mean(tensors, [tensor != 0 for tensor in tensors], coefficient_of(lam, name)),
    )
