"""Numbers that must not change on one machine, and how they are measured.

python -m tests.frozen.measure         compares this machine's numbers with golden.json, and shows both
python -m tests.frozen.measure --add   adds them, for machines and versions that golden.json does not know yet
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden.json"
PACKAGES = ("torch", "transformers", "onnxruntime", "numpy", "soxr")


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and values of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + np.ascontiguousarray(tensors[name], np.float32).tobytes())
    return found.hexdigest()


def machine() -> str:
    """What float32 sums depend on: the processor's kind and instructions, and the libraries that use them."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = " ".join(sorted(about.get("flags", about.get("Features", platform.processor())).split()))
    cpu = f"{about.get('model name', platform.machine())} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"
    return ", ".join([cpu, *(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)])


def writer() -> str:
    """What the bytes of an ONNX file depend on, beside its content."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("onnx", "protobuf"))


def content(path: Path) -> str:
    """SHA-256 over the nodes and tensors of an ONNX file, however it is serialised."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(path).graph
    found = hashlib.sha256()
    for node in graph.node:
        attributes = sorted((one.name, repr(helper.get_attribute_value(one))) for one in node.attribute)
        found.update(repr((node.op_type, list(node.input), list(node.output), attributes)).encode())
    for tensor in sorted(graph.initializer, key=lambda one: one.name):
        array = numpy_helper.to_array(tensor)
        found.update(repr((tensor.name, array.dtype.str, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def adaptation(model: Path, recordings: Path, out: Path) -> dict[str, str]:
    """Fine-tunes the tiny model in a process of its own, on one thread; SHA-256 of the vector and of the int8 file."""
    command = [sys.executable, "-m", "tests.frozen.measure", "--adapt", str(model), str(recordings), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASR_EDGE_HOME": str(out / "home")}
    subprocess.run(command, check=True, env=environment, timeout=300, cwd=Path(__file__).parents[2])
    return {"vector": sha256(out / "vector.safetensors"), "int8": sha256(out / "ctc.onnx")}


def adapt(model: Path, recordings: Path, out: Path) -> dict[str, str]:
    """The same in this process, on as many threads as it has processors."""
    from tests.frozen import access

    out.mkdir(parents=True)
    # All of them: general speech comes beside them only from the second minute of learning on.
    manifests = (recordings / f"{name}.jsonl" for name in ("cities", "sense"))
    lines = [json.loads(line) for path in manifests for line in path.read_text("utf-8").splitlines()]
    texts = {recordings / line["audio"]: line["text"] for line in lines}
    access.write_task_vector(model, texts, out / "vector.safetensors")
    access.bake_int8(model, out / "vector.safetensors", out)
    return {"vector": sha256(out / "vector.safetensors"), "int8": sha256(out / "ctc.onnx")}


def transcripts(home: Path) -> dict[str, Any]:
    """By precision and recording: text, and each word with its start and end in seconds, to 10 ms."""
    from tests.frozen import access

    found: dict[str, Any] = {}
    for precision in ("int8", "fp32"):
        documents = access.transcribe(home, "embedded", precision, *access.bundled_recordings())
        found[precision] = {
            Path(one["file"]).name: {
                "text": one["text"],
                "words": [
                    [word["text"], round(word["start_s"], 2), round(word["end_s"], 2)]
                    for utterance in one["utterances"]
                    for word in utterance["words"]
                ],
            }
            for one in documents
        }
    return found


def embedded_int8(out: Path) -> dict[str, dict[str, str]]:
    """Of the embedded model's int8 files: what is in them, and their bytes."""
    from tests.frozen import access

    paths = access.bake_int8(None, None, out)
    return {
        "content": {path.name: content(path) for path in paths},
        "bytes": {path.name: sha256(path) for path in paths},
    }


def main(arguments: Sequence[str]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if arguments[:1] == ["--adapt"]:
        adapt(*map(Path, arguments[1:]))
        return
    import tempfile

    from tests.frozen import access
    from tests.frozen.conftest import unpack

    golden = json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = unpack(folder / "data")
        found = adaptation(data / "models" / "tiny", data / "recordings", folder / "adaptation")
        baked = embedded_int8(folder / "int8")
        texts = transcripts(folder / "home")
        vector = (folder / "adaptation" / "vector.safetensors").read_bytes()
    version = str(access.bake_version())
    print(json.dumps({"machine": machine(), **found, "writer": writer(), **baked}, indent=1))
    if arguments[:1] != ["--add"]:
        return
    golden.setdefault("made_on", machine())  # as the checkpoints in data/
    golden.setdefault("adaptation", {}).setdefault(machine(), found)
    golden.setdefault("int8", {}).setdefault(version, {"content": baked["content"], "bytes": {}})
    golden["int8"][version]["bytes"].setdefault(writer(), baked["bytes"])
    golden.setdefault("transcripts", texts)
    reference = GOLDEN.with_name("golden.safetensors")
    if not reference.is_file():
        reference.write_bytes(vector)
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
