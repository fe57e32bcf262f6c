"""Fleets: honest vectors are merged; poisoned and broken ones are left out, with the reason."""

import hashlib
import json
import shutil
from dataclasses import asdict, replace

import httpx2 as httpx
import numpy as np
import pytest
from safetensors.numpy import save

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.settings import MergeSettings
from device_app.execution import ExecutionContext
from device_app.remote.signatures import verify_document
from editing.errors import BadInputError
from editing.task_vector import RECORD, Origin, TaskVector
from trainer.host import contributions
from trainer.host.contributions import vector_file
from trainer.host.fleet import merge as fleet
from trainer.host.fleet import robust, scoring
from trainer.host.fleet.merge import merge_fleet

CHANGED = "model.decoder.embed_tokens.weight"
RARE = slice(20_000, 24_000)  # tokens of other scripts: honest vectors change only them, so hypotheses stay the same
LAST = "model.decoder.norm.weight"


@pytest.fixture(autouse=True)
def _small_guard_set(monkeypatch):
    some = guard_set()[4::48]
    monkeypatch.setattr(fleet, "guard_set", lambda language: some if language == "en" else ())


@pytest.fixture(autouse=True)
def _with_a_small_moonshine(host_home, tiny_moonshine):
    shutil.copytree(tiny_moonshine.folder, host_home / "models" / tiny_moonshine.name)


@pytest.fixture
def shapes(tiny_moonshine):
    return {name: tensor.shape for name, tensor in tiny_moonshine.weights().items()}


@pytest.fixture
def vector(tiny_moonshine, shapes):
    """Makes an honest vector: a direction shared by all, plus one of its own."""

    def noise(seed):
        return np.random.default_rng(seed).standard_normal((RARE.stop - RARE.start, shapes[CHANGED][1]), np.float32)

    def make(seed, scores=None, scale=1e-2, **changes):
        tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        tensors[CHANGED][RARE] = (0.5 * noise(99) + noise(seed)) * np.float32(scale)
        origin = Origin("moonshine", tiny_moonshine.weights_hash, "", utterances=40, scores=scores or {})
        return TaskVector(tensors, replace(origin, **changes))

    return make


@pytest.fixture
def give(database, host_home, tmp_path):
    """Contributes vectors, or bytes, to the group, each from its own device."""

    def contribute(**vectors):
        for name, one in vectors.items():
            database.add_device(name, "crew")
            device = next(known for known in database.devices() if known.name == name)
            data = one if isinstance(one, bytes) else one.to_bytes()
            path = contributions.incoming_file(host_home / "host", device.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            contributions.accept_contribution(
                database, host_home / "host", device, "crew", hashlib.sha256(data).hexdigest(), path
            )

    return contribute


def recognised(sets, is_poisoned=False):
    texts = {name: [one.transcript for one in some] for name, some in sets.items()}
    return {name: Hypotheses(some, [""] * len(some) if is_poisoned else some) for name, some in texts.items()}


@pytest.fixture
def _all_is_recognised(monkeypatch):
    """Every model transcribes every recording right."""
    monkeypatch.setattr(scoring, "transcribe_sets", lambda _transcriber, sets, *_: recognised(sets))
    monkeypatch.setattr(scoring, "transcribe_sets_with", lambda _weights, _base, sets, *_: recognised(sets))


@pytest.fixture
def merge(database, host_home, keys, tiny_moonshine):
    def run(method="task_arithmetic", min_devices=3, base=tiny_moonshine, **settings):
        folder = host_home / "host"
        return merge_fleet(
            database,
            folder,
            keys,
            "crew",
            base,
            MergeSettings(method, settings),
            tolerance=0.01,
            context=ExecutionContext(threads=2),
            min_devices=min_devices,
        )

    return run


def left_out(report):
    return {one.device: one.left_out for one in report.judged if one.left_out}


@pytest.mark.usefixtures("_all_is_recognised")
def test_honest_vectors_are_merged_signed_and_offered(give, merge, vector, database, keys, tiny_moonshine, host_home):
    give(a=vector(1), b=vector(2), c=vector(3, scores={"before": 0.4, "after": 0.2}))
    report = merge()
    assert left_out(report) == {}
    assert report.reasons == []
    digest, statement, signature = database.offered("crew", tiny_moonshine.weights_hash)
    record = verify_document(statement, signature, keys.public_key)
    assert (record["vector"], record["group"], record["devices"]) == (digest, "crew", 3)
    path = vector_file(host_home / "host", digest)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    merged = TaskVector.load(path)
    expected = sum(vector(seed).tensors[CHANGED] for seed in (1, 2, 3))
    np.testing.assert_allclose(merged.tensors[CHANGED], expected, atol=np.abs(expected).max() / 50)
    assert merged.origin.utterances == 120


@pytest.mark.usefixtures("_all_is_recognised")
def test_sizes_that_devices_claim_do_not_make_the_merged_vector_unreadable(
    give, merge, vector, database, tiny_moonshine, host_home
):
    """Their sum was more than a file may state, and no device could read what the host offered."""
    most = 1 << 53
    give(a=vector(1, utterances=most), b=vector(2, seconds=most), c=vector(3, seconds=float(most)))
    assert merge().reasons == []
    digest, *_ = database.offered("crew", tiny_moonshine.weights_hash)
    origin = TaskVector.load(vector_file(host_home / "host", digest)).origin
    assert (origin.utterances, origin.seconds) == (most, most)


@pytest.mark.usefixtures("_all_is_recognised")
def test_poisoned_and_broken_vectors_are_left_out_with_the_reason(give, merge, vector):
    turned = vector(1)
    turned = replace(turned, tensors={n: -3 * t for n, t in vector(2).tensors.items()})
    nan = vector(7)
    nan.tensors[CHANGED][RARE.start, 0] = np.nan
    whole = {**nan.tensors, CHANGED: vector(7).tensors[CHANGED]}
    whole["model.decoder.norm.weight"] = np.full_like(whole["model.decoder.norm.weight"], np.nan)
    give(
        a=vector(1),
        b=vector(2),
        c=vector(3),
        d=vector(4),
        e=vector(5),
        huge=vector(6, scale=1.0),
        turned=turned,
        nan=replace(nan, tensors=whole),
        worse=vector(8, scores={"before": 0.2, "after": 0.3}),
        nothing=vector(9, scale=0.0),
    )
    reasons = left_out(merge())
    assert reasons.keys() == {"huge", "turned", "nan", "worse", "nothing"}
    assert "times the median" in reasons["huge"]
    assert "points away" in reasons["turned"]
    assert "not finite" in reasons["nan"]
    assert "no lower WER" in reasons["worse"]
    assert "changes nothing" in reasons["nothing"]


@pytest.mark.usefixtures("_all_is_recognised")
def test_a_vector_of_which_only_transcripts_show_the_harm_is_left_out(give, merge, vector, monkeypatch):
    """With the poison nothing is recognised, without it everything; neither its norm nor its direction reveals it."""
    harmful = vector(9).tensors[CHANGED][RARE]

    def has_poison(weights, base):
        change = (weights[CHANGED] - base.weights()[CHANGED])[RARE]
        share = np.vdot(change, harmful) / np.vdot(harmful, harmful)
        return share > 0.75  # 0.6 * (1 + 0.2 for each honest vector), or 0.6 * 0.8 without the poison

    monkeypatch.setattr(
        scoring, "transcribe_sets_with", lambda weights, base, sets, *_: recognised(sets, has_poison(weights, base))
    )
    give(**{name: vector(seed) for seed, name in enumerate("abcd")}, poison=vector(9))
    report = merge()
    assert left_out(report).keys() == {"poison"}
    assert "points lower" in left_out(report)["poison"]
    assert report.vector


def test_without_a_guard_set_for_the_language_nothing_is_merged(merge, tiny_moonshine):
    with pytest.raises(BadInputError, match=r"no guard set for the language 'sw'.*host fleet score add"):
        merge(base=replace(tiny_moonshine, language="sw"))


@pytest.mark.usefixtures("_all_is_recognised")
def test_without_a_guard_set_for_the_language_the_speech_of_the_group_decides(
    give, merge, vector, tiny_moonshine, monkeypatch
):
    give(a=vector(1), b=vector(2), c=vector(3))
    swahili = replace(tiny_moonshine, language="sw")
    monkeypatch.setattr(fleet, "speech", lambda _folder, _group: guard_set()[4::48])
    report = merge(base=swahili)
    assert report.vector
    assert report.general_speech_before is None
    assert report.group_speech_before is not None


def test_clipping_scales_long_vectors_to_a_multiple_of_the_median(vector):
    vectors = {"a": vector(1), "b": vector(2), "c": vector(3).scaled(4.0)}
    median = sorted(one.norm for one in vectors.values())[1]
    found = robust.clipped(vectors)
    assert found["c"].norm == pytest.approx(robust.CLIP_FACTOR * median, rel=1e-5)
    assert found["c"].cosine(vectors["c"]) == pytest.approx(1.0, abs=1e-5)
    assert found["a"] is vectors["a"]


def test_two_vectors_are_too_few(give, merge, vector):
    give(a=vector(1), b=vector(2))
    with pytest.raises(BadInputError, match="needs at least 3"):
        merge()
    give(c=vector(3), d=vector(4))
    with pytest.raises(BadInputError, match="has 4 vectors to merge, but needs at least 5"):
        merge(min_devices=fleet.MIN_DEVICES)


def test_a_device_can_contribute_only_to_its_own_group(serve, client_of, vector, database, tiny_moonshine):
    url = serve()
    phone, outsider = client_of(url, fleet="crew"), client_of(url, "outsider", fleet="others")
    data = vector(1).to_bytes()
    path = f"/v1/groups/crew/contributions/{hashlib.sha256(data).hexdigest()}"
    assert outsider.put(path, content=data).status_code == 404
    assert phone.put(path, content=data[:-1]).status_code == 422
    assert phone.put(path, content=data).status_code == 201
    assert phone.put(path, content=data).status_code == 201  # replayed
    assert len(database.contributions("crew", tiny_moonshine.weights_hash)) == 1
    bad = json.dumps({"not": "a vector"}).encode()
    assert phone.put(f"/v1/groups/crew/contributions/{hashlib.sha256(bad).hexdigest()}", content=bad).status_code == 422
    assert phone.get(f"/v1/groups/crew/vector/{tiny_moonshine.weights_hash}").status_code == 404
    assert httpx.put(url + path, content=data).status_code == 401


def test_a_vector_that_fits_no_base_is_refused_at_upload(
    serve, client_of, vector, database, tiny_moonshine, host_home, tiny_bundle
):
    phone = client_of(serve(), fleet="crew")
    good = vector(1)
    one, *rest = good.tensors
    refused = {
        "is not installed on this host": replace(
            good, origin=replace(good.origin, base=tiny_moonshine.weights_hash[::-1])
        ),
        f"{one} is missing": replace(good, tensors={name: good.tensors[name] for name in rest}),
        "extra is unknown": replace(good, tensors={**good.tensors, "extra": np.ones(1, np.float32)}),
        f"{one} has shape": replace(good, tensors={**good.tensors, one: np.zeros((1 << 20, 1), np.float32)}),
        "does not fit the model": replace(good, origin=replace(good.origin, base=tiny_bundle.weights_hash)),
    }
    for reason, one in refused.items():
        data = one.to_bytes()
        answer = phone.put(f"/v1/groups/crew/contributions/{hashlib.sha256(data).hexdigest()}", content=data)
        assert answer.status_code == 422
        assert reason in answer.json()["detail"]
        assert str(host_home) not in answer.text
    assert database.contributions("crew", tiny_moonshine.weights_hash) == []
    assert not list((host_home / "host" / "fleet").rglob("*.safetensors"))
    assert not list((host_home / "host" / "fleet" / "incoming").iterdir())


def test_a_file_that_declares_gigabytes_of_zeros_is_refused_before_it_is_loaded(
    give, database, merge, tiny_moonshine, host_home, vector
):
    """If an earlier host accepted such a file, the merge refuses it."""
    shapes = {name: [1 << 30, 4] if name == CHANGED else list(shape) for name, shape in tiny_moonshine.shapes().items()}
    record = {"format_version": 1, **asdict(vector(1).origin), "shapes": shapes}
    data = save({}, metadata={RECORD: json.dumps(record)})
    with pytest.raises(BadInputError, match=rf"the task vector: does not fit the model: {CHANGED} has shape"):
        give(zeros=data)
    name = hashlib.sha256(data).hexdigest()
    vector_file(host_home / "host", name).write_bytes(data)
    device = next(known for known in database.devices() if known.name == "zeros")
    database.contribute(device.id, "crew", tiny_moonshine.weights_hash, name, {"scores": {}})
    with pytest.raises(BadInputError, match=rf"zeros: does not fit the model: {CHANGED} has shape \(1073741824, 4\)"):
        merge()


def test_only_the_latest_contributions_of_devices_with_valid_tokens_count(give, database, vector, tiny_moonshine):
    give(a=vector(1), b=vector(2))
    device = database.devices()[0]
    (before,) = [one.vector for one in database.contributions("crew", tiny_moonshine.weights_hash) if one.device == "a"]
    assert database.contribute(device.id, "crew", tiny_moonshine.weights_hash, "f" * 64, {}) == [before]
    assert database.contribute(device.id, "crew", tiny_moonshine.weights_hash, "f" * 64, {}) == []
    found = {one.device: one.vector for one in database.contributions("crew", tiny_moonshine.weights_hash)}
    assert found["a"] == "f" * 64
    database.revoke("b")
    assert [one.device for one in database.contributions("crew", tiny_moonshine.weights_hash)] == ["a"]
