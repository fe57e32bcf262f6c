"""From a domain's labelled utterances to a judged version: what `asr-edge adapt` does.

The fine-tuning itself is handed in, as it needs torch, or another machine.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from device_app.audio import SAMPLE_RATE, read
from device_app.canary import Spoken, canary
from device_app.gate import Change, Heard, Verdict, compare, judge
from device_app.ledger import Edit, Ledger, Version
from device_app.models import baked, baked_folder, data_folder
from device_app.orthography import as_the_model_writes, differs
from device_app.scoring import english
from device_app.store import CANARY, Store, StoredUtterance
from device_app.transcriber import Transcriber
from editing.errors import BadInputError, StorageError
from editing.registry import METHODS, Tensors
from editing.task_vector import Origin, TaskVector, apply
from export.bake import bake
from export.bundle import Bundle

Orthography = Literal["keep", "learn"]

FEWEST = 10  # labelled utterances, the held-out ones among them
FEWEST_HELD_OUT = 3
LAMBDAS = (0.2, 0.4, 0.6, 0.8, 1.0)
DENSITIES = (0.2, 0.5, 1.0)
SWEEP_S = 120.0  # of each domain are heard with every candidate of a sweep
CANDIDATE = "candidate-"  # how folders with the baked files of one begin
ENOUGH = 1 / 2  # of the best candidate's gain on the new domain
CHECKED = 60  # labels that are compared with what is heard
ORTHOGRAPHY: Mapping[Orthography, str] = {
    "keep": "The labels lack the capitals or the punctuation that the model writes. It learns them as it would write "
    "them itself (--orthography keep); 'learn' would teach it theirs, for all speech.",
    "learn": "The labels lack the capitals or the punctuation that the model writes. It learns to write as they do "
    "(--orthography learn), for all speech; 'keep' would keep its own way.",
}
CHANCE = 0.05  # how often labels may fit that well when they belong to other recordings


@dataclass(frozen=True)
class Labelled:
    """A recording (16 kHz FLAC) and its text, as it is to be learnt."""

    audio: Path
    text: str


@dataclass(frozen=True)
class Lesson:
    """All that a fine-tuning is given.

    Attributes:
        bundle: the version to start from.
        training: to learn from.
        held_out: to know when to stop.
        origin: what the task vector says of itself.
    """

    bundle: Bundle
    training: Sequence[Labelled]
    held_out: Sequence[Labelled]
    origin: Origin


@dataclass(frozen=True)
class Learnt:
    """What a fine-tuning gives: a task vector as it is stored, training loss per token of each epoch, and seconds."""

    vector: TaskVector
    losses: Sequence[float]
    seconds: float


# Fine-tunes, on this machine or on another.
Tune = Callable[[Lesson], Learnt]


@dataclass(frozen=True)
class Exam:
    """What versions are judged by, by domain; and what a version (its number) hears that is in service."""

    sets: Mapping[str, Sequence[Spoken]]
    before: Mapping[str, Heard]
    version: int


@dataclass(frozen=True)
class Plan:
    """How to adapt.

    Attributes:
        domain: what to learn.
        method, settings: how the task vector is merged.
        sweep: choose lambda and density by what is heard, instead of by `settings`.
        tolerance: how much the WER of what is not learnt may rise, a fraction.
        orthography: "keep" teaches the model's own case and punctuation, "learn" the labels'.
        replay: how many older utterances of other domains are learnt again.
        force: promote whatever the gate says.
        dry_run: promote and record nothing.
        seed: of the choice of utterances to replay.
        gains: whether the domain must be heard better for the gate to open.
    """

    domain: str
    method: str = "ties"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweep: bool = False
    tolerance: float = 0.01
    orthography: Orthography = "keep"
    replay: int = 0
    force: bool = False
    dry_run: bool = False
    seed: int = 0
    gains: bool = True


@dataclass(frozen=True)
class Candidate:
    """One lambda and density of a sweep, what is heard with it, and how that is a change, by domain."""

    lam: float
    density: float
    heard: Mapping[str, Heard]
    changes: Mapping[str, Change]


@dataclass(frozen=True)
class Outcome:
    """What came of a drafted version.

    Attributes:
        edit: that was new with it, as it is in the ledger.
        version: the draft.
        verdict: of the gate.
        promoted: whether it is in service now.
        candidates: of the sweep, if there was one.
        losses: training loss per token of each epoch.
        tuning_s: seconds of fine-tuning.
        norm: of the task vector.
    """

    edit: Edit | None
    version: Version
    verdict: Verdict
    promoted: bool
    candidates: Sequence[Candidate] = ()
    losses: Sequence[float] = ()
    tuning_s: float = 0.0
    norm: float = 0.0


class Screen(Protocol):
    """Whoever is told how it goes."""

    def say(self, message: str) -> None:
        """Something a person should know."""
        ...

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        """Long work that is `total` long; call what it gives with how much more is done."""
        ...


def adapt(store: Store, ledger: Ledger, plan: Plan, tune: Tune, threads: int | None, screen: Screen) -> Outcome:
    """Learns a domain: fine-tunes, takes the difference, merges, bakes, scores, decides, records.

    Until the last step, which is one, nothing has changed but files that are cleaned up later.

    Args:
        store: where the utterances are.
        ledger: of the model that is to learn.
        plan: how.
        tune: does the fine-tuning.
        threads: for the recogniser.
        screen: is told.

    Raises:
        BadInputError: too few labelled utterances, no speech, or labels that belong to other recordings.
        TrainingError: the fine-tuning cannot go on.
        StorageError: the disk is full or cannot be written.
    """
    exam, lesson = prepare(store, ledger, plan, threads, screen)
    return conclude(ledger, plan, exam, tune(lesson), threads, screen)


def prepare(store: Store, ledger: Ledger, plan: Plan, threads: int | None, screen: Screen) -> tuple[Exam, Lesson]:
    """What there is to learn, checked, and what it will be judged by. Changes no edit and no version.

    Raises:
        BadInputError: the plan's method does not exist, there are too few labelled utterances, no speech, or
            labels that belong to other recordings.
    """
    settings_of(plan)  # a mistake in it is told now, not after the fine-tuning
    training, held_out = _snapshot(store, ledger, plan.domain)
    start = ledger.bundle(ledger.current)
    transcriber = Transcriber(start, threads=threads, on_bake=lambda: screen.say(f"Preparing {start.name} ..."))
    exam = _exam(store, ledger, plan.domain, held_out, transcriber, screen)
    heard = _hear_training(transcriber, training, plan, screen)
    _check_labels([u.text or "" for u in training], heard, plan)
    texts = [u.text or "" for u in training]
    judged_by = exam.before[plan.domain]
    judges = list(judged_by.texts)
    if differs(texts[: len(heard)], heard):
        screen.say(ORTHOGRAPHY[plan.orthography])
        if plan.orthography == "keep":
            texts = [as_the_model_writes(*pair) for pair in zip(texts, heard, strict=True)]
            judges = [as_the_model_writes(*pair) for pair in zip(judges, judged_by.hypotheses, strict=True)]
    labelled = [Labelled(u.audio, text) for u, text in zip(training, texts, strict=True)]
    origin = Origin(
        family=start.family,
        base=ledger.base.weights_hash,
        domain=plan.domain,
        utterances=len(training),
        seconds=round(sum(u.duration_s for u in training), 1),
    )
    return exam, Lesson(
        bundle=start,
        training=[*labelled, *_replayed(store, ledger, plan)],
        held_out=[Labelled(u.audio, text) for u, text in zip(held_out, judges, strict=True)],
        origin=origin,
    )


def examine(store: Store, ledger: Ledger, domain: str, threads: int | None, screen: Screen) -> Exam:
    """The held-out utterances of a domain and of all that was learnt before, and the canary, heard as it is."""
    held_out = [u for u in store.utterances(domain) if u.text is not None and u.split == "test"]
    transcriber = Transcriber(ledger.bundle(ledger.current), threads=threads)
    return _exam(store, ledger, domain, held_out, transcriber, screen)


def _exam(
    store: Store,
    ledger: Ledger,
    domain: str,
    held_out: Sequence[StoredUtterance],
    transcriber: Transcriber,
    screen: Screen,
) -> Exam:
    others = {one: _spoken(store, one) for one in _earlier(store, ledger, domain, screen)}
    sets = {domain: _load(held_out), **others, CANARY: list(canary())}
    return Exam(sets, hear(transcriber, sets, screen, "hearing as it is"), ledger.current.id)


def conclude(ledger: Ledger, plan: Plan, exam: Exam, learnt: Learnt, threads: int | None, screen: Screen) -> Outcome:
    """Merges what was learnt, bakes, scores, decides, records. Call it while the ledger is changing.

    Raises:
        TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written.
    """
    settings = settings_of(plan)
    vector = learnt.vector
    candidates: list[Candidate] = []
    if plan.sweep:
        start = ledger.bundle(ledger.current)
        candidates = sweep(start, start.weights(), vector, plan, exam.before, exam.sets, threads, screen)
        best = choose(candidates, plan)
        settings |= {"lam": best.lam, "density": best.density} if "density" in settings else {"lam": best.lam}
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind="adapt",
        domains=[plan.domain],
        vectors=[ledger.keep(vector)],
        method=plan.method,
        settings=settings,
        utterances=vector.origin.utterances,
        seconds=vector.origin.seconds,
    )
    outcome = decide(ledger, ledger.drafted(edit), edit, exam.before, exam.sets, plan, threads, screen)
    return replace(outcome, candidates=candidates, losses=learnt.losses, tuning_s=learnt.seconds, norm=vector.norm)


def decide(
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    before: Mapping[str, Heard],
    sets: Mapping[str, Sequence[Spoken]],
    plan: Plan,
    threads: int | None,
    screen: Screen,
) -> Outcome:
    """Bakes a version, hears every set with the int8 file that would go into service, judges, records.

    Args:
        ledger: while it is changing.
        version: drafted.
        edit: that is new with it, if one is.
        before: what the version in service hears in the sets.
        sets: by domain.
        plan: its domain, if `sets` has it, must be heard better; its tolerance, force and dry run count.
        threads: for the recogniser.
        screen: is told.

    Raises:
        StorageError: the disk is full or cannot be written; the version in service stays.
    """
    bundle = ledger.bundle(version)
    with temporarily_baked(bundle, bundle.weights()) as folder:
        transcriber = Transcriber(bundle, threads=threads, folder=folder)
        after = hear(transcriber, sets, screen, "hearing as it would be")
    new_domain = plan.domain if plan.gains and plan.domain in sets else None
    verdict = judge(before, after, new_domain, plan.tolerance)
    promoted = (verdict.passes or plan.force) and not plan.dry_run
    if edit is not None:
        changes = verdict.changes.items()
        edit = replace(
            edit,
            before={domain: change.before for domain, change in changes},
            after={domain: change.after for domain, change in changes},
            reasons=() if promoted else verdict.reasons,
        )
    if promoted:
        baked(bundle)
        ledger.promote(replace(version, wer={domain: heard.wer for domain, heard in after.items()}), edit)
    elif edit is not None and not plan.dry_run:
        ledger.keep_out(edit)
    tidy(ledger)
    return Outcome(edit, version, verdict, promoted)


# What there is to learn, and to judge by


def _snapshot(store: Store, ledger: Ledger, domain: str) -> tuple[list[StoredUtterance], list[StoredUtterance]]:
    """The domain's labelled utterances: those to learn from, and those held out.

    Raises:
        BadInputError: there are too few.
    """
    labelled = [u for u in store.utterances(domain) if u.text is not None]
    if len(labelled) < FEWEST:
        raise BadInputError(
            f"{domain} has {len(labelled)} labelled utterances; {FEWEST} are the least to learn from, 40 are good. "
            f"'asr-edge record --domain {domain}' records more, 'asr-edge label' labels what was kept"
        )
    if not any(domain in edit.domains for edit in ledger.edits):  # else some may have been learnt from already
        store.hold_out(domain, FEWEST_HELD_OUT)
        labelled = [store.get(u.id) for u in labelled]
    training = [u for u in labelled if u.split == "train"]
    held_out = [u for u in labelled if u.split == "test"]
    if not training or not held_out:
        which = "held out, to judge by" if not held_out else "to learn from"
        raise BadInputError(f"{domain} has no utterance {which}; record or import more")
    return training, held_out


def _earlier(store: Store, ledger: Ledger, domain: str, screen: Screen) -> list[str]:
    """Domains that the version in service has learnt, and that there still are recordings of."""
    learnt = [one for one in ledger.learnt(ledger.current) if one != domain]
    known = {stats.domain for stats in store.stats()}
    for missing in set(learnt) - known:
        screen.say(f"There are no recordings of {missing} any more; that it is not forgotten cannot be checked.")
    return [one for one in learnt if one in known]


def _spoken(store: Store, domain: str) -> list[Spoken]:
    return _load([u for u in store.utterances(domain) if u.text is not None and u.split == "test"])


def _load(utterances: Sequence[StoredUtterance]) -> list[Spoken]:
    return [Spoken(read(u.audio), u.text or "") for u in utterances]


def hear(
    transcriber: Transcriber, sets: Mapping[str, Sequence[Spoken]], screen: Screen, label: str
) -> dict[str, Heard]:
    """What a version hears in each set of utterances."""
    found = {}
    with screen.progress(label, sum(map(len, sets.values()))) as advance:
        for domain, spoken in sets.items():
            hypotheses = []
            for one in spoken:
                hypotheses.append(transcriber.transcribe(one.audio, SAMPLE_RATE).text)
                advance(1)
            found[domain] = Heard([one.text for one in spoken], hypotheses)
    return found


def _hear_training(
    transcriber: Transcriber, training: Sequence[StoredUtterance], plan: Plan, screen: Screen
) -> list[str]:
    """What the version in service hears in the utterances to be learnt; all of them only if need be."""
    needed = len(training) if plan.orthography == "keep" else min(len(training), CHECKED)
    heard = []
    with screen.progress("hearing what is to be learnt", needed) as advance:
        for utterance in training[:needed]:
            heard.append(transcriber.transcribe(read(utterance.audio), SAMPLE_RATE).text)
            advance(1)
    if not any(heard):
        raise BadInputError(
            f"no speech is heard in the recordings of {plan.domain}; 'asr-edge dataset show {plan.domain}' lists them"
        )
    return heard


def _check_labels(texts: Sequence[str], heard: Sequence[str], plan: Plan) -> None:
    """
    Raises:
        BadInputError: the labels fit their recordings no better than each other's.
    """
    chance = label_chance(texts[:CHECKED], heard[:CHECKED], plan.seed)
    if chance > CHANCE and not plan.force:
        raise BadInputError(
            f"the texts of {plan.domain} do not seem to belong to its recordings: shuffled, they fit what is heard as "
            f"well ({chance:.0%} of shuffles). Nothing was learnt. 'asr-edge label --domain {plan.domain}' goes over "
            "them; --force learns them all the same"
        )


def label_chance(texts: Sequence[str], heard: Sequence[str], seed: int = 0) -> float:
    """How often texts that are dealt to the recordings at random fit at least as well as they do: a permutation test.

    Letters and digits alone count, as a recogniser that does not know the speaker splits words in
    other places.
    """
    import jiwer

    pairs = [(english(t).replace(" ", ""), english(h).replace(" ", "")) for t, h in zip(texts, heard, strict=False)]
    pairs = [(said, thought) for said, thought in pairs if said]
    if len({said for said, _ in pairs}) < 2:
        return 0.0  # all are the same; there is nothing to mix up
    distance = np.array([[_distance(jiwer, said, thought) for said, _ in pairs] for _, thought in pairs])
    random = np.random.default_rng(seed)
    own = float(np.trace(distance))
    rows = np.arange(len(pairs))
    dealt = [float(distance[rows, random.permutation(len(pairs))].sum()) for _ in range(500)]
    return float(np.mean(np.array(dealt) <= own))


def _distance(jiwer: Any, said: str, heard: str) -> float:
    return float(jiwer.cer(said, heard)) if heard else 1.0


def _replayed(store: Store, ledger: Ledger, plan: Plan) -> list[Labelled]:
    """Older utterances of other domains that were learnt, chosen at random."""
    if not plan.replay:
        return []
    learnt = {domain for edit in ledger.edits for domain in edit.domains} - {plan.domain}
    known = learnt & {stats.domain for stats in store.stats()}
    older = [
        u for domain in sorted(known) for u in store.utterances(domain) if u.text is not None and u.split == "train"
    ]
    picks = np.random.default_rng(plan.seed).permutation(len(older))[: plan.replay]
    return [Labelled(older[i].audio, older[i].text or "") for i in sorted(picks)]


# Candidates


def settings_of(plan: Plan) -> dict[str, Any]:
    """All settings of the plan's method.

    Raises:
        BadInputError: there is no such method, or it has no such setting.
    """
    if plan.method not in METHODS:
        raise BadInputError(f"there is no merge method {plan.method!r}; there are {', '.join(METHODS)}")
    try:
        METHODS[plan.method].check(plan.settings)
    except ValueError as error:
        raise BadInputError(f"{error}; nothing was changed") from error
    return {**METHODS[plan.method].settings, **plan.settings}


def sweep(
    start: Bundle,
    theta: Tensors,
    vector: TaskVector,
    plan: Plan,
    before: Mapping[str, Heard],
    sets: Mapping[str, Sequence[Spoken]],
    threads: int | None,
    screen: Screen,
) -> list[Candidate]:
    """Merges one vector with every lambda and density, and hears a part of each set with the int8 file of each."""
    method = METHODS[plan.method]
    densities: Sequence[float] = DENSITIES if "density" in method.settings else (1.0,)
    heard_by = {domain: _part(spoken, SWEEP_S) for domain, spoken in sets.items()}
    old = {
        domain: Heard(h.texts[: len(heard_by[domain])], h.hypotheses[: len(heard_by[domain])])
        for domain, h in before.items()
    }
    candidates = []
    quiet = _Quiet()
    with screen.progress("weighing", len(LAMBDAS) * len(densities)) as advance:
        for density in densities:
            settings = {**plan.settings, "lam": 1.0, **({"density": density} if "density" in method.settings else {})}
            whole = method([vector.tensors], **settings)
            for lam in LAMBDAS:
                scaled = {name: tensor * np.float32(lam) for name, tensor in whole.items()}
                weights = apply(theta, scaled, out=scaled)
                with temporarily_baked(start, weights) as folder:
                    new = hear(Transcriber(start, threads=threads, folder=folder), heard_by, quiet, "")
                changes = {domain: compare(old[domain], new[domain]) for domain in heard_by}
                candidates.append(Candidate(lam, density, new, changes))
                advance(1)
    return candidates


def _part(spoken: Sequence[Spoken], seconds: float) -> Sequence[Spoken]:
    """The first utterances, until there are so many seconds."""
    total = 0.0
    for count, one in enumerate(spoken, 1):
        total += len(one.audio) / SAMPLE_RATE
        if total >= seconds:
            return spoken[:count]
    return spoken


class _Quiet:
    """A screen that shows nothing."""

    def say(self, _message: str) -> None: ...

    @contextmanager
    def progress(self, _label: str, _total: float) -> Iterator[Callable[[float], None]]:
        yield lambda _done: None


def choose(candidates: Sequence[Candidate], plan: Plan) -> Candidate:
    """The gentlest candidate that harms nothing and brings half of what can be gained.

    Those that make something else worse by more than the tolerance are passed over, unless all
    do. Of the rest, the one with the least of the vector wins that brings half of the best one's
    gain on the new domain: the other half costs the most elsewhere, where no held-out utterance
    may show it.
    """

    def harm(candidate: Candidate) -> float:
        others = [change.difference for domain, change in candidate.changes.items() if domain != plan.domain]
        return max(others, default=0.0)

    def gain(candidate: Candidate) -> float:
        return -candidate.changes[plan.domain].difference

    harmless = [one for one in candidates if harm(one) <= plan.tolerance] or [min(candidates, key=harm)]
    enough = ENOUGH * max(map(gain, harmless))
    good = [one for one in harmless if gain(one) >= enough] or harmless  # where nothing is gained, none is enough
    return min(good, key=lambda one: (one.lam * math.sqrt(one.density), -gain(one)))


@contextmanager
def temporarily_baked(bundle: Bundle, weights: Tensors) -> Iterator[Path]:
    """A folder with int8 files of these weights, for as long as it is needed.

    Raises:
        StorageError: the data folder is full or cannot be written.
    """
    try:
        data_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_folder(), prefix=CANDIDATE) as name:
            bake(bundle, weights, "int8", Path(name))
            yield Path(name)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{data_folder()}: cannot be written ({error.strerror or error})") from error


def tidy(ledger: Ledger) -> None:
    """Removes what no version needs any more, and what a kill left. Call it while the ledger is changing.

    These are baked files of versions that are neither in service, nor the one before, nor the
    base; candidates' baked files; and task vectors that no edit names.
    """
    kept = {ledger.current.id, ledger.current.parent, 0}
    folders = {version.id: baked_folder(ledger.bundle(version)) for version in ledger.versions}
    keep = {folders[identity] for identity in kept if identity is not None}
    for folder in {*folders.values(), *data_folder().glob(f"{CANDIDATE}*")} - keep:
        shutil.rmtree(folder, ignore_errors=True)
    named = {ledger.vector_path(name) for edit in ledger.edits for name in edit.vectors}
    for path in set((ledger.folder / "vectors").glob("*")) - named:
        path.unlink(missing_ok=True)


# Other ways to a new version


def weigh(
    store: Store,
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    plan: Plan,
    threads: int | None,
    screen: Screen,
) -> Outcome:
    """Judges a version that was drafted without learning, and puts it into service if it passes.

    It is heard on every domain that it or the version in service has learnt, as far as there are
    recordings, and on the canary; `plan.domain`, if it has held-out utterances, must improve.

    Raises:
        As `decide`.
    """
    is_known = any(stats.domain == plan.domain for stats in store.stats())
    domains = [*([plan.domain] if is_known else []), *_earlier(store, ledger, plan.domain, screen)]
    sets: dict[str, Sequence[Spoken]] = {domain: spoken for domain in domains if (spoken := _spoken(store, domain))}
    sets[CANARY] = canary()
    start = ledger.bundle(ledger.current)
    before = hear(Transcriber(start, threads=threads), sets, screen, "hearing as it is")
    return decide(ledger, version, edit, before, sets, plan, threads, screen)


def merge_vectors(
    store: Store,
    ledger: Ledger,
    vectors: Mapping[str, TaskVector],
    kind: str,
    plan: Plan,
    threads: int | None,
    screen: Screen,
    replaced: Sequence[int] = (),
) -> Outcome:
    """Merges task vectors from anywhere into one edit, and judges it. Call it while the ledger is changing.

    Args:
        store: where there may be recordings to judge by.
        ledger: of the model.
        vectors: by what errors call them.
        kind: of the edit, as in `Edit`.
        plan: method, settings, tolerance; its domain must improve, where it has held-out utterances.
        threads: for the recogniser.
        screen: is told.
        replaced: edits that the new one takes the place of.

    Raises:
        WrongBaseError, TaskVectorError: a vector does not fit the model; nothing was changed.
        BadInputError: the method does not exist, or cannot merge these.
    """
    settings = settings_of(plan)
    ledger.check(vectors)
    try:
        METHODS[plan.method]([vector.tensors for vector in vectors.values()], **settings)
    except ValueError as error:
        raise BadInputError(f"{plan.method}: {error}; nothing was changed") from error
    origins = [vector.origin for vector in vectors.values()]
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind=kind,
        domains=list(dict.fromkeys(origin.domain for origin in origins)),
        vectors=[ledger.keep(vector) for vector in vectors.values()],
        method=plan.method,
        settings=settings,
        utterances=sum(origin.utterances for origin in origins),
        seconds=sum(origin.seconds for origin in origins),
    )
    return weigh(store, ledger, ledger.drafted(edit, replaced), edit, plan, threads, screen)


def measure_versions(
    store: Store, ledger: Ledger, threads: int | None, screen: Screen
) -> tuple[list[str], list[Version]]:
    """The versions that led to the one in service, each heard on every domain that any has learnt.

    What was measured before is not measured again. Call it while the ledger is changing.

    Returns:
        The domains, in the order in which they were learnt, the canary last; and the versions.
    """
    known = {stats.domain for stats in store.stats()}
    learnt = dict.fromkeys(domain for version in ledger.history() for domain in ledger.learnt(version))
    domains = [domain for domain in learnt if domain in known]
    for version in ledger.history():
        missing = [domain for domain in (*domains, CANARY) if domain not in version.wer]
        if missing:
            sets = {domain: canary() if domain == CANARY else _spoken(store, domain) for domain in missing}
            transcriber = Transcriber(ledger.bundle(version), threads=threads)
            heard = hear(transcriber, sets, screen, f"hearing with version {version.id}")
            ledger.note(version, {domain: one.wer for domain, one in heard.items()})
    tidy(ledger)
    return [*domains, CANARY], ledger.history()
