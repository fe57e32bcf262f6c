"""A recording session: selects the next prompt and saves takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """What to record next, or the saved utterance under review.

    Attributes:
        prompt: the sentence to read; None for free speech.
        stored: the utterance that a new take replaces; None for a new utterance.
    """

    prompt: str | None
    stored: StoredUtterance | None = None

    @property
    def text(self) -> str | None:
        """The label of the stored utterance, or the prompt."""
        return self.stored.text if self.stored is not None else self.prompt


@dataclass(frozen=True)
class Take:
    """A recording that is not saved yet: audio (samples,) at 16 kHz, quality, and hypothesis."""

    audio: Samples
    quality: Quality
    hypothesis: str | None
    confidence: float | None


class RecordingSession:
    """Goes through prompts, or free speech, and saves takes in a domain.

    A session continues where the last one stopped: it omits prompts that are recorded in the domain
    already, but not those that were skipped.

    Attributes:
        current: the item to record; None when all prompts are done.
        saved: numbers of the recordings of this domain and speaker, in the order of recording.
        total: number of prompts; None for free speech.
    """

    def __init__(self, store: Store, domain: str, prompts: Sequence[str] | None, speaker: str | None = None) -> None:
        """
        Args:
            store: the store for the takes.
            domain: the domain of the takes; created if necessary.
            prompts: sentences to read; None for free speech.
            speaker: name of the speaker.

        Raises:
            BadInputError: the name of the domain or of the speaker is invalid.
        """
        self._store = store
        self._domain = checked_name(domain, "domain")
        self._speaker = None if speaker is None else checked_name(speaker, "speaker")
        self.total = None if prompts is None else len(prompts)
        self._prompts = frozenset(prompts or ())
        recorded = [u for u in store.utterances(domain) if self._is_ours(u)] if store.has_domain(domain) else []
        recorded_prompts = {u.prompt for u in recorded}
        self.saved = [u.number for u in recorded]
        self._pending = None if prompts is None else [p for p in prompts if p not in recorded_prompts]
        # References and hypotheses, for the order of the prompts.
        self._history = [(u.text, u.hypothesis) for u in recorded if u.text is not None and u.hypothesis is not None]
        self._skipped: set[str] = set()
        self._reviewing: int | None = None  # index in `saved` of the recording under review
        self.current: Item | None = None
        self._offer()

    @property
    def done(self) -> int:
        """Number of recorded prompts; for free speech, number of recordings."""
        return len(self.saved) if self.total is None or self._pending is None else self.total - len(self._pending)

    @property
    def labelled(self) -> int:
        """Number of labelled utterances of the domain, of all speakers and sources."""
        if not self._store.has_domain(self._domain):
            return 0
        return sum(one.text is not None for one in self._store.utterances(self._domain))

    @property
    def seconds(self) -> float:
        """Total duration of the recordings of this domain and speaker."""
        return sum(self._store.get(number).duration_s for number in self.saved)

    def save(self, take: Take, text: str | None) -> StoredUtterance:
        """Saves a take of the current item, and goes to the next item.

        Raises:
            BadInputError: the text is invalid (see `checked_text`), or the same samples are saved
                already, as with two takes from a muted microphone.
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
            saved = self._store.replace(item.stored, new)
        else:
            added = self._store.add([new])
            if not added:
                raise BadInputError("an identical recording is saved already; is the microphone muted?")
            (saved,) = added
            self.saved.append(saved.number)
            if self._pending is not None and item.prompt in self._pending:
                self._pending.remove(item.prompt)
        if text is not None and take.hypothesis is not None:
            self._history.append((text, take.hypothesis))
        self.forward()
        return saved

    def edit(self, text: str) -> None:
        """Changes the label of the saved utterance under review.

        Raises:
            BadInputError: the text is invalid.
        """
        stored = self._item().stored
        if stored is not None:
            self.current = Item(stored.prompt, self._store.set_text(stored.number, text))

    def delete(self) -> None:
        """Deletes the saved utterance under review, and goes to the next.

        Its prompt is offered again if it is one of this session and has no other recording.
        """
        stored = self._item().stored
        if stored is None or self._reviewing is None:
            return
        self._store.delete([stored.number])
        self.saved.remove(stored.number)
        others = {self._store.get(number).prompt for number in self.saved}
        if self._pending is not None and stored.prompt in self._prompts - others:
            self._pending.append(stored.prompt)
        self._reviewing -= 1
        self.forward()

    def skip(self) -> None:
        """Leaves the current prompt for another session."""
        if self._reviewing is None and self._pending is not None:
            self._skipped.add(self._item().prompt or "")
        self.forward()

    def choose(self, prompt: str | None) -> None:
        """Makes a prompt the current item, for a take that was recorded earlier; None for free speech.

        If the prompt is recorded already, the take becomes another utterance.
        """
        self._reviewing = None
        self.current = Item(prompt)

    def skip_all(self, prompts: Iterable[str]) -> None:
        """Leaves prompts for another session, and goes to the next prompt."""
        self._skipped.update(prompts)
        self._offer()

    def back(self) -> bool:
        """Goes to the previous saved utterance; returns False if there is none."""
        index = (len(self.saved) if self._reviewing is None else self._reviewing) - 1
        if index < 0:
            return False
        self._reviewing = index
        stored = self._store.get(self.saved[index])
        self.current = Item(stored.prompt, stored)
        return True

    def forward(self) -> None:
        """Goes to the next saved utterance during a review, otherwise to the next prompt."""
        if self._reviewing is not None and self._reviewing + 1 < len(self.saved):
            self._reviewing += 2  # `back` goes back by one
            self.back()
        else:
            self._offer()

    def _offer(self) -> None:
        """Makes the hardest pending prompt, or free speech, the current item."""
        self._reviewing = None
        if self._pending is None:
            self.current = Item(None)
            return
        offered = [p for p in self._pending if p not in self._skipped]
        self.current = Item(hardest_first(offered, self._history)[0]) if offered else None

    def _is_ours(self, utterance: StoredUtterance) -> bool:
        """Whether a session like this recorded an utterance: the same speaker, and prompts if this one has prompts."""
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
