"""The user's own recordings in the guard set. The store keeps them as held-out utterances of the domain GUARD_SET."""

from __future__ import annotations

from collections.abc import Collection

from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance
from editing.errors import BadInputError


def own_recordings(store: Store) -> list[StoredUtterance]:
    """The recordings that the user added to the guard set, in the order in which they were added."""
    if not store.has_domain(GUARD_SET):
        return []
    return list(store.utterances(GUARD_SET))


def chosen_recordings(store: Store, numbers: Collection[int] | None) -> list[int]:
    """The numbers of recordings to remove, after a check that all are in the guard set; None chooses all.

    Raises:
        BadInputError: one of them is not in the guard set.
    """
    own = [one.number for one in own_recordings(store)]
    for number in numbers or ():
        if number not in own:
            raise BadInputError(f"{number} is not a recording of the guard set; 'asr-edge guard list' shows them")
    return own if numbers is None else list(dict.fromkeys(numbers))
