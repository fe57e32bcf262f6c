"""Saves recognised utterances in the store without labels, so that the user can correct them."""

from __future__ import annotations

from device_app.data.names import checked_name
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import Source, Utterance
from device_app.recognition.results import TranscriptSegment


class UtteranceSaver:
    """Saves utterances as they are recognised.

    Attributes:
        ids: numbers of the utterances that were added to the store.
        known: numbers of those that were not added, because the domain had their audio already.
        latest: number of the latest utterance of both kinds; 0 before the first.
    """

    def __init__(self, store: Store, domain: str, source: Source) -> None:
        """
        Raises:
            BadInputError: the name of the domain is invalid.
        """
        self.ids: list[int] = []
        self.known: list[int] = []
        self.latest = 0
        self._store = store
        self._domain = checked_name(domain, "domain")
        self._source = source

    def save(self, segment: TranscriptSegment) -> None:
        """Saves a segment of a stream. Its hypothesis is the text before replacements.

        Raises:
            ValueError: the segment has no audio, as those of a `Transcript`.
            StorageError: it cannot be written.
        """
        if segment.audio is None:
            raise ValueError("the utterance no longer has its audio")
        new = Utterance(
            domain=self._domain,
            source=self._source,
            hypothesis=segment.decoded_text,
            confidence=segment.confidence,
            recording=recording_of(segment.audio),
        )
        saved = self._store.add([new])
        self.ids += [one.number for one in saved]
        if saved:
            self.latest = saved[-1].number
        elif (known := self._store.find(self._domain, new.recorded.sha256)) is not None:
            self.known.append(known.number)
            self.latest = known.number
