"""Master weights on disk: one safetensors file with float32 tensors or 8-bit codes and their scale.

A tensor that was published as int8 is stored as it was published: `NAME` has the codes, and
`NAME.scale` and `NAME.offset` (float64 scalars) give `value = scale * code + offset`. This is
lossless with respect to the published file and takes a quarter of the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from editing.errors import BundleError, one_line
from editing.files import write_atomically

SCALE = ".scale"  # suffixes of tensor names, as above
OFFSET = ".offset"

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class QuantisedTensor:
    """8-bit codes (int8 or uint8, any shape) and the affine map from codes to values."""

    codes: NDArray[np.int8] | NDArray[np.uint8]
    scale: float
    offset: float

    def dequantise(self) -> NDArray[np.float32]:
        """The values scale * code + offset, as float32 of the codes' shape, rounded once."""
        every_code = np.arange(256, dtype=np.uint8).view(self.codes.dtype).astype(np.float64)
        table = (every_code * self.scale + self.offset).astype(np.float32)
        return table[self.codes.view(np.uint8)]


def write_weights(path: Path, tensors: Mapping[str, NDArray[np.float32] | QuantisedTensor]) -> None:
    """Writes tensors by parameter name, float32 or quantised, of any shape, atomically.

    Raises:
        StorageError: the file cannot be written.
    """
    flat: dict[str, NDArray[np.generic]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, QuantisedTensor):
            flat[name] = np.ascontiguousarray(tensor.codes)
            flat[name + SCALE] = np.array(tensor.scale, np.float64)
            flat[name + OFFSET] = np.array(tensor.offset, np.float64)
        else:
            flat[name] = np.asarray(tensor, np.float32, order="C")  # keeps tensors without axes
    write_atomically(path, save(flat))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Reads the shapes of all tensors, by parameter name, from the header of the file.

    Raises:
        BundleError: the file cannot be read, or is not safetensors.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if not name.endswith((SCALE, OFFSET))]  # noqa: SIM118
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: cannot be read as safetensors ({one_line(str(error))})") from error


def read_weights(path: Path) -> Tensors:
    """Reads all tensors as float32, by parameter name.

    Raises:
        BundleError: the file cannot be read or is not safetensors, a scale or offset is missing, or a value is
            not finite.
    """
    try:
        stored = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:  # the last: a type unknown to numpy
        raise BundleError(f"{path}: cannot be read as safetensors ({one_line(str(error))})") from error
    tensors: Tensors = {}
    for name, array in stored.items():
        if name.endswith((SCALE, OFFSET)):
            continue
        if array.dtype in (np.int8, np.uint8):
            try:
                scale, offset = float(stored[name + SCALE]), float(stored[name + OFFSET])
            except KeyError as missing:
                raise BundleError(f"{path}: {name} is stored as codes but {missing} is missing") from None
            except TypeError:
                raise BundleError(f"{path}: scale or offset of {name} is not a single number") from None
            array = QuantisedTensor(array, scale, offset).dequantise()
        tensors[name] = array.astype(np.float32, copy=False)
        if not np.isfinite(tensors[name]).all():
            raise BundleError(f"{path}: {name} contains values that are not finite")
    return tensors
