"""Where a user is in the loop of recording, adapting and correcting, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from device_app.adaptation_notes import has_nothing_to_gain, interrupted_domains
from device_app.data.names import DEFAULT_DOMAIN, GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance
from device_app.models.ledger import Edit, EditState, Ledger
from editing.errors import counted

MIN_LABELLED = 10  # labelled utterances for an adaptation, including the held-out ones
RECOMMENDED = 40  # labelled utterances that give a good adaptation
NOTHING_TO_GAIN = "the model makes no error in what was held out: record what it gets wrong"
NEW_FOR_NEXT = 10  # labelled utterances since the last adaptation from which another one is proposed


@dataclass(frozen=True)
class DomainStatus:
    """One domain.

    Attributes:
        recordings, labelled: number of utterances, and of those with a text.
        seconds: seconds of audio, with and without text.
        new: labelled utterances that the last adaptation to the domain did not use; all of them if there was none.
        last_edit: what became of that adaptation; None if there was none.
        wer_before, wer_now: WER of the held-out utterances without any edit of the domain and with the active version,
            as measured last; None if it was not measured.
        has_nothing_to_gain: whether the last adaptation ended because the active version makes no error on them.
    """

    domain: str
    recordings: int
    labelled: int
    seconds: float
    new: int
    last_edit: EditState | None = None
    wer_before: float | None = None
    wer_now: float | None = None
    has_nothing_to_gain: bool = False

    @property
    def unlabelled(self) -> int:
        return self.recordings - self.labelled

    @property
    def is_ready(self) -> bool:
        """Whether an adaptation is possible and there are new recordings to train on."""
        if self.has_nothing_to_gain:
            return False
        was_adapted = self.new < self.labelled
        return self.labelled >= MIN_LABELLED and self.new >= (NEW_FOR_NEXT if was_adapted else 1)


@dataclass(frozen=True)
class Step:
    """What to do next: a command, and why."""

    command: str
    reason: str


# Nothing else works without the recordings: they can neither be trained on nor be added to.
FIND_RECORDINGS = Step("asr-edge doctor", "see which recordings are missing, and how to continue without them")


@dataclass(frozen=True)
class Status:
    """The state of a model and of the recordings.

    Attributes:
        domains: those with recordings, by name.
        general_before, general_now: WER of general speech with the base and with the active version, if measured.
        edits: numbers of the active edits.
        next: the next steps, the most useful first.
        interrupted: the domains of adaptations that were interrupted, and continue with the next 'adapt'.
        missing_audio: the folder of the recordings if none of them is there, most likely because its disk is not
            mounted; otherwise None.
    """

    domains: Sequence[DomainStatus]
    general_before: float | None
    general_now: float | None
    edits: Sequence[int]
    next: Sequence[Step]
    interrupted: Sequence[str] = ()
    missing_audio: str | None = None


def status(store: Store, ledger: Ledger) -> Status:
    """Collects the state; measures nothing.

    Raises:
        StorageError: the store or the ledger is damaged.
    """
    domains = [domain_status(store, ledger, domain) for domain in store.domains() if domain != GUARD_SET]
    applied = [edit for edit in ledger.edits if ledger.is_applied(edit.id)]
    before = next((edit.before[GUARD_SET] for edit in _used(ledger) if GUARD_SET in edit.before), None)
    interrupted = interrupted_domains(ledger)
    missing_audio = str(store.audio_folder) if store.is_audio_missing() else None
    return Status(
        domains=domains,
        general_before=ledger.versions[0].wer.get(GUARD_SET, before) if applied else None,
        general_now=ledger.current.wer.get(GUARD_SET),
        edits=[edit.id for edit in applied],
        next=next_steps(domains, interrupted) if missing_audio is None else [FIND_RECORDINGS],
        interrupted=interrupted,
        missing_audio=missing_audio,
    )


def next_steps(domains: Sequence[DomainStatus], interrupted: Sequence[str] = ()) -> list[Step]:
    """The next steps of a user with these domains, the most useful first.

    Args:
        domains: those with recordings.
        interrupted: those whose adaptation was interrupted.
    """
    steps = [
        Step(f"asr-edge adapt{domain_option(name)}", "continue the adaptation that was interrupted, with its options")
        for name in interrupted
    ]
    steps += [
        Step(f"asr-edge adapt{domain_option(one.domain)}", f"train on {counted(one.new, 'new labelled recording')}")
        for one in domains
        if one.is_ready and one.domain not in interrupted
    ]
    steps += [
        Step(f"asr-edge label{domain_option(one.domain)}", f"check the texts of {counted(one.unlabelled, 'recording')}")
        for one in domains
        if one.unlabelled
    ]
    steps += [
        Step(
            f"asr-edge record{domain_option(one.domain)}",
            NOTHING_TO_GAIN if one.has_nothing_to_gain else domain_progress(one),
        )
        for one in domains
        if one.has_nothing_to_gain or (one.labelled < RECOMMENDED and not one.unlabelled)
    ]
    if not domains:
        steps.append(Step("asr-edge record", f"read {MIN_LABELLED} sentences or more aloud"))
    steps.append(Step("asr-edge transcribe --save", "speak, and correct what is wrong"))
    return steps


def domain_progress(domain: DomainStatus) -> str:
    """How far a domain is from its next adaptation, or from a good one."""
    if domain.last_edit is None:
        return first_progress(domain.labelled)
    new = f"{counted(domain.new, 'new recording')} with text"
    return f"{new}; adapt again from {NEW_FOR_NEXT}" if domain.new < NEW_FOR_NEXT else f"{new}: you can adapt again"


def first_progress(labelled: int) -> str:
    """How far this number of labelled recordings is from a first and from a good adaptation."""
    if labelled < MIN_LABELLED:
        return f"{labelled} of {MIN_LABELLED}: {MIN_LABELLED - labelled} more until you can adapt"
    if labelled < RECOMMENDED:
        return f"{labelled} of {RECOMMENDED}: you can adapt now; better from {RECOMMENDED}"
    return f"{labelled}: enough to learn well"


def domain_option(domain: str) -> str:
    """The option that names a domain, for a command to show; empty for the default domain."""
    return "" if domain == DEFAULT_DOMAIN else f" --domain {shlex.quote(domain)}"


def domain_status(store: Store, ledger: Ledger, domain: str) -> DomainStatus:
    """Collects the state of a domain; measures nothing.

    Raises:
        StorageError: the store or the ledger is damaged.
    """
    if domain not in store.domains():
        return DomainStatus(domain, 0, 0, 0.0, 0)
    (stats,) = store.stats(domain)
    labelled = [utterance for utterance in store.utterances(domain) if utterance.text is not None]
    adaptations = [edit for edit in ledger.edits if domain in edit.domains and edit.kind == "adapt"]
    used = [edit for edit in _used(ledger) if domain in edit.domains]
    return DomainStatus(
        domain=domain,
        recordings=stats.utterances,
        labelled=len(labelled),
        seconds=stats.seconds,
        new=len(labelled) if not adaptations else unused(labelled, adaptations[-1]),
        last_edit=ledger.state(adaptations[-1]) if adaptations else None,
        wer_before=next((edit.before[domain] for edit in used if domain in edit.before), None),
        wer_now=ledger.current.wer.get(domain) if used else None,
        has_nothing_to_gain=has_nothing_to_gain(ledger, labelled),
    )


def _used(ledger: Ledger) -> list[Edit]:
    """The edits that the active version has, alone or as parts of a merge."""
    return [edit for edit in ledger.edits if ledger.state(edit) in ("active", "merged")]


def unused(labelled: Sequence[StoredUtterance], edit: Edit) -> int:
    """How many of the labelled utterances an adaptation did not use.

    At least those recorded after its end. If there are more labelled utterances than these and those that it used, some
    were recorded while it ran, or labelled later: they count too. An edit of an early asr-edge does not say how many
    were held out; then only those recorded later count.
    """
    later = sum(utterance.created > edit.created for utterance in labelled)
    return max(later, len(labelled) - edit.utterances - edit.held_out) if edit.held_out else later
