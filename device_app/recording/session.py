"""A recording session: which sentence is next, and what becomes of each take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_app.audio.samples import Samples
from device_app.data.names import checked_name
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.recording.prompts import hardest_first
from device_app.recording.quality import Quality
from editing.errors import BadInputError


@dataclass(frozen=True)
class Item:
    """What is being recorded.

    Attributes:
        prompt: the sentence to be read; None for free speech.
        stored: the utterance that a new take would replace; None for one that is new.
    """

    prompt: str | None
    stored: StoredUtterance | None = None

    @property
    def text(self) -> str | None:
        """What is, or should be, said."""
        return self.stored.text if self.stored is not None else self.prompt


@dataclass(frozen=True)
class Take:
    """A recording that may be kept: audio (samples,) at 16 kHz, and its hypothesis."""

    audio: Samples
    quality: Quality
    hypothesis: str | None
    confidence: float | None


class RecordingSession:
    """Goes through prompts, or free speech, and keeps takes in a domain.

    What has been recorded in the domain before is not offered again, so a session goes on where
    the last one stopped; what was skipped then is.

    Attributes:
        current: what is to be recorded now; None when all is done.
        kept: numbers of the recordings of this domain and speaker, in the order they were made.
        total: how many prompts there are; None for free speech.
    """

    def __init__(self, store: Store, domain: str, prompts: Sequence[str] | None, speaker: str | None = None) -> None:
        """
        Args:
            store: where takes are kept.
            domain: which they belong to; made if need be.
            prompts: sentences to be read; None for free speech.
            speaker: who speaks.

        Raises:
            BadInputError: the domain's or the speaker's name is not one.
        """
        self._store = store
        self._domain = checked_name(domain, "domain")
        self._speaker = None if speaker is None else checked_name(speaker, "speaker")
        self.total = None if prompts is None else len(prompts)
        is_known = any(stats.domain == domain for stats in store.stats())
        recorded = [u for u in store.utterances(domain) if self._is_ours(u)] if is_known else []
        done = {u.prompt for u in recorded}
        self.kept = [u.number for u in recorded]
        self._pending = None if prompts is None else [p for p in prompts if p not in done]
        self._heard = [(u.text, u.hypothesis) for u in recorded if u.text is not None and u.hypothesis is not None]
        self._skipped: set[str] = set()
        self._back: int | None = None  # which of the kept ones is being looked at again
        self.current: Item | None = None
        self._offer()

    @property
    def done(self) -> int:
        """How many prompts are recorded; for free speech, how many recordings there are."""
        return len(self.kept) if self.total is None or self._pending is None else self.total - len(self._pending)

    @property
    def seconds(self) -> float:
        """Of speech recorded so far in this domain, by this speaker."""
        return sum(self._store.get(identity).duration_s for identity in self.kept)

    def keep(self, take: Take, text: str | None) -> StoredUtterance:
        """Keeps a take of the current item, and goes on to the next.

        Raises:
            BadInputError: the text is none (see `checked_text`), or the take is sample for sample one
                that is there already, as two takes of a muted microphone are.
            StorageError: it cannot be written; nothing was changed.
        """
        item = self._item()
        new = Utterance(
            domain=self._domain,
            text=text,
            speaker=self._speaker,
            source="recorded",
            prompt=item.prompt,
            hypothesis=take.hypothesis,
            confidence=take.confidence,
            recording=replace(recording_of(take.audio), clipped=take.quality.clipped, snr_db=take.quality.snr_db),
        )
        if item.stored is not None:
            kept = self._store.replace(item.stored, new)
        else:
            added = self._store.add([new])
            if not added:
                raise BadInputError("the very same recording is there already; is the microphone muted?")
            (kept,) = added
            self.kept.append(kept.number)
            if self._pending is not None and item.prompt is not None:
                self._pending.remove(item.prompt)
        if text is not None and take.hypothesis is not None:
            self._heard.append((text, take.hypothesis))
        self.forward()
        return kept

    def edit(self, text: str) -> None:
        """Gives the kept utterance that is being looked at another text.

        Raises:
            BadInputError: the text is none.
        """
        stored = self._item().stored
        if stored is not None:
            self.current = Item(stored.prompt, self._store.set_text(stored.number, text))

    def skip(self) -> None:
        """Leaves the current prompt for another session."""
        if self._back is None and self._pending is not None:
            self._skipped.add(self._item().prompt or "")
        self.forward()

    def back(self) -> bool:
        """Looks at the utterance that was kept before this one; False where there is none."""
        index = (len(self.kept) if self._back is None else self._back) - 1
        if index < 0:
            return False
        self._back = index
        stored = self._store.get(self.kept[index])
        self.current = Item(stored.prompt, stored)
        return True

    def forward(self) -> None:
        """The next of the kept ones, where one went back; else the next prompt."""
        if self._back is not None and self._back + 1 < len(self.kept):
            self._back += 2
            self.back()
        else:
            self._offer()

    def _offer(self) -> None:
        self._back = None
        if self._pending is None:
            self.current = Item(None)
            return
        left = [p for p in self._pending if p not in self._skipped]
        self.current = Item(hardest_first(left, self._heard)[0]) if left else None

    def _is_ours(self, utterance: StoredUtterance) -> bool:
        is_prompted = utterance.prompt is not None
        return (
            utterance.source != "imported"
            and utterance.speaker == self._speaker
            and is_prompted == (self.total is not None)
        )

    def _item(self) -> Item:
        if self.current is None:
            raise ValueError("the session is over")
        return self.current
