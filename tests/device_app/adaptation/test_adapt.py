"""Adapts the embedded model to spelled codes, with real recordings, the real fine-tuning and the real gate.

Tests that take minutes are marked slow; tests/device_app/cli/test_edits_in_process.py covers the same paths with a
tiny model.
"""

import json

import numpy as np
import pytest

from device_app.adaptation import gate, sweep, test_sets
from device_app.adaptation.adapt import adapt
from device_app.adaptation.changes import merge_vectors
from device_app.adaptation.decision import clean_up, draft_edit, judge_draft
from device_app.adaptation.report.history import measure_versions
from device_app.adaptation.settings import AdaptationSettings, GatePolicy, MergeSettings
from device_app.adaptation.training_set import FineTuningResult
from device_app.audio.samples import read
from device_app.data.names import GUARD_SET
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.execution import ExecutionContext
from device_app.models.baking import baked_folder
from device_app.models.ledger import edited
from device_app.recognition.onnx_session import default_threads
from device_app.reporter import SilentReporter
from editing.errors import BadInputError, WrongBaseError
from editing.interference import SHARE
from editing.sparsify import magnitude_mask
from editing.task_vector import Origin, TaskVector
from tests.device_app.conftest import CHANGED


@pytest.fixture(autouse=True)
def _small_guard_set(request, monkeypatch):
    """Uses only a part of the guard set, so that the tests finish in time: a very small one in the default run."""
    some = test_sets.guard_set()[4 :: 14 if request.node.get_closest_marker("slow") else 48]
    monkeypatch.setattr(test_sets, "guard_set", lambda _language="en": some)


@pytest.fixture(autouse=True)
def _without_divergence(monkeypatch):
    """`finetuned` is made without distillation, in less time, so it diverges on general speech."""
    monkeypatch.setattr(gate, "MAX_DIVERGENCE", float("inf"))
    monkeypatch.setattr(gate, "MAX_LOSS_RISE", float("inf"))


class MessageList(SilentReporter):
    def __init__(self):
        self.messages = []

    def report(self, message):
        self.messages.append(message)


@pytest.fixture
def context():
    return ExecutionContext(default_threads(), MessageList())


@pytest.fixture
def store(own_home):
    with Store() as opened:
        yield opened


@pytest.fixture
def add_codes(codes, store):
    """Adds the first codes to a domain, with their own transcripts or those of the caller."""
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()]

    def add(domain, count, text=lambda line, _number: line["text"], audio=lambda samples: samples, held_out=0):
        return store.add(
            [
                Utterance(
                    domain=domain,
                    text=text(line, number),
                    split="test" if number >= count - held_out else "",
                    recording=recording_of(audio(read(codes.parent / line["audio"]))),
                )
                for number, line in enumerate(lines[:count])
            ]
        )

    return add


@pytest.fixture(scope="session")
def finetuned(bundle, codes, home):
    """The weights after a short fine-tuning on the codes, computed once."""
    pytest.importorskip("torch")
    from trainer.training.finetuning import finetune_on_recordings
    from trainer.training.settings import FineTuningSettings

    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()]
    labelled = [Utterance(audio=codes.parent / line["audio"], text=line["text"]) for line in lines[:20]]
    return finetune_on_recordings(bundle, bundle.weights(), labelled, [], FineTuningSettings(epochs=4, batch_s=20.0))


def as_result(training_set, weights):
    vector = TaskVector.difference(weights, training_set.bundle.weights(), training_set.origin)
    return FineTuningResult(vector.as_stored(), [1.0], 1.0)


@pytest.fixture
def tune(request):
    """A fine-tuning that returns precomputed weights, so that not every test has to wait for it."""

    def precomputed(training_set):
        return as_result(training_set, request.getfixturevalue("finetuned").weights)

    return precomputed


def unchanged(training_set):
    """A fine-tuning that changes nothing."""
    return as_result(training_set, training_set.bundle.weights())


@pytest.fixture
def run(store, ledger, tune, context):
    def start(settings, finetune=tune):
        with ledger.changing():
            return adapt(store, ledger, settings, finetune, context)

    return start


@pytest.mark.slow
def test_an_adaptation_that_passes_becomes_active_and_records_its_scores(run, add_codes, ledger, bundle, context):
    add_codes("codes", 30, held_out=10)
    outcome = run(AdaptationSettings("codes"))
    assert outcome.promoted
    assert outcome.verdict.passes
    change = outcome.verdict.changes["codes"]
    assert change.after < 0.5 * change.before
    assert outcome.verdict.changes[GUARD_SET].low <= 0  # no significant regression
    assert (ledger.current.id, ledger.current.why) == (1, "adapt codes")
    edit = ledger.edit(1)
    assert (edit.domains, edit.method, edit.settings["lam"], edit.settings["density"]) == (["codes"], "ties", 0.6, 0.5)
    assert edit.after["codes"] == ledger.current.wer["codes"] == change.after
    assert edit.utterances == 30 - outcome.verdict.changes["codes"].utterances
    assert ledger.vector(edit.vectors[0]).origin.domain == "codes"
    assert baked_folder(edited(bundle)).is_dir()
    assert "--orthography keep" in context.reporter.messages[-1]


@pytest.mark.slow
def test_a_dry_run_changes_nothing(run, add_codes, ledger):
    add_codes("codes", 30, held_out=10)
    outcome = run(AdaptationSettings("codes", gate=GatePolicy(dry_run=True)))
    assert outcome.verdict.passes
    assert not outcome.promoted
    assert not ledger.path.exists()
    assert not baked_folder(ledger.bundle(outcome.version)).exists()


@pytest.mark.slow
def test_a_harmful_adaptation_is_rejected_with_the_reason_and_can_be_forced(
    run, add_codes, ledger, bundle, finetuned, monkeypatch
):
    monkeypatch.setattr(test_sets, "GUARD_SET_PART", 2)
    add_codes("codes", 30, held_out=10)

    def ruin(training_set):
        weights = training_set.bundle.weights()
        random = np.random.default_rng(0)
        noisy = {
            n: w + np.float32(0.3 * w.std()) * random.standard_normal(w.shape, np.float32) for n, w in weights.items()
        }
        return as_result(training_set, noisy)

    outcome = run(AdaptationSettings("codes"), ruin)
    assert not outcome.promoted
    assert any("general speech" in reason for reason in outcome.verdict.reasons)
    assert edited(bundle) is bundle
    assert ledger.edit(1).reasons == list(outcome.verdict.reasons)
    assert not baked_folder(ledger.bundle(outcome.version)).exists()
    assert outcome.verdict.changes[GUARD_SET].utterances == 2  # the first part showed the harm
    assert GUARD_SET not in ledger.edit(1).before.keys() | ledger.edit(1).after.keys()
    forced = run(AdaptationSettings("codes", gate=GatePolicy(force=True)), ruin)
    assert forced.promoted
    assert ledger.is_applied(2)
    # Of all: the next edit is compared with it.
    assert forced.verdict.changes[GUARD_SET].utterances == len(test_sets.guard_set())


@pytest.mark.slow
def test_a_sweep_evaluates_every_lambda_and_density(run, add_codes, monkeypatch):
    add_codes("codes", 30, held_out=10)
    monkeypatch.setattr(sweep, "LAMBDAS", (0.02, 0.8))
    monkeypatch.setattr(sweep, "DENSITIES", (1.0,))
    monkeypatch.setattr(sweep, "SWEEP_S", 15.0)
    outcome = run(AdaptationSettings("codes", sweep=True))
    assert [(one.lam, one.density) for one in outcome.candidates] == [(0.02, 1.0), (0.8, 1.0)]
    assert outcome.edit.settings["lam"] in (0.02, 0.8)
    weak, strong = (one.changes["codes"].after for one in outcome.candidates)
    assert strong < weak


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (AdaptationSettings("codes", MergeSettings("mean")), "no merge method 'mean'"),
        (AdaptationSettings("codes", MergeSettings(settings={"density": 2.0})), "density is 2.0"),
        (
            AdaptationSettings("codes", MergeSettings("task_arithmetic", {"density": 0.5})),
            "task_arithmetic has no density",
        ),
    ],
)
def test_wrong_merge_settings_are_refused_before_the_fine_tuning(run, add_codes, plan, reason):
    add_codes("codes", 12)

    def never(*_arguments):
        raise AssertionError("the fine-tuning was started")

    with pytest.raises(BadInputError, match=reason):
        run(plan, never)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_too_few_labelled_utterances_are_refused(run, add_codes, count):
    add_codes("codes", count)
    with pytest.raises(BadInputError, match=rf"codes has {count} labelled utterances?; adaptation needs at least 10"):
        run(AdaptationSettings("codes"))


def test_a_missing_domain_is_refused(run):
    with pytest.raises(BadInputError, match="there is no domain 'none'"):
        run(AdaptationSettings("none"))


def test_unlabelled_utterances_do_not_count(run, add_codes):
    add_codes("codes", 20, text=lambda line, number: line["text"] if number < 5 else None)
    with pytest.raises(BadInputError, match="5 labelled"):
        run(AdaptationSettings("codes"))


def test_ten_utterances_are_enough_and_three_are_held_out(run, add_codes, store):
    add_codes("codes", 10)
    outcome = run(AdaptationSettings("codes", gate=GatePolicy(dry_run=True)), unchanged)
    assert outcome.verdict.changes["codes"].utterances >= 3
    assert sum(u.split == "test" for u in store.utterances("codes")) >= 3


def test_recordings_without_speech_are_refused(run, add_codes):
    add_codes(
        "codes", 12, audio=lambda samples: np.random.default_rng(len(samples)).standard_normal(len(samples)) * 1e-5
    )
    with pytest.raises(BadInputError, match="no words are recognised"):
        run(AdaptationSettings("codes"))


def test_labels_of_other_recordings_are_refused(run, add_codes, codes):
    texts = [json.loads(line)["text"] for line in codes.read_text("utf-8").splitlines()]
    add_codes("codes", 15, text=lambda _line, number: texts[(number + 7) % 15])
    with pytest.raises(BadInputError, match="do not seem to belong to its recordings"):
        run(AdaptationSettings("codes"))


@pytest.mark.parametrize(("earlier", "opposes"), [("other", False), ("codes", True)])
def test_an_edit_does_not_oppose_what_those_of_other_domains_changed_most(
    run, add_codes, ledger, vector, earlier, opposes
):
    with ledger.changing():
        edit = draft_edit(ledger, "import", [earlier], [vector(earlier, 1)], "ties", {"lam": 0.6, "density": 0.5})
        ledger.promote(ledger.with_edit(edit), edit)
    add_codes("codes", 12)
    outcome = run(AdaptationSettings("codes"), lambda _set: FineTuningResult(vector("codes", 2), [1.0], 1.0))
    new, old = (ledger.vector(one.vectors[0]).tensors[CHANGED[0]] for one in (outcome.edit, edit))
    most, least = magnitude_mask(old, SHARE / 3), ~magnitude_mask(old, 2 * SHARE)
    assert np.any((new * old)[most] < 0) == opposes
    np.testing.assert_array_equal(new[least], vector("codes", 2).tensors[CHANGED[0]][least])


@pytest.mark.slow
def test_the_gate_also_tests_earlier_domains(run, add_codes, ledger, store):
    add_codes("codes", 30, held_out=10)
    run(AdaptationSettings("codes"))
    add_codes("again", 20, audio=lambda samples: samples * 0.5)
    outcome = run(AdaptationSettings("again", gate=GatePolicy(dry_run=True, force=True)))
    assert set(outcome.verdict.changes) == {"again", "codes", GUARD_SET}


# Without fine-tuning


@pytest.mark.slow
def test_an_edit_can_be_reweighted_and_every_version_is_measured(run, add_codes, ledger, store, context):
    add_codes("codes", 30, held_out=10)
    run(AdaptationSettings("codes"))
    with ledger.changing():
        version = ledger.with_settings(1, lam=0.3)
        outcome = judge_draft(store, ledger, version, None, "codes", GatePolicy(requires_gain=False), context)
        assert outcome.edit is None
        assert outcome.verdict.changes["codes"].before == ledger.versions[1].wer["codes"]
        domains, versions = measure_versions(store, ledger, context)
    assert domains == ["codes", GUARD_SET]
    assert all({"codes", GUARD_SET} <= set(version.wer) for version in versions)
    assert versions[0].wer["codes"] > versions[1].wer["codes"]


@pytest.mark.slow
def test_an_imported_vector_passes_the_gate_and_is_merged(store, ledger, add_codes, finetuned, bundle, context):
    add_codes("codes", 30, held_out=10)
    origin = Origin("moonshine", bundle.weights_hash, "codes", utterances=20)
    made = TaskVector.difference(finetuned.weights, bundle.weights(), origin)
    with ledger.changing():
        outcome = merge_vectors(
            store, ledger, {"codes.safetensors": made}, "import", MergeSettings(), "codes", GatePolicy(), context
        )
    assert outcome.promoted
    assert outcome.verdict.changes["codes"].difference < 0
    assert ledger.edit(1).kind == "import"
    other = TaskVector(made.tensors, Origin("moonshine", "0" * 64, "codes"))
    with pytest.raises(WrongBaseError, match=r"a\.safetensors: taken from base 00000000"), ledger.changing():
        merge_vectors(
            store, ledger, {"a.safetensors": other}, "import", MergeSettings(), "codes", GatePolicy(), context
        )
    with pytest.raises(BadInputError, match="between two vectors, not 1"), ledger.changing():
        merge_vectors(store, ledger, {"a": made}, "merge", MergeSettings("slerp"), "", GatePolicy(), context)
    with pytest.raises(BadInputError, match="no merge method 'mean'"), ledger.changing():
        merge_vectors(store, ledger, {"a": made}, "merge", MergeSettings("mean"), "", GatePolicy(), context)
    assert len(ledger.edits) == 1


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_baked_files_of_older_versions_are_removed_in_both_precisions(ledger, vector, own_home, precision):
    with ledger.changing():
        for seed in range(3):
            edit = draft_edit(
                ledger, "import", [f"d{seed}"], [vector(f"d{seed}", seed)], "ties", {"lam": 0.6, "density": 0.5}
            )
            ledger.promote(ledger.with_edit(edit), edit)
        folders = [baked_folder(ledger.bundle(version), precision) for version in ledger.versions]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        clean_up(ledger)
    assert [folder.is_dir() for folder in folders] == [True, False, True, True]  # base, oldest, previous, active


@pytest.mark.slow
def test_baked_files_are_kept_of_two_versions_and_the_base(ledger, vector, store, context, own_home):
    for seed in range(3):
        with ledger.changing():
            made = {"v": vector(f"d{seed}", seed, size=1e-5)}
            assert merge_vectors(
                store, ledger, made, "import", MergeSettings(), f"d{seed}", GatePolicy(), context
            ).promoted
    assert len(list((own_home / "baked").iterdir())) == 3
