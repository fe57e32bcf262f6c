"""Keeps the active version's results on the bundled guard set, so that they are computed once for each version.

One file beside the ledger. Recordings of the user's own guard set are not in it: what was said in them must be gone
once they are deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.divergence import TOP_K, TopOutputs
from device_app.adaptation.gate import Hypotheses
from device_app.data.utterance import Utterance
from editing.errors import StorageError
from editing.files import write_atomically
from export.bundle import BAKE_VERSION, Bundle

FORMAT = 3  # to be increased when a change of the code changes hypotheses or outputs between two releases
FILE = "guard-set.safetensors"
TENSORS = ("rows", "outputs", "log_probabilities", "losses")


def read_cached(folder: Path, bundle: Bundle, utterances: Sequence[Utterance]) -> Hypotheses | None:
    """The stored results of a version for these utterances; None if there are none.

    Args:
        folder: the folder of the ledger.
        bundle: the version.
        utterances: with their samples.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != _key(bundle, utterances):
                return None
            tensors = {name: file.get_tensor(name) for name in TENSORS}
            if metadata["content"] != _hash_of_content(tensors, metadata["hypotheses"]):
                return None
    except (OSError, SafetensorError, ValueError, KeyError):  # missing, damaged or of another version
        return None
    bounds = np.cumsum(tensors["rows"])[:-1]
    tops = map(TopOutputs, np.split(tensors["outputs"], bounds), np.split(tensors["log_probabilities"], bounds))
    return Hypotheses(
        [one.transcript for one in utterances],
        json.loads(metadata["hypotheses"]),
        list(tops),
        losses=tuple(tensors["losses"].tolist()),
    )


def write_cached(folder: Path, bundle: Bundle, utterances: Sequence[Utterance], results: Hypotheses) -> None:
    """Stores the results of a version; does nothing if they cannot be written or have no outputs."""
    from safetensors.numpy import save

    if not results.outputs:
        return
    tensors = {  # those of all utterances one after the other; "rows" is how many rows each has
        "rows": np.array([len(one.outputs) for one in results.outputs]),
        "outputs": np.concatenate([one.outputs for one in results.outputs]),
        "log_probabilities": np.concatenate([one.log_probabilities for one in results.outputs]),
        "losses": np.array(results.losses, np.float64),
    }
    hypotheses = json.dumps(list(results.hypotheses))
    content = _hash_of_content(tensors, hypotheses)
    metadata = {"key": _key(bundle, utterances), "hypotheses": hypotheses, "content": content}
    with suppress(OSError, StorageError):  # it only saves time
        write_atomically(folder / FILE, save(tensors, metadata), private=True)


def _hash_of_content(tensors: Mapping[str, NDArray[Any]], hypotheses: str) -> str:
    """The SHA-256 of all results: the gate would compare an edit with damaged ones and not see its harm."""
    digest = hashlib.sha256(hypotheses.encode())
    for name in TENSORS:
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _key(bundle: Bundle, utterances: Sequence[Utterance]) -> str:
    """A hash of all that the results depend on."""
    inputs = [FORMAT, version("asr-edge"), BAKE_VERSION, TOP_K, *bundle.bake_inputs]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for one in utterances:
        digest.update(one.transcript.encode() + b"\0" + one.read().tobytes())
    return digest.hexdigest()
