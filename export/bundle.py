"""A model bundle: one folder with a model, its origin and its licence.

model.json            names, origin, licence, and the hashes of the files below
weights.safetensors   master weights; tensor names are the torch parameter names
tokenizer.json
LICENSE               of the weights
graphs/*.onnx         the network without weights: initialisers are named as the parameters
nemo/model.onnx       the network with the inputs and outputs of a NeMo model, for other programs; CTC models only
int8/*.onnx           (or fp32/) baked from weights and graphs; can always be rebuilt
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args

from editing.errors import BundleError, one_line
from editing.files import sha256, write_atomically
from editing.json_text import read_json
from export.weights import Tensors, read_shapes, read_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)  # also the folders of baked files in an exported bundle
"""The precisions of a baked model: 32-bit floats, or 8-bit integers in matrix products."""

FORMAT_VERSION = 1
# Part of the identity of baked files: increase it when the same weights and graphs bake to other bytes.
BAKE_VERSION = 1
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
LICENCE = "LICENSE"
GRAPHS = "graphs"
NEMO_GRAPH = "nemo/model.onnx"
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class Bundle:
    """The content of `model.json`, and the folder it is in.

    Attributes:
        folder: where the files are.
        name: the display name of the model.
        family: the module of `device_app.recognition.families` that runs it.
        sampling_rate: the sampling rate of the audio that the graphs take, in Hz.
        config: settings of the network, as the torch configuration class takes them.
        licence: SPDX identifier of the licence of the weights.
        origin: where the weights come from.
        files: path inside the bundle -> SHA-256 in hexadecimal, of every file but `model.json`.
        language: of the text, as a code of ISO 639 ("en"). Bundles of earlier versions have none; they are English.
    """

    folder: Path
    name: str
    family: str
    sampling_rate: int
    config: Mapping[str, Any]
    licence: str
    origin: str
    files: Mapping[str, str] = field(default_factory=dict)
    language: str = DEFAULT_LANGUAGE

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Opens the bundle in a folder. Reads only `model.json`; `check` verifies the files.

        Raises:
            BundleError: the folder has no bundle, or `model.json` is invalid.
        """
        folder = Path(folder)
        path = folder / "model.json"
        try:
            record = read_json(path)
        except FileNotFoundError:
            raise BundleError(f"{folder}: no model bundle here (model.json is missing)") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: cannot be read ({one_line(str(error))})") from error
        return cls._from_record(folder, path, record)

    @classmethod
    def _from_record(cls, folder: Path, path: Path, record: Any) -> Bundle:
        if not isinstance(record, dict):
            raise BundleError(f"{path}: expected a JSON object")
        if record.get("format_version") != FORMAT_VERSION:
            raise BundleError(
                f"{path}: format version {record.get('format_version')!r}; this asr-edge reads version {FORMAT_VERSION}"
            )
        kinds: dict[str, type] = {
            "name": str,
            "family": str,
            "sampling_rate": int,
            "config": dict,
            "licence": str,
            "origin": str,
            "files": dict,
            "language": str,
        }
        record = {"language": DEFAULT_LANGUAGE, **record}
        wrong = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
        if wrong:
            raise BundleError(f"{path}: missing or of the wrong type: {', '.join(wrong)}")
        for name, digest in record["files"].items():
            if not isinstance(digest, str):
                raise BundleError(f"{path}: the hash of {name!r} is not a text")
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts or "\\" in name:
                raise BundleError(f"{path}: names a file outside the bundle: {name!r}")
        return cls(folder=folder, **{key: record[key] for key in kinds})

    def path(self, name: str) -> Path:
        """The path of a file that `model.json` lists.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.files:
            raise BundleError(f"{self.folder}: the bundle {self.name} has no {name}")
        return self.folder / name

    def check(self, *names: str) -> None:
        """Compares files (all of them if no name is given) with the hashes in `model.json`.

        Raises:
            BundleError: a file is missing or damaged.
        """
        for name in names or self.files:
            path = self.path(name)
            try:
                found = sha256(path)
            except OSError as error:
                raise BundleError(f"{path}: cannot be read ({error.strerror}); install the bundle again") from error
            if found != self.files[name]:
                raise BundleError(
                    f"{path}: damaged (sha256 {found[:8]}, expected {self.files[name][:8]}); install the bundle again"
                )

    def graphs(self) -> dict[str, Path]:
        """Name -> path of each weightless graph."""
        found = [name for name in self.files if PurePosixPath(name).parent.name == GRAPHS]
        return {PurePosixPath(name).stem: self.folder / name for name in sorted(found)}

    def weights(self) -> Tensors:
        """The master weights as float32, by parameter name.

        Raises:
            BundleError: the bundle was exported without them, or they are damaged.
        """
        path = self.path(WEIGHTS)
        self.check(WEIGHTS)
        return read_weights(path)

    def base_weights(self) -> Tensors:
        """As `weights`, without edits."""
        return Bundle.weights(self)

    def tokenizer(self) -> Tokenizer:
        """Loads the tokenizer.

        Raises:
            BundleError: it is missing or damaged.
        """
        from tokenizers import Tokenizer  # a bundle is also opened where no text is needed

        self.check(TOKENIZER)
        try:
            return Tokenizer.from_buffer(self.path(TOKENIZER).read_bytes())  # `from_file` takes UTF-8 paths only
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{self.folder}: the tokenizer is damaged ({one_line(str(error))})") from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the master weights, by parameter name; the weights themselves are not read.

        Raises:
            BundleError: the bundle was exported without them, or the file is not safetensors.
        """
        return read_shapes(self.path(WEIGHTS))

    @property
    def bake_inputs(self) -> list[Any]:
        """The inputs that determine the baked files, besides the precision; serialisable as JSON.

        A list, to which an edited bundle appends its edits; its one item here has the hash of each source file.

        Raises:
            BundleError: the bundle has no weights or no graphs.
        """
        sources = {n: digest for n, digest in self.files.items() if n == WEIGHTS or n.startswith(f"{GRAPHS}/")}
        if WEIGHTS not in sources or len(sources) < 2:
            raise BundleError(f"{self.folder}: has no weights and graphs to bake; it runs only as it was exported")
        return [sources]

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the file of the master weights, by which a task vector names its base."""
        self.path(WEIGHTS)
        return self.files[WEIGHTS]


def write_record(bundle: Bundle) -> Bundle:
    """Hashes every file in the bundle's folder and writes `model.json` last.

    The folder is not a bundle without that file, so an interrupted write cannot leave an incomplete bundle.

    Args:
        bundle: its folder and the fields of the record; `files` is ignored.

    Returns:
        The bundle as it was written, with the hashes.

    Raises:
        StorageError: `model.json` cannot be written.
    """
    files = {
        path.relative_to(bundle.folder).as_posix(): sha256(path)
        for path in sorted(bundle.folder.rglob("*"))
        if path.is_file() and path.name != "model.json"
    }
    record = {
        "format_version": FORMAT_VERSION,
        "name": bundle.name,
        "family": bundle.family,
        "sampling_rate": bundle.sampling_rate,
        "config": dict(bundle.config),
        "licence": bundle.licence,
        "origin": bundle.origin,
        "language": bundle.language,
        "files": files,
    }
    write_atomically(bundle.folder / "model.json", (json.dumps(record, indent=2) + "\n").encode())
    return Bundle.open(bundle.folder)
