"""`asr-edge host`: keys, tokens, a server that is interrupted, trust, and merging a fleet's vectors."""

import hashlib
import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace

import httpx2 as httpx
import numpy as np
import pytest

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set import guard_set
from device_app.data.names import GUARD_SET
from device_app.remote.tls import AUTHORITY, CERTIFICATE, CERTIFICATE_KEY
from device_app.remote.trusted_hosts import hosts
from editing.task_vector import Origin, TaskVector
from tests.trainer.cli.conftest import outline
from trainer import executors
from trainer.host import contributions, server
from trainer.host.fleet import merge as fleet
from trainer.host.fleet import scoring
from trainer.host.fleet.score_set import speech
from trainer.host.keys import make_keys


def test_init_creates_keys_once_and_renews_the_certificate(asr, tmp_path):
    first, again = asr("host", "init", "box.local"), asr("host", "init", "box.local")
    assert first.code == again.code == 0
    assert first.out.startswith("SHA256:")
    assert first.out == again.out
    assert first.err == (
        "This is the host's fingerprint. 'asr-edge host trust URL' on a device must show the same one.\n"
    )
    for name in ("signing.pem", "authority-key.pem", "certificate-key.pem", "host.sqlite"):
        path = tmp_path / "home" / "host" / name
        assert not path.exists() or path.stat().st_mode & 0o077 == 0
    assert "neither a DNS name" in asr("host", "init", "no name\n").err
    assert asr("host", "init").out == first.out  # uses this machine's name


def test_without_the_extra_the_error_names_it(asr, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else find_spec(name))
    for command in (["init"], ["serve"], ["token", "list"], ["fleet", "merge", "--group", "crew"]):
        done = asr("host", *command)
        line = "this command needs fastapi, which is not installed: pip install '.[host]' in your clone of asr-edge"
        assert (done.code, done.out, done.err) == (1, "", f"asr-edge: {line}\n")


def test_tokens_are_shown_once_and_only_their_hashes_stored(asr, tmp_path):
    token = asr("host", "token", "add", "phone", "--group", "crew").out.strip()
    assert len(token) > 40
    assert asr("host", "token", "add", "tablet").code == 0
    stored = (tmp_path / "home" / "host" / "host.sqlite").read_bytes()
    assert token.encode() not in stored
    assert "already" in asr("host", "token", "add", "phone").err
    devices = json.loads(asr("host", "token", "list", "--json").out)
    phone = {"id": 1, "name": "phone", "fleet": "crew", "created": "float", "revoked": None}
    assert outline(devices) == [phone, {**phone, "id": 2, "name": "tablet", "fleet": ""}]
    done = asr("host", "token", "revoke", "phone")
    assert (done.code, done.out, done.err) == (0, "", "The token of phone is revoked.\n")
    day = time.strftime("%Y-%m-%d", time.localtime(devices[0]["created"]))
    head, *rows = (line.split() for line in asr("host", "token", "list").out.splitlines())
    assert head == ["device", "group", "since"]
    assert rows == [["phone", "crew", day, "revoked", day], ["tablet", "-", day]]
    assert "no device" in asr("host", "token", "revoke", "phone").err
    for wrong in (["../phone"], ["laptop", "--group", "a b"], ["x" * 65]):
        done = asr("host", "token", "add", *wrong)
        assert done.code == 1
        assert done.err.endswith(": must be 1 to 64 letters, digits, dots, dashes or underscores\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host", "serve", "--host", "0.0.0.0", "--no-tls"), "only by https"),
        (("host", "serve", "--host", "0.0.0.0"), "host init"),
        (("host", "serve", "--cert", "missing.pem"), "must be given together"),
        (("host", "serve", "--cert", "missing.pem", "--key", "missing.pem"), "cannot be used"),
        (("host", "trust", "http://192.168.1.1:8443"), "only over https"),
        (("host", "trust", "https://127.0.0.1:1"), "cannot be reached"),
        (("host", "forget", "https://box"), "not trusted"),
        (("host", "fleet", "merge", "--group", "crew"), "host init"),
        (("adapt", "--domain", "anna", "--on", "https://box"), "host trust https://box"),
        (("jobs", "attach", "zzz"), "no job zzz"),
        (("jobs", "cancel", "zzz"), "no job zzz"),
        (("contribute", "1", "--group", "crew", "--on", "https://box"), "no edit 1"),
        (("fleet", "pull", "--group", "crew", "--on", "https://box"), "not trusted"),
    ],
)
def test_errors_are_one_line_with_the_remedy(asr, arguments, message):
    done = asr(*arguments)
    assert done.code == 1
    (line,) = done.err.splitlines()[-1:]
    assert line.startswith("asr-edge: ")
    assert message in line
    assert done.out == ""


def test_there_are_no_jobs_at_first(asr):
    assert json.loads(asr("jobs", "--json").out) == []
    assert "--on URL" in asr("jobs").out


# A server that runs until it is interrupted


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture
def served(asr):
    """Runs `host serve` until it has answered a client, then interrupts it like Ctrl-C; returns both results."""

    def run(call, *options):
        port = free_port()
        seen = []

        def visit():
            try:
                for _ in range(600):
                    try:
                        seen.append(call(port))
                        return
                    except httpx.TransportError:
                        time.sleep(0.05)
            except Exception as error:
                seen.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        visitor = threading.Thread(target=visit)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            visitor.start()
            done = asr("host", "serve", "--port", port, *options)
        finally:
            visitor.join()
            signal.signal(signal.SIGINT, before)
        (answer,) = seen
        if isinstance(answer, Exception):
            raise answer
        return done, answer, port

    return run


def by_tls(authority):
    """Requests jobs and identity over TLS, trusting only one authority."""

    def call(port):
        context = ssl.create_default_context(cadata=authority.read_text("ascii"))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as client:
            return client.get("/v1/jobs").json(), client.get("/v1/identity").json()

    return call


def test_serve_on_loopback_creates_keys_and_needs_no_token(served, tmp_path):
    authority = tmp_path / "home" / "host" / AUTHORITY

    def call(port):
        if not authority.is_file():
            raise httpx.ConnectError("the host has no keys yet")
        return by_tls(authority)(port)

    done, (jobs, identity), port = served(call)
    assert done.code == 130
    assert done.err.startswith(f"https://127.0.0.1:{port}  SHA256:")
    assert jobs == {"jobs": []}
    assert identity["authority"] == authority.read_text("ascii")


def test_serve_with_another_certificate_announces_no_authority(served, tmp_path):
    other = tmp_path / "other"
    make_keys(other, ["127.0.0.1"])
    options = ("--cert", other / CERTIFICATE, "--key", other / CERTIFICATE_KEY, "--keep")
    done, (_, identity), _ = served(by_tls(other / AUTHORITY), *options)
    assert done.code == 130
    assert identity["authority"] is None
    assert done.err.splitlines()[1] == "Recordings are kept after a job has ended (--keep)."


def test_serve_without_tls_on_loopback(served):
    done, identity, port = served(
        lambda port: httpx.get(f"http://127.0.0.1:{port}/v1/identity", trust_env=False).json(), "--no-tls"
    )
    assert done.code == 130
    assert done.err.startswith(f"http://127.0.0.1:{port}  SHA256:")
    assert identity["authority"] is None


def test_an_address_in_use_is_an_error(asr):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = asr("host", "serve", "--no-tls", "--port", taken.getsockname()[1])
    assert done.code != 0


def test_limits_and_executor_reach_the_server(asr, monkeypatch):
    class Cluster(executors.LocalExecutor):
        def __init__(self, address):
            self.address = address

    seen = []
    monkeypatch.setattr(executors, "RayExecutor", Cluster)
    monkeypatch.setattr(server, "serve", lambda *given, **options: seen.append((*given, options["keep"])))
    limits = ("--max-gb", 0.5, "--max-hours", 2, "--max-jobs", 7)
    assert asr("host", "serve", "--engine", "ray", "--address", "10.0.0.1:6379", *limits).code == 0
    ((address, _, where, limit, keep),) = seen
    assert (address.host, address.port, address.tls, keep) == ("127.0.0.1", 8443, True, False)
    assert (type(where), where.address) == (Cluster, "10.0.0.1:6379")
    assert (limit.archive_bytes, limit.training_s, limit.jobs) == (500_000_000, 7200.0, 7)
    assert asr("host", "serve", "--engine", "local").code == 0
    assert type(seen[1][2]) is executors.LocalExecutor
    assert asr("host", "serve", "--engine", "cloud").code == asr("host", "serve", "--port", 0).code == 2


# Trust


@pytest.fixture
def host(serve, host_home):
    """A host that listens on a real socket with its own certificate: its URL."""
    folder = host_home / "host"
    return serve(ssl_certfile=str(folder / CERTIFICATE), ssl_keyfile=str(folder / CERTIFICATE_KEY))


def test_a_host_is_trusted_when_the_user_confirms_its_fingerprint(asr, host, database, keys):
    token = database.add_device("phone")
    done = asr("host", "trust", host, "--token", token, answer="y\n")
    assert done.code == 0
    assert done.err.splitlines()[0] == (
        f"{host} has the fingerprint {keys.fingerprint}. "
        "Compare it with the one that 'asr-edge host init' printed there."
    )
    assert done.err.endswith(f"{host} is trusted. 'asr-edge adapt --domain NAME --on {host}' fine-tunes there.\n")
    known = hosts()[host]
    assert (known.key, known.authority, known.token, known.consent) == (keys.public_key, keys.authority, token, False)
    again = asr("host", "trust", host)  # with the same keys, nothing is asked and the token is kept
    assert (again.code, hosts()[host]) == (0, known)
    done = asr("host", "forget", host)
    assert (done.code, done.err, hosts()) == (0, f"{host} is no longer trusted.\n", {})


def test_a_host_is_not_trusted_when_the_user_declines_or_the_token_is_wrong(asr, host, keys):
    assert asr("host", "trust", host, answer="n\n").code == 1
    done = asr("host", "trust", host, "--fingerprint", "SHA256:other")
    line = f"asr-edge: {host}: has the fingerprint {keys.fingerprint}, not the one you gave; nothing was changed\n"
    assert (done.code, done.out, done.err) == (1, "", line)
    assert asr("host", "trust", host, "--fingerprint", keys.fingerprint, "--token", "wrong").code == 1
    assert hosts() == {}


def test_changed_keys_of_a_host_are_a_warning(asr, host, database, keys, tmp_path):
    token = database.add_device("phone")
    assert asr("host", "trust", host, "--token", token, "--fingerprint", keys.fingerprint).code == 0
    path = tmp_path / "home" / "hosts.json"
    record = json.loads(path.read_text())
    record[host]["key"] = make_keys(tmp_path / "other", ["127.0.0.1"]).public_key
    path.write_text(json.dumps(record))
    done = asr("host", "trust", host, answer="n\n")
    assert done.code == 1
    assert done.err.startswith(
        f"! The keys of {host} have changed. If its owner did not change them, this may be another machine.\n"
    )
    assert hosts()[host].key == record[host]["key"]
    assert asr("host", "trust", host, "--token", token, answer="y\n").code == 0
    assert hosts()[host].key == keys.public_key


# A fleet


@pytest.fixture
def crew(database, host_home, tiny_bundle, tmp_path, monkeypatch):
    """Four devices of a group that contributed vectors of the tiny model; one vector is all zeros."""
    some = guard_set()[:1]
    monkeypatch.setattr(fleet, "guard_set", lambda _language="en": some)
    origin = Origin(tiny_bundle.family, tiny_bundle.weights_hash, "", utterances=10)
    for seed, (name, scale) in enumerate({"a": 1e-4, "b": 1e-4, "c": 1e-4, "idle": 0.0}.items()):
        random = np.random.default_rng(seed)
        tensors = {
            tensor: np.float32(scale) * random.standard_normal(weight.shape, np.float32)
            for tensor, weight in tiny_bundle.weights().items()
        }
        database.add_device(name, "crew")
        device = next(one for one in database.devices() if one.name == name)
        data = TaskVector(tensors, replace(origin)).to_bytes()
        path = contributions.incoming_file(host_home / "host", device.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        contributions.accept_contribution(database, host_home / "host", device, "crew", digest, path)


@pytest.fixture
def merge(asr, keys, crew, tiny_bundle):
    return lambda *options: asr(
        "host",
        "fleet",
        "merge",
        "--group",
        "crew",
        "--model",
        tiny_bundle.folder,
        "--min-devices",
        3,
        "--tolerance",
        100,
        *options,
    )


def test_fleet_merge_offers_the_merged_vector(merge, database, tiny_bundle):
    done = merge()
    assert done.code == 0
    head, *rows, summary = done.out.splitlines()
    assert head.split() == ["device", "norm", "cosine", "WER", "alone", "WER", "without", "it"]
    assert [row.split()[0] for row in rows] == ["a", "b", "c", "idle"]
    assert [row.endswith("merged") for row in rows] == [True, True, True, False]
    assert rows[3].endswith("it changes nothing")
    assert summary.startswith("General speech: WER ")
    warning, offered = done.err.splitlines()
    assert "asr-edge host fleet score add MANIFEST --group crew" in warning
    assert (
        offered
        == "The merged vector is offered to crew: run 'asr-edge fleet pull --group crew --on URL' on each device."
    )
    assert database.offered("crew", tiny_bundle.weights_hash) is not None


def test_fleet_merge_as_json(merge, tiny_bundle):
    report = json.loads(merge("--method", "task_arithmetic", "--json").out)
    judged = {
        "vector": "HASH",
        "norm": "float",
        "cosine": "float",
        "without": None,
        "group_speech": None,
        "copy_of": "",
    }
    names = {"a": "", "b": "", "c": "", "idle": "it changes nothing"}
    assert len(report["vector"]) == 64
    for one in [report, *report["judged"]]:
        one["vector"] = "HASH"
    assert outline(report) == {
        "group": "crew",
        "base": tiny_bundle.weights_hash,
        "method": "task_arithmetic",
        "settings": {"lam": "float"},
        "judged": [{"device": name, **judged, "left_out": reason} for name, reason in names.items()],
        "general_speech_before": "float",
        "general_speech_after": "float",
        "group_speech_before": None,
        "group_speech_after": None,
        "vector": "HASH",
        "reasons": [],
    }


def test_fleet_merge_that_harms_general_speech_exits_with_3_and_is_not_offered(
    merge, database, tiny_bundle, monkeypatch
):
    """The base recognises everything, the merged model nothing."""
    texts = ["one two three four"] * 10

    monkeypatch.setattr(scoring, "transcribe_sets", lambda *_: {GUARD_SET: Hypotheses(texts, texts)})
    monkeypatch.setattr(scoring, "transcribe_sets_with", lambda *_: {GUARD_SET: Hypotheses(texts, [""] * 10)})
    done = merge("--density", 0.5, "--tolerance", 2)
    assert done.code == 3
    assert done.out.splitlines()[-1] == "General speech: WER 0.0% before, 100.0% after the merge."
    assert done.err == "! the WER on general speech rises; nothing is offered\n"
    assert database.offered("crew", tiny_bundle.weights_hash) is None
    assert merge("--tolerance", 100).code == 0
    again = merge("--density", 0.5, "--tolerance", 2)
    assert again.err.endswith("\nThe vector of an earlier merge is still offered to crew.\n")


def test_fleet_merge_of_too_few_vectors_names_the_group(asr, keys, tiny_bundle):
    done = asr("host", "fleet", "merge", "--group", "nobody", "--model", tiny_bundle.folder)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("asr-edge: nobody: has 0 vectors to merge, but needs at least 5; devices")
    assert "'asr-edge contribute N --group nobody --on URL'" in done.err


def test_held_out_speech_of_a_group_is_kept_listed_and_removed(asr, keys, manifest, tmp_path):
    path = manifest("crew", ("one two", "test"), ("three", "train"))
    done = asr("host", "fleet", "score", "add", path, "--group", "crew")
    assert (done.code, done.err) == (0, "crew has 1 held-out utterance with 2 words.\n")
    asr("host", "fleet", "score", "add", path, "--group", "crew")  # again: nothing is doubled
    found = json.loads(asr("host", "fleet", "score", "list", "--json").out)
    assert found == [{"group": "crew", "utterances": 1, "words": 2}]
    assert "crew" in asr("host", "fleet", "score", "list").out
    folder = tmp_path / "home" / "host" / "fleet" / "score"
    assert all(one.stat().st_mode & 0o077 == 0 for one in folder.rglob("*"))
    assert asr("host", "fleet", "score", "remove", "--group", "crew", answer="n\n").code == 1
    assert asr("host", "fleet", "score", "remove", "--group", "crew", answer="y\n").code == 0
    assert not list(folder.rglob("*.flac"))
    assert "no held-out speech" in asr("host", "fleet", "score", "remove", "--group", "..", "--yes").err
    assert "letters, digits" in asr("host", "fleet", "score", "add", path, "--group", "a/b").err


@pytest.mark.parametrize("text", ["", "...", "-"])
def test_speech_without_words_is_refused_because_no_error_would_show(asr, keys, manifest, text):
    """With it, nothing was said about vectors that were never checked."""
    path = manifest("crew", ("one two", "test"), (text, "test"))
    done = asr("host", "fleet", "score", "add", path, "--group", "crew")
    assert done.code == 1
    assert "line 2: its text has no word" in done.err
    assert json.loads(asr("host", "fleet", "score", "list", "--json").out) == []


def test_speech_without_words_that_was_added_before_does_not_count(asr, keys, manifest, host_home):
    path = manifest("crew", ("one two", "test"))
    asr("host", "fleet", "score", "add", path, "--group", "crew")
    (stored,) = (host_home / "host" / "fleet" / "score").rglob("manifest.jsonl")
    stored.write_text(stored.read_text().replace("one two", "..."))
    assert speech(host_home / "host", "crew") == []


@pytest.mark.parametrize("damage", [b"no database" * 1000, None])
def test_a_damaged_database_of_the_host_is_one_line_with_the_remedy(asr, database, host_home, damage):
    path = host_home / "host" / "host.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    done = asr("host", "token", "list")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "'asr-edge host token add'" in done.err


@pytest.mark.parametrize("left", ["jobs/0123abcd/vector.safetensors", "fleet/0123abcd.safetensors"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_lost_database_of_the_host_is_not_replaced_by_a_new_one(asr, database, host_home, left, is_empty):
    """Regression: a new database knew no job, so the host removed the files of all."""
    folder = host_home / "host"
    for path in folder.glob("host.sqlite*"):
        path.unlink()
    if is_empty:
        (folder / "host.sqlite").touch()
    vector = folder / left
    vector.parent.mkdir(parents=True)
    vector.write_bytes(b"a vector")
    done = asr("host", "token", "list")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert ("empty" if is_empty else "missing") in done.err
    assert "'jobs' and 'fleet'" in done.err
    assert vector.exists()
    for moved in ("host.sqlite", "jobs", "fleet"):
        if (folder / moved).exists():
            (folder / moved).rename(folder / f"{moved}-old")
    assert asr("host", "token", "list").code == 0


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_damaged_journal_of_the_host_is_not_removed_with_the_latest_changes(asr, host_home, is_emptied):
    """Regression: SQLite dropped it silently, and the host then removed the files of jobs that only it had."""
    path = host_home / "host" / "host.sqlite"
    script = (
        "import os; from trainer.host.server import open_database as o; d = o(); d.add_device('phone'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    journal = path.with_name("host.sqlite-wal")
    data = journal.read_bytes()
    if is_emptied:
        path.write_bytes(b"")
    else:
        journal.write_bytes(b"\xff" * 32 + data[32:])
    left = journal.read_bytes()
    done = asr("host", "token", "list")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "move all files away whose names begin with 'host.sqlite'" in done.err
    assert journal.read_bytes() == left
    for file in path.parent.glob("host.sqlite*"):
        file.rename(file.with_name(f"old-{file.name}"))
    assert asr("host", "token", "list").code == 0
