"""How long learning takes as a whole: before it starts, and again and again while it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from device_app.adaptation.local_training import expected_duration_for
from device_app.data.store import Store
from device_app.models.ledger import Ledger

# The test before and after with the embedded model, a second of audio in "Going through your recordings": seconds that
# they take on two cores with nothing else to do. A "Use it", which is such a test, took 59 to 95 s when recordings were
# recognised one after the other; side by side, they take 0.7 of the time.
TEST_S = 42.0
PER_SPEECH_S = 0.035
# The starts of the names of the steps, as static/js/tasks.js has them.
STEPS = (
    ("transcribing with the active version",),
    ("transcribing the training set",),
    ("Fine-tuning on", "fine-tuning"),
    ("transcribing with the new version", "checking corrected words"),
)
FINETUNING = 2
SOON_S = 10.0  # after which the progress tells more than the expectation


@dataclass
class Plan:
    """The steps of learning, and how long they take.

    Attributes:
        steps: expected seconds of each of `STEPS`.
        is_measured: whether a fine-tuning was measured on this machine before.
    """

    steps: Sequence[float]
    is_measured: bool
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, store: Store, ledger: Ledger, domain: str) -> Plan | None:
        """The plan for a domain; None for a model of which no speed is known."""
        training = [one for one in store.utterances(domain) if one.text is not None and one.split == "train"]
        expected = expected_duration_for(ledger.base.weights_hash, training)
        if expected is None:
            return None
        through_s = PER_SPEECH_S * sum(one.duration_s for one in training)
        slow = expected.slowdown
        return cls((slow * TEST_S, slow * through_s, expected.seconds, slow * TEST_S), expected.is_measured)

    @property
    def total_s(self) -> float:
        """Expected seconds of all steps."""
        return sum(self.steps)

    def left_s(self, step: str, done: float, total: float, step_left_s: float | None) -> float | None:
        """Seconds until the end of all steps, from the expectation and the progress so far.

        Args:
            step: the name of the step.
            done, total: how far it is; a total of 0 is unknown.
            step_left_s: seconds until the end of the step by its own rate; None if that is unknown.

        Returns:
            None for an unknown step.
        """
        place = next((i for i, names in enumerate(STEPS) if step.startswith(names)), None)
        if place is None:
            return None
        fraction = min(1.0, done / total) if total > 0 else 0.0
        after_s = sum(self.steps[place + 1 :])
        if place == FINETUNING and step_left_s is not None and fraction < 1:
            pace = max(1.0, step_left_s / ((1 - fraction) * self.steps[place])) if self.steps[place] else 1.0
            return step_left_s + pace * after_s
        passed = time.monotonic() - self._began
        planned = sum(self.steps[:place]) + fraction * self.steps[place]
        pace = max(1.0, passed / planned) if planned > SOON_S else 1.0
        return pace * ((1 - fraction) * self.steps[place] + after_s)
