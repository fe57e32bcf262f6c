"""Fleet learning: contributes task vectors of this device to a group, and pulls the vector that the host merged."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.models.ledger import Edit, Ledger
from device_app.paths import data_folder
from device_app.remote.client import HostClient
from device_app.remote.signatures import check_content, verify_document
from device_app.remote.trusted_hosts import Host
from editing.errors import BadInputError
from editing.privacy import make_folder
from editing.task_vector import TaskVector

# The default scaling coefficient with which a device adds the merged vector. The host scores its merge with the same
# one, so that its score is that of the devices.
PULL_LAMBDA = 0.6
TEMPORARY = "fleet-"  # the beginning of the names of temporary folders in the data folder
ABANDONED_S = 24 * 3600.0  # after which no download is still running


def contribution(ledger: Ledger, edit: int, density: float) -> bytes:
    """The file of a task vector to contribute to a group: without recordings, texts, or the name of the domain.

    It contains differences of weights, the number of utterances and seconds, and WER before and after.

    Args:
        ledger: the ledger of the model.
        edit: the number of an edit that was fine-tuned for this device.
        density: the fraction of entries to keep.

    Raises:
        BadInputError: there is no such edit, or it was not fine-tuned on this device.
    """
    found = ledger.edit(edit)
    if len(found.vectors) != 1 or found.kind != "adapt":
        raise BadInputError(f"edit {edit} is not an adaptation of this device; 'asr-edge log' shows which edits are")
    vector = ledger.vector(found.vectors[0])
    origin = replace(vector.origin, domain="", method="trim", density=density, scores=_scores(found))
    return replace(vector.trimmed(density), origin=origin).to_bytes()


def _scores(edit: Edit) -> dict[str, float]:
    domain = edit.domains[0]
    found = {
        "before": edit.before.get(domain),
        "after": edit.after.get(domain),
        "general_speech_before": edit.before.get(GUARD_SET),
        "general_speech_after": edit.after.get(GUARD_SET),
    }
    return {name: wer for name, wer in found.items() if wer is not None}


def pull(host: Host, group: str, ledger: Ledger, report: Callable[[str], None]) -> TaskVector:
    """Downloads and verifies the task vector that a host merged for a group and for the base of this model.

    Args:
        host: a trusted host.
        group: the group of devices.
        ledger: the ledger of the model.
        report: receives messages about the network.

    Returns:
        The vector; its domain is the group.

    Raises:
        NetworkError: the host cannot be reached.
        BadInputError: there is no vector, or it is not the one that the host signed; nothing was merged.
        WrongBaseError, TaskVectorError: the vector does not fit the model.
    """
    base = ledger.base.weights_hash
    make_folder(data_folder())
    _remove_abandoned()
    with (
        HostClient(host, report) as client,
        tempfile.TemporaryDirectory(dir=data_folder(), prefix=TEMPORARY) as folder,
    ):
        offer = client.fleet(group, base)
        record = verify_document(offer["statement"], offer["signature"], host.key)
        check_content(record, {"kind": "fleet", "group": group, "base": base})
        path = Path(folder) / "vector.safetensors"
        if client.fleet_vector(group, base, path) != record["vector"]:
            raise BadInputError(f"{host.url}: sent another task vector than it signed; nothing was merged")
        vector = ledger.load(path, name=host.url)
    return replace(vector, origin=replace(vector.origin, domain=group))


def _remove_abandoned() -> None:
    """Removes the temporary folders of killed pulls."""
    for folder in data_folder().glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder)


def edits_of(ledger: Ledger, group: str) -> list[int]:
    """Numbers of the edits that came from a group; a newer vector of the group replaces them."""
    return [edit.id for edit in ledger.edits if edit.kind == "fleet" and edit.domains == [group]]


def domains_with_test_sets(store: Store) -> list[str]:
    """The domains of this device with labelled held-out utterances, on which a group's vector can be checked."""
    return [
        domain
        for domain in store.domains()
        if any(one.text is not None and one.split == "test" for one in store.utterances(domain))
    ]
