"""Scores vectors by transcribing with the int8 model: the guard set, and the group's held-out speech if there is any.

Norms and directions do not reveal mislabelled recordings ("five" labelled as "nine"): such a vector looks like an
honest one. Only speech with the group's words does (as the trusted data of FLTrust, arXiv 2012.13995).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from device_app.adaptation.gate import Hypotheses, compare, regressions
from device_app.adaptation.settings import MergeSettings
from device_app.adaptation.test_sets import scaled_sum, transcribe_sets, transcribe_sets_with
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import basic
from device_app.execution import ExecutionContext
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.remote.fleet import PULL_LAMBDA
from editing.errors import BadInputError
from editing.method import Tensors
from editing.methods import METHODS
from editing.task_vector import TaskVector
from export.bundle import Bundle

GROUP_SPEECH = "the group's speech"  # the key of the group's held-out speech, beside `GUARD_SET`
NAMES = {GUARD_SET: "general speech", GROUP_SPEECH: "the group's held-out speech"}
MIN_OCCURRENCES = 4  # of a word that was recognised; of rarer words, the loss may be chance
LOST_SHARE = 0.5  # a word is lost if less than this share of its recognised occurrences is left

BySet = Mapping[str, Hypotheses]  # by `GUARD_SET` and `GROUP_SPEECH`


class Scorer:
    """Transcribes the guard set and the group's held-out speech with merges of given vectors.

    Attributes:
        sets: utterances by `GUARD_SET` and `GROUP_SPEECH`, if there are any of each.
        before: the base model's hypotheses.
    """

    def __init__(
        self,
        base: Bundle,
        theta: Tensors,
        guard: Sequence[Utterance],
        group_speech: Sequence[Utterance],
        merge: MergeSettings,
        context: ExecutionContext,
    ) -> None:
        sets = {GUARD_SET: guard, GROUP_SPEECH: group_speech}
        self.sets = {name: utterances for name, utterances in sets.items() if utterances}
        self._base, self._theta, self._merge, self._context = base, theta, merge, context
        transcriber = UtteranceTranscriber(base, context.threads)
        self.before: BySet = transcribe_sets(transcriber, self.sets, context.reporter, "transcribing with the base")

    def merged(self, vectors: Mapping[str, TaskVector]) -> Tensors:
        """The merge of vectors, at a scaling coefficient of 1.

        Raises:
            BadInputError: the method cannot merge them.
        """
        try:
            found: Tensors = METHODS[self._merge.method](
                [vector.tensors for vector in vectors.values()], **self._merge.settings
            )
        except ValueError as error:
            raise BadInputError(f"the vectors cannot be merged: {error}") from error
        return found

    def with_merge(self, vectors: Mapping[str, TaskVector], label: str) -> dict[str, Hypotheses]:
        """Hypotheses for all sets with the merge of vectors, as a device that pulls it would have them."""
        weights = scaled_sum(self._theta, self.merged(vectors), PULL_LAMBDA)
        return transcribe_sets_with(weights, self._base, self.sets, self._context, label, self.before)

    def with_one(self, vector: TaskVector, label: str) -> Hypotheses:
        """Hypotheses for the group's speech with one vector alone."""
        weights = scaled_sum(self._theta, vector.tensors, PULL_LAMBDA)
        sets = {GROUP_SPEECH: self.sets[GROUP_SPEECH]}
        return transcribe_sets_with(weights, self._base, sets, self._context, label, self.before)[GROUP_SPEECH]


def harm(before: BySet, after: BySet, tolerance: float) -> list[str]:
    """Why a merge must not be offered: a WER that rises, outputs that change too much, words that are lost.

    Args:
        before: the base model's hypotheses.
        after: hypotheses with the merge.
        tolerance: by how much the WER may rise, as a fraction.

    Returns:
        The reasons; empty if the merge does no harm.
    """
    changes = {name: compare(before[name], after[name]) for name in after}
    reasons = [
        f"the WER on {NAMES[name]} rises"
        if change.sure_rise > tolerance
        else f"{NAMES[name]} is recognised too differently: of the model's outputs, {change.output_changes(tolerance)}"
        for name, change in regressions(changes, exempt=(), tolerance=tolerance).items()
    ]
    if GROUP_SPEECH in after and (words := lost_words(recognised(before[GROUP_SPEECH]), after[GROUP_SPEECH])):
        reasons.append(f"{', '.join(words)} of the group's held-out speech are recognised no more")
    return reasons


def harmful_alone(before: Hypotheses, alone: Mapping[str, Hypotheses], tolerance: float) -> dict[str, str]:
    """Names of vectors that harm the group's held-out speech by themselves, with the reason.

    A mislabelled word can hide behind the gain of the other words, and behind a base model that recognises the word
    as badly. Therefore each word is compared too, also with what most of the group's vectors achieve.

    Args:
        before: the base model's hypotheses.
        alone: hypotheses with each vector.
        tolerance: by how much the WER may rise, as a fraction.
    """
    counts = [recognised(one) for one in alone.values()]
    expected = recognised(before)
    for word in set().union(*counts):
        expected[word] = max(expected[word], round(statistics.median(count[word] for count in counts)))
    found = {}
    for name, hypotheses in alone.items():
        change = compare(before, hypotheses)
        if change.is_regression(tolerance):
            found[name] = (
                f"with it, the WER on the group's held-out speech is {100 * change.difference:.1f} points higher"
            )
        elif words := lost_words(expected, hypotheses):
            found[name] = f"with it, {', '.join(words[:3])} of the group's held-out speech is recognised no more"
    return found


def recognised(hypotheses: Hypotheses) -> Counter[str]:
    """How often each word of the references is in the hypothesis of its utterance."""
    found: Counter[str] = Counter()
    for reference, hypothesis in zip(hypotheses.references, hypotheses.hypotheses, strict=True):
        found += Counter(basic(reference).split()) & Counter(basic(hypothesis).split())
    return found


def lost_words(expected: Counter[str], hypotheses: Hypotheses) -> list[str]:
    """The words that are recognised less than half as often as expected, the most frequent first."""
    now = recognised(hypotheses)
    return [
        word for word, count in expected.most_common() if count >= MIN_OCCURRENCES and now[word] < LOST_SHARE * count
    ]
