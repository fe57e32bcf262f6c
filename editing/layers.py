"""Parameter names: which layer each belongs to, and settings that differ by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

STACKS = ("encoder", "decoder")  # in the order in which the signal goes through them
REST = "*"

# A scaling coefficient: one for all, or by a part of the parameters' names: {"encoder": 0.4, "*": 0.6}.
Coefficient = float | Mapping[str, float]


def depths(names: Iterable[str]) -> dict[str, float]:
    """How deep in the network each parameter is: 0 at the input, 1 at the last numbered layer.

    Layers are counted as the signal meets them: "encoder.layers.0" up to "encoder.layers.5", then
    "decoder.layers.0" and so on. What has no number belongs to the layer beside it: a front end
    to the first, a final norm of a stack to its last, an embedding to its stack's first.
    """
    names = list(names)
    places = {name: _place(name) for name in names}
    numbered = sorted({place for place in places.values() if place[1] is not None})
    order = {place: index for index, place in enumerate(numbered)}
    deepest = max(1, len(numbered) - 1)
    found = {}
    for name, place in places.items():
        if place[1] is not None:
            index = order[place]
        else:
            own = [order[other] for other in numbered if other[0] == place[0]] or list(order.values()) or [0]
            index = own[-1] if re.search(r"\.(layer_)?norm\.|proj_out|lm_head|ctc_head", f".{name}.") else own[0]
        found[name] = index / deepest
    return found


def _place(name: str) -> tuple[int, int | None]:
    parts = name.split(".")
    stack = next((index for index, stack in enumerate(STACKS) if stack in parts), 0)
    number = next((int(part) for part in parts if part.isdecimal()), None)
    return stack, number if "layers" in parts else None


def layer(name: str) -> str:
    """The layer a parameter belongs to, for people: "encoder.layers.3", or its stack's other parts."""
    found = re.match(r"(.*?\.?layers\.\d+)\.", name)
    return (found[1] if found else name.rpartition(".")[0] or name).removeprefix("model.")


def of_name(coefficient: Coefficient, name: str) -> float:
    """The coefficient of one parameter; the longest part of its name that is listed decides.

    Raises:
        ValueError: no part of the name is listed, and neither is "*".
    """
    if not isinstance(coefficient, Mapping):
        return float(coefficient)
    fitting = [part for part in coefficient if f".{part}." in f".{name}."]
    if not fitting and REST not in coefficient:
        raise ValueError(f"no coefficient for {name}; add one for {REST!r}")
    return float(coefficient[max(fitting, key=len) if fitting else REST])
