"""The layer that each parameter belongs to, and settings that differ by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from editing.errors import BadInputError, one_line

STACKS = ("encoder", "decoder")  # in the order of the forward pass
WILDCARD = "*"  # all parameters that no other part names

# A scaling coefficient: one for all parameters, or one by part of the parameter name: {"encoder": 0.4, "*": 0.6}.
# A part is one or several whole words between dots, such as "encoder.layers.3".
Coefficient = float | Mapping[str, float]


def relative_depths(names: Iterable[str]) -> dict[str, float]:
    """The relative depth of each parameter in the network: 0 at the input, 1 at the last numbered layer.

    Layers are counted in the order of the forward pass: "encoder.layers.0" to "encoder.layers.5",
    then "decoder.layers.0" and so on. A parameter without a layer number has the depth of its
    neighbour: a front end that of the first layer, the final norm of a stack that of the last layer
    of that stack, an embedding that of its first.

    Args:
        names: the names of the model's parameters.

    Returns:
        The depth by parameter name.
    """
    positions = {name: _position(name) for name in names}
    numbered = sorted({position for position in positions.values() if position[1] is not None})
    index_of = {position: index for index, position in enumerate(numbered)}
    last_index = max(1, len(numbered) - 1)  # at least 1: it divides
    depths = {}
    for name, position in positions.items():
        if position[1] is not None:
            index = index_of[position]
        else:
            of_stack = [index_of[other] for other in numbered if other[0] == position[0]]
            of_stack = of_stack or list(index_of.values()) or [0]
            is_at_end = re.search(r"\.(layer_)?norm\.|proj_out|lm_head|ctc_head", f".{name}.")
            index = of_stack[-1] if is_at_end else of_stack[0]
        depths[name] = index / last_index
    return depths


def _position(name: str) -> tuple[int, int | None]:
    """The index of a parameter's stack in `STACKS` (0 if it is in none), and its layer number (None without one)."""
    parts = name.split(".")
    stack = next((index for index, stack in enumerate(STACKS) if stack in parts), 0)
    # Only those of a stack itself: "encoder.subsampling.layers.6" is a convolution before the first layer.
    found = re.search(r"(?:^|\b(?:encoder|decoder)\.)layers\.(\d+)\.", name)
    return stack, int(found[1]) if found else None


def layer(name: str) -> str:
    """The display name of a parameter's layer, such as "encoder.layers.3" or "encoder.conv1"."""
    found = re.match(r"(.*?\.?layers\.\d+)\.", name)
    return (found[1] if found else name.rpartition(".")[0] or name).removeprefix("model.")


def check_parts(name: str, coefficient: Coefficient, parameters: Iterable[str]) -> None:
    """Checks that a coefficient by part of the names fits a model.

    Args:
        name: the name of the coefficient, for the message.
        coefficient: one for all parameters, or one by part of the parameter name.
        parameters: names of the model's parameters.

    Raises:
        BadInputError: a part occurs in no parameter's name, or a parameter has no coefficient.
    """
    if not isinstance(coefficient, Mapping):
        return
    parameters = list(parameters)
    for part in coefficient:
        if part != WILDCARD and not any(_has_part(one, part) for one in parameters):
            known = list(dict.fromkeys(layer(one) for one in parameters))
            stacks = [stack for stack in STACKS if any(_has_part(one, stack) for one in parameters)]
            raise BadInputError(
                f"{name}: no layer of the model is named {one_line(part, 40)!r}; there are, for instance, "
                f"{', '.join([*stacks, *known[:3]])}"
            )
    missing = [one for one in parameters if not any(_has_part(one, part) for part in coefficient)]
    if missing and WILDCARD not in coefficient:
        raise BadInputError(f"{name} has no number for {missing[0]}; add one for all other layers: {WILDCARD}=0.6")


def _has_part(parameter: str, part: str) -> bool:
    """Whether a part (see `Coefficient`) occurs in a parameter's name."""
    return f".{part}." in f".{parameter}."


def coefficient_of(coefficient: Coefficient, name: str) -> float:
    """The coefficient of one parameter: that of the longest listed part of its name.

    Raises:
        BadInputError: neither a part of the name nor "*" is listed.
    """
    if not isinstance(coefficient, Mapping):
        return float(coefficient)
    fitting = [part for part in coefficient if _has_part(name, part)]
    if not fitting and WILDCARD not in coefficient:
        raise BadInputError(f"lam has no coefficient for {name}; add one for {WILDCARD!r}")
    return float(coefficient[max(fitting, key=len) if fitting else WILDCARD])
