"""Exports models: as a bundle with baked graphs, or in the layout of NeMo models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

from editing.errors import BadInputError
from editing.files import folder_in_one_step
from export.bake import bake, bake_graph
from export.bundle import GRAPHS, LICENCE, NEMO_GRAPH, PRECISIONS, WEIGHTS, Bundle, Precision, write_record

BLANK = "<blk>"  # the name of the CTC blank in NeMo's vocabularies


def export_bundle(bundle: Bundle, precision: Precision, out: Path) -> Bundle:
    """Bakes a bundle into a new folder that `Transcriber` can run directly.

    Raises:
        BadInputError: `out` is in use.
        BundleError: the bundle is damaged or has no weights to bake.
        StorageError: `out` cannot be written; it is unchanged.
    """
    bundle.check()
    weights = bundle.weights()
    regenerated = {WEIGHTS, GRAPHS, PurePosixPath(NEMO_GRAPH).parts[0], *PRECISIONS}
    with folder_in_one_step(out) as folder:
        bake(bundle, weights, precision, folder / precision)
        for name in bundle.files:
            if PurePosixPath(name).parts[0] not in regenerated:
                shutil.copyfile(bundle.folder / name, folder / name)
        write_record(replace(bundle, folder=folder))
    return Bundle.open(out)


def export_nemo(bundle: Bundle, precision: Precision, out: Path) -> None:
    """Writes a CTC model in the layout that onnx-asr ("nemo-conformer-ctc") and sherpa-onnx (NeMo CTC) load.

    `model.onnx` (`model.int8.onnx`) takes NeMo features "audio_signal" (batch, bins, frames) and
    "length" (batch,) in frames, and returns "logprobs" (batch, frames, vocabulary). `vocab.txt` and its copy
    `tokens.txt` have one token per line, the blank last. `config.json` is for onnx-asr.

    Raises:
        BadInputError: `out` is in use, or the family of the model has no NeMo layout.
        BundleError: the bundle is damaged or has no weights to bake.
        StorageError: `out` cannot be written; it is unchanged.
    """
    import onnx

    if NEMO_GRAPH not in bundle.files:
        raise BadInputError(f"{bundle.name}: its family is {bundle.family}; only CTC models have a NeMo layout")
    bundle.check()
    encoder = bundle.config["encoder"]
    tokenizer = bundle.tokenizer()
    tokens = [str(tokenizer.id_to_token(number)) for number in range(tokenizer.get_vocab_size())] + [BLANK]
    model = bake_graph(onnx.load(bundle.path(NEMO_GRAPH), load_external_data=False), bundle.weights(), precision)
    metadata = {
        "model_type": "EncDecCTCModelBPE",
        "vocab_size": str(len(tokens) - 1),
        "subsampling_factor": str(encoder["subsampling_factor"]),
        "normalize_type": "per_feature",
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    vocabulary = "".join(f"{token} {number}\n" for number, token in enumerate(tokens))
    config = {
        "model_type": "nemo-conformer-ctc",
        "features_size": encoder["num_mel_bins"],
        "subsampling_factor": encoder["subsampling_factor"],
    }
    with folder_in_one_step(out) as folder:
        name = "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
        (folder / name).write_bytes(model.SerializeToString())
        for file in ("vocab.txt", "tokens.txt"):
            (folder / file).write_text(vocabulary, "utf-8")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        shutil.copyfile(bundle.path(LICENCE), folder / LICENCE)
