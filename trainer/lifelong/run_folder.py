"""The folder of a run: its paths, its lock, and the check that it holds only one experiment."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from device_app.models.bundles import EMBEDDED_NAME, find_bundle
from device_app.outputs import check_outside_data
from editing.errors import BadInputError, BundleError, one_line
from editing.files import refuse_overwriting, write_atomically
from editing.former_names import CELL, FINE_TUNING, translated
from editing.json_text import JSONTextError, is_number, is_whole_number, read_json
from editing.lock import locked
from editing.method import Tensors
from export.weights import read_weights
from trainer.lifelong.config import Experiment

RECORD = "experiment.json"
WRITTEN = (
    RECORD,
    "results.json",
    "results.csv",
    "summary.md",
    "sweep.json",
)  # written by a run or a sweep, besides the cells
EXTENDABLE = ("methods", "seeds", "settings")  # may differ from the stored experiment; settings only for new methods


@dataclass(frozen=True)
class RunFolder:
    """Paths below a run's folder.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def base_scores(self) -> Path:
        """The scores of the base."""
        return self.path / "cells" / "base" / "step-0.json"

    def cell(self, method: str, seed: int) -> Path:
        """The folder of one method with one seed."""
        return self.path / "cells" / method / f"seed-{seed}"

    def step(self, method: str, seed: int, number: int) -> Path:
        """Scores and costs of a step, numbered from 1; exists once the step is finished."""
        return self.cell(method, seed) / f"step-{number}.json"

    def weights(self, method: str, seed: int, number: int) -> Path:
        """The weights after a step; kept until the next step is finished."""
        return self.cell(method, seed) / f"theta-{number}.safetensors"

    def memory(self, method: str, seed: int) -> Path:
        """The folder of the files that the method itself stores."""
        return self.cell(method, seed) / "memory"

    @property
    def fine_tunings(self) -> Path:
        """The folder of the fine-tunings that several methods need; deleted when the run is finished."""
        return self.path / "fine-tunings"

    def prepared(self, domain: str) -> Path:
        """A domain's prepared training utterances."""
        return self.path / "prepared" / f"{domain}.json"


def read_record(
    path: Path,
    keys: Collection[str],
    names: Mapping[str, str],
    delete: Path | str | None = None,
    numbers: Collection[str] = (),
) -> dict[str, Any]:
    """Reads a JSON object from the folder of a run, perhaps of a former version.

    Args:
        path: the file.
        keys: those that the object must have.
        names: former key -> current key, as `translated`.
        delete: what to delete if it is damaged, so that it is made again; by default the file.
        numbers: more keys that it must have, with numbers as values.

    Raises:
        FileNotFoundError: it is missing.
        BadInputError: it is damaged.
    """
    record = _read(path, names, delete)
    if not isinstance(record, dict) or not {*keys, *numbers} <= record.keys():
        raise damaged(path, f"expected an object with {', '.join(sorted({*keys, *numbers}))}", delete)
    if not all(is_number(record[key]) for key in numbers):
        raise damaged(path, f"expected numbers as {', '.join(sorted(numbers))}", delete)
    return record


def read_scores(
    path: Path, domains: Collection[str], costs: Collection[str] = (), delete: Path | None = None
) -> dict[str, Any]:
    """Reads the scores of the base or of a step.

    Args:
        path: the file.
        domains: those that must have been scored.
        costs: keys of numbers that it must have.
        delete: as for `read_record`.

    Returns:
        The object: "errors", `WordErrors` by domain, and the costs.

    Raises:
        FileNotFoundError, BadInputError: as `read_record`.
    """
    record = read_record(path, ("errors",), CELL, delete, costs)
    errors = record["errors"]
    if not isinstance(errors, dict) or not all(map(_are_word_errors, errors.values())):
        raise damaged(path, "expected numbers of word errors by domain", delete)
    if missing := sorted({*domains} - errors.keys()):
        raise damaged(path, f"has no scores of {', '.join(missing)}", delete)
    return record


def _are_word_errors(errors: object) -> bool:
    """Whether this is a `WordErrors` of at least one utterance."""
    if not isinstance(errors, dict) or not {"wrong", "words"} <= errors.keys():
        return False
    counts = errors["wrong"], errors["words"]
    are_lists = all(isinstance(one, list) and one and all(map(is_whole_number, one)) for one in counts)
    return are_lists and len(counts[0]) == len(counts[1])


def read_stored_weights(path: Path, delete: Path) -> Tensors:
    """Reads weights that a run has stored, by parameter name.

    Args:
        path: the file.
        delete: what to delete if it is damaged, so that it is made again.

    Raises:
        BadInputError: it is missing or damaged.
    """
    try:
        return read_weights(path)
    except BundleError as error:
        raise to_delete(error, delete) from error


def read_examples(path: Path) -> list[tuple[str, int, int, str]]:
    """Reads a domain's prepared training utterances: of each its file, first sample, sample after the last, and text.

    Raises:
        BadInputError: the file is damaged.
    """
    record = _read(path, {})
    if not isinstance(record, list) or not all(map(_is_example, record)):
        raise damaged(path, "expected a list of utterances")
    return [(audio, start, end, text) for audio, start, end, text in record]


def _is_example(one: object) -> bool:
    if not isinstance(one, list) or len(one) != 4:
        return False
    audio, start, end, text = one
    are_texts = isinstance(audio, str) and isinstance(text, str)
    return are_texts and is_whole_number(start) and is_whole_number(end, minimum=start + 1)


def _read(path: Path, names: Mapping[str, str], delete: Path | str | None = None) -> Any:
    try:
        return translated(read_json(path), names)
    except JSONTextError as error:
        raise damaged(path, one_line(str(error)), delete) from error


def damaged(path: Path, reason: str, delete: Path | str | None = None) -> BadInputError:
    """The error to raise for a damaged file: what to delete, by default the file, so that it is made again."""
    return to_delete(f"{path}: is damaged ({reason})", delete or "it")


def to_delete(problem: object, delete: Path | str) -> BadInputError:
    """The error to raise for a problem, with what to delete, so that it is made again."""
    return BadInputError(f"{problem}; delete {delete} and start the command again")


@contextmanager
def open_run_folder(experiment: Experiment, out: Path) -> Iterator[RunFolder]:
    """Opens and locks the folder of a run.

    Raises:
        BadInputError: another process uses the folder, it holds another experiment, it is in the data
            folder, or its results would replace a manifest or files that no run has written.
    """
    check_outside_data(out)
    refuse_overwriting([out / name for name in WRITTEN], experiment.manifests.values())
    found = [out / name for name in WRITTEN if (out / name).exists()]
    for path in found:
        if path.is_dir():
            raise BadInputError(f"{path}: is a folder; nothing was changed. Name another folder with --out")
    if found and out / RECORD not in found:
        raise BadInputError(
            f"{found[0]}: is there already, and no run has written it; nothing was changed. Name another folder "
            "with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    message = f"{out}: another process is running in this folder; wait, or name another folder"
    with locked(out / "lock", message=message):
        record = json.loads(json.dumps(asdict(experiment), default=str))
        used = {name: experiment.manifests[name] for name in experiment.all_domains}
        record["contents"] = {name: sha256(manifest.read_bytes()).hexdigest() for name, manifest in used.items()}
        record["base_weights"] = find_bundle(experiment.base or EMBEDDED_NAME).weights_hash
        path = out / RECORD
        if path.is_file():
            all_results = f"{out} with all its results"
            before = read_record(path, ("methods", "settings"), FINE_TUNING, all_results)
            if not _is_experiment(before):
                raise damaged(path, "expected methods, settings and contents", all_results)
            done = [method for method in experiment.methods if (out / "cells" / method).is_dir()]
            if changed := _changed(before, record, done):
                raise BadInputError(
                    f"{out}: holds a run with another {', '.join(changed)}; name another folder with --out"
                )
            record["settings"] = {**before["settings"], **record["settings"]}  # of methods that are left out now, too
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
        yield RunFolder(out)


def _is_experiment(record: Mapping[str, Any]) -> bool:
    """Whether the values of a stored experiment that are used have the right types."""
    methods, tables = record["methods"], (record["settings"], record.get("contents", {}))
    are_names = isinstance(methods, list) and all(isinstance(method, str) for method in methods)
    return are_names and all(isinstance(table, dict) for table in tables)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], done: Collection[str]) -> list[str]:
    """The keys that differ from the stored experiment; methods and seeds may be added.

    Args:
        before: the stored experiment.
        after: the new one.
        done: the new one's methods that have cells in the folder.
    """
    added = {key: after[key] for key in ("contents", "base_weights")}  # former versions did not store them
    before = {**added, **before}
    contents = before["contents"]
    changed = [] if before["base_weights"] == after["base_weights"] else ["base model"]
    changed += [f"manifest of {name}" for name, one in after["contents"].items() if contents.get(name) != one]
    changed += [key for key, value in after.items() if key not in (*EXTENDABLE, *added) and before.get(key) != value]
    return changed + [
        f"settings.{method}"
        for method in dict.fromkeys([*before["methods"], *done])
        if before["settings"].get(method) != after["settings"].get(method)
    ]
