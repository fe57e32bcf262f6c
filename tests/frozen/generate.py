"""Writes `data/`: the files that commit 767e81d leaves on a disk, by running that commit's own commands.

    git worktree add /tmp/base 767e81d
    PYTHONPATH=/tmp/base python tests/frozen/generate.py tests/frozen/data

It takes five minutes of one processor. It imports nothing of the working tree, so it goes on working when
everything there has moved. Tokens, keys, dates and identifiers are new in each run; weights differ between machines.
README.md says what is in the result. Run it again only if a kind of file was forgotten: the point of the data is that
it does not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

# Absolute paths in the files (of `lifelong run`) begin with this; tests replace it.
WORK = Path("/tmp/asr-edge-frozen")  # noqa: S108
SAMPLE_RATE = 16_000
BITS = 9  # of the recordings: coarse enough for FLAC to take 4 KB a second
TEXTS = (".json", ".jsonl", ".toml", ".pem")
ARCHIVE = "binaries.tar.xz"
HOST = "http://127.0.0.1:8443"
HOST_TLS = "https://127.0.0.1:8444"

# Readings for LibriVox, in the public domain; where they are: device_app/assets/*/SOURCE.md. Each phrase is taken
# twice, so that what is held out is not new to a model that has learnt the rest.
CITIES = (
    (1.00, 2.75, "it was the best of times"),
    (2.80, 4.55, "it was the worst of times"),
    (14.95, 16.70, "it was the season of darkness"),
    (21.25, 22.65, "we had everything before us"),
    (17.50, 18.80, "it was the spring of hope"),
)
SENSE = (
    (3.40, 4.95, "how much there might be"),
    (4.90, 6.10, "prudently in his power"),
    (10.30, 12.25, "unless to be rather cold hearted"),
    (21.35, 23.10, "he might even have been made"),
    (12.25, 13.75, "and rather selfish"),
)
TAKES_S = (0.0, 0.03)  # the second begins and ends later
KNOWN = (0, 2, 4, 6)  # of the recordings of each reader, from which the base model is trained: they have all letters
HELD_OUT = (1, 3, 5)  # of the recordings of each reader

TINY = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "subsampling_conv_channels": 8,
}
# Run before the command line in a process of its own. The first two make `asr-edge train` build a model that is tiny,
# and teach it a few phrases in a minute; by the third, `asr-edge adapt` changes so small a model enough to be noticed.
PATCHES = {
    "tiny": f"""
from trainer.families import conformer_ctc
conformer_ctc.CONFIGS["small"] = {{**conformer_ctc.CONFIGS["small"], **{TINY}}}
""",
    "quick to learn": """
from dataclasses import replace
from trainer import from_scratch
from_scratch.SETTINGS = replace(from_scratch.SETTINGS, learning_rate=5e-3, batch_s=6.0, vary=False)
""",
    "eager": """
from functools import partial
from trainer import finetune
finetune.Settings = partial(finetune.Settings, learning_rate=3e-3)
finetune.CLEARLY_WORSE = 99.0
""",
    # Dies by SIGKILL right after its third checkpoint, which says that an hour has passed: so tests can tell a run
    # that goes on from one that begins anew.
    "killed at a checkpoint": """
import os, signal
from trainer import finetune
finetune.CHECKPOINT_S = 0.0
saved, save = [], finetune._Run._save
def save_and_die(run, path):
    run._done_s += 3600.0
    save(run, path)
    run._done_s -= 3600.0
    saved.append(path)
    if len(saved) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
finetune._Run._save = save_and_die
""",
    "killed at the sixth fine-tuning": """
import os, signal
from trainer.lifelong import runner
calls, finetune = [], runner.finetune
def finetune_or_die(*arguments, **more):
    calls.append(1)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return finetune(*arguments, **more)
runner.finetune = finetune_or_die
""",
    "killed at the eightieth pair of a sweep": """
import os, signal
from trainer.lifelong import runner
calls, score = [], runner.Work.score
def score_or_die(*arguments):
    calls.append(1)
    if len(calls) == 80:
        os.kill(os.getpid(), signal.SIGKILL)
    return score(*arguments)
runner.Work.score = score_or_die
""",
    # So small a model gains nothing in so short a time; a host leaves out what its own device calls no better.
    "a device that gains": """
from dataclasses import replace
from device_app.models.ledger import Ledger
edit = Ledger.edit
def better(ledger, number):
    found = edit(ledger, number)
    before, after = {**found.before, found.domain: 0.5}, {**found.after, found.domain: 0.25}
    return replace(found, before=before, after=after)
Ledger.edit = better
""",
    "a host that starts no job": """
from trainer.executors import Local
Local.slots = 0
""",
}
KILLED = -signal.SIGKILL


def command(*patches: str) -> list[str]:
    """The command line, some of its functions replaced."""
    code = "".join(PATCHES[name] for name in patches) + "import sys\nfrom device_app.cli import main\nsys.exit(main())"
    return [sys.executable, "-c", code]


def asr(home: Path, *arguments: object, patches: Sequence[str] = (), code: int = 0, stdin: str = "") -> str:
    """Runs a command on a data folder; its standard output."""
    print("   ", " ".join(map(str, arguments)), flush=True)
    done = subprocess.run(
        [*command(*patches), *map(str, arguments)],
        env=environment(home),
        cwd=WORK,
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
    )
    if done.returncode != code:
        sys.exit(f"exit code {done.returncode}, expected {code}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "ASR_EDGE_HOME": str(home), "TERM": "dumb"}


# Recordings and models


def make_recordings() -> None:
    """`recordings/`: phrases of two readers, and manifests of them."""
    from device_app.audio.samples import read
    from device_app.paths import ASSETS

    folder = WORK / "recordings"
    folder.mkdir()
    lines: dict[str, list[dict[str, str]]] = {}
    for name, source, spans in (
        ("cities", ASSETS / "recordings" / "two_cities.flac", CITIES),
        ("sense", ASSETS / "canary" / "sense_and_sensibility.flac", SENSE),
    ):
        audio = read(source)
        takes = [(start + late, end + late, text) for start, end, text in spans for late in TAKES_S]
        for number, (start, end, text) in enumerate(takes):
            step = 2.0 ** (1 - BITS)
            part = np.round(audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] / step) * step
            file = f"{name}-{number}.flac"
            soundfile.write(folder / file, np.clip(part, -1, 1 - step), SAMPLE_RATE, subtype="PCM_16")
            lines.setdefault(name, []).append({"audio": file, "text": text, "speaker": f"reader of {name}"})
    # Three domains for `lifelong`: its manifests say which lines are held out.
    for name, part in (("first", lines["cities"][:4]), ("second", lines["cities"][4:8]), ("third", lines["sense"][:4])):
        lines[name] = [{**line, "split": "test" if place == 3 else "train"} for place, line in enumerate(part)]
    lines["known"] = [lines[name][number] for name in ("cities", "sense") for number in KNOWN]
    # The same recordings said to be of four people: from three speakers on, whole speakers are held out.
    lines["crew"] = [
        {**line, "speaker": speaker}
        for line, speaker in zip(lines["cities"][:4], ("anna", "ben", "cem", "dora"), strict=True)
    ]
    # For `train`, nothing is said of parts; for `adapt`, the second takes of three phrases are held out.
    lines["own"] = lines["cities"]
    for name in ("cities", "sense"):
        lines[name] = [{**line, "split": "test"} if n in HELD_OUT else line for n, line in enumerate(lines[name])]
    for name, part in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))


def make_models() -> None:
    """`models/tiny` by `asr-edge train`, `models/converted` by `asr-edge convert`."""
    models, recordings = WORK / "models", WORK / "recordings"
    train = ("train", recordings / "known.jsonl", "--out", models / "tiny", "--epochs", 50)
    asr(WORK / "scratch", *train, patches=["tiny", "quick to learn"])
    make_transformers_model(WORK / "transformers")
    asr(WORK / "scratch", "convert", WORK / "transformers", "--out", models / "converted", "--name", "wav2vec2-tiny")
    shutil.rmtree(WORK / "transformers")


def make_transformers_model(folder: Path) -> None:
    """A wav2vec2 with random weights, as transformers saves it."""
    import torch
    import transformers

    pieces = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        vocab_size=len(vocabulary),
        pad_token_id=0,
    )
    transformers.AutoModelForCTC.from_config(config).eval().save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))


def make_killed_training() -> None:
    """`own.training/`: an `asr-edge train` that was killed."""
    train = ("train", WORK / "recordings" / "own.jsonl", "--out", WORK / "own", "--epochs", 6, "--seed", 2)
    asr(WORK / "scratch", *train, patches=["tiny", "killed at a checkpoint"], code=KILLED)


# A device


def make_store(home: Path) -> None:
    """Utterances of every kind: imported, recorded, corrected, unlabelled, deleted; one and several speakers."""
    from dataclasses import replace

    os.environ["ASR_EDGE_HOME"] = str(home)
    from device_app.audio.samples import read
    from device_app.data.importing import new_utterance
    from device_app.data.store import Store

    recordings = WORK / "recordings"
    for name in ("cities", "sense", "crew"):
        asr(home, "import", recordings / f"{name}.jsonl", "--domain", name)
    with Store() as store:  # as `asr-edge record` does, without a microphone
        for file, text, prompt, snr_db in (
            ("cities-0.flac", "it was the best of times", "It was the best of times.", 31.5),
            ("cities-2.flac", "it was the worst", "It was the worst of times.", 17.25),
        ):
            take = new_utterance(
                read(recordings / file),
                domain="desk",
                text=text,
                speaker="me",
                source="recorded",
                heard="it was the burst",
                confidence=0.625,
            )
            store.add([replace(take, prompt=prompt, snr_db=snr_db)])
    # With hypotheses of the embedded model; the first is never labelled, and is in the default domain, "heard".
    asr(home, "transcribe", recordings / "sense-4.flac", "--save")
    asr(home, "transcribe", recordings / "sense-6.flac", "--save", "--domain", "mail")
    asr(home, "correct", "--last", "he might even have been maid")
    last = max(one["id"] for one in json.loads(asr(home, "dataset", "show", "crew", "--json")))
    asr(home, "dataset", "delete", last, "--yes")


def make_edits(home: Path) -> None:
    """Edits of the tiny model: learnt, kept out, imported, merged; reverted, weighed otherwise, rolled back."""
    vectors = WORK / "vectors"
    vectors.mkdir()
    tiny = ("--model", "tiny")
    learnt = ("adapt", *tiny, "--force", "--epochs", 30, "--domain")
    how = ("--scope", "hearing", "--seed", 1, "--lambda", 0.9, "--density", 0.9)
    asr(home, *learnt, "cities", *how, patches=["eager"])
    asr(home, *learnt, "sense", "--lambda", "encoder=0.8,*=0.9", "--density", 0.8, patches=["eager"])
    asr(home, "adapt", *tiny, "--domain", "sense", "--epochs", 1, "--lambda", 0.01, code=3)
    asr(home, "vector", "export", 1, vectors / "dense.safetensors", "--density", 1, *tiny)
    asr(home, "vector", "export", 2, vectors / "trimmed.safetensors", "--density", 0.1, *tiny)
    asr(home, "vector", "import", vectors / "trimmed.safetensors", "--force", "--lambda", 0.2, *tiny)
    asr(home, "revert", 1, *tiny)
    asr(home, "remix", 1, "--lambda", 0.3, "--force", *tiny)
    asr(home, "merge", 1, 2, "--method", "dare_ties", "--force", *tiny)


def make_killed_adapt(home: Path) -> dict[str, object]:
    """`training/`: an `asr-edge adapt` that was killed. What the same comes to that is not killed."""
    arguments = ("--model", "tiny", "--domain", "sense", "--scope", "hearing", "--epochs", 8, "--seed", 5, "--force")
    shutil.copytree(home, WORK / "scratch" / "whole")
    whole = json.loads(asr(WORK / "scratch" / "whole", "adapt", *arguments, "--json"))
    asr(home, "adapt", *arguments, patches=["killed at a checkpoint"], code=KILLED)
    return {key: whole[key] for key in ("losses", "norm")}


def make_earlier_stores() -> None:
    """`store-1/`, `store-2/`: what the first migrations alone make, with rows."""
    from device_app.data import migrations

    created = "2026-01-02T03:04:05.678+00:00"
    for version in (1, 2):
        folder = WORK / f"store-{version}"
        (folder / "audio" / "0a").mkdir(parents=True)
        connection = sqlite3.connect(folder / "store.sqlite3", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        for migration in migrations.MIGRATIONS[:version]:
            migration(connection)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("INSERT INTO domain VALUES (1, 'kitchen')")
        connection.execute("INSERT INTO speaker VALUES (1, 'anna')")
        connection.execute("INSERT INTO speaker_split VALUES (1, 1, 'test')")
        for number, text in ((1, "it was the best of times"), (2, None)):
            data = (WORK / "recordings" / f"cities-{number}.flac").read_bytes()
            file, digest = f"0a/{number:032x}.flac", hashlib.sha256(data).hexdigest()
            (folder / "audio" / file).write_bytes(data)
            row = {
                "id": number,
                "domain_id": 1,
                "speaker_id": 1,
                "text": text,
                "source": "imported" if text else "recorded",
                "split": "test",
                "file": file,
                "sha256": digest,
                "created": created,
                "duration_s": 1.75,
                "level_dbfs": -20.5,
                "peak_dbfs": -3.0,
                "clipped": 0.0,
            }
            if version >= 2:
                row |= {"heard": "it was the burst of times", "confidence": 0.5}
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO utterance ({', '.join(row)}) VALUES ({marks})", [*row.values()])  # noqa: S608
            connection.execute("INSERT INTO tested VALUES (?)", [digest])
        connection.close()


# A host


@contextlib.contextmanager
def serving(home: Path, url: str, *patches: str) -> Iterator[None]:
    """A host that listens, as a process of its own."""
    port = int(url.rpartition(":")[2])
    arguments = ["host", "serve", "--port", str(port), *(["--no-tls"] if url.startswith("http:") else [])]
    server = subprocess.Popen([*command(*patches), *arguments], env=environment(home))
    try:
        until(lambda: server.poll() is None and can_connect(port))
        yield
    finally:
        server.terminate()
        server.wait(30)


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit("it did not come about")
        time.sleep(0.1)


def states(host: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(host / "host" / "host.sqlite")) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM job ORDER BY number")]


def send_and_die(device: Path, host: Path, *arguments: object) -> None:
    """An `asr-edge adapt --on` that is killed when the host has all of its dataset."""
    count = len(states(host))
    print("   ", *arguments, "(killed)", flush=True)
    process = subprocess.Popen([*command(), *map(str, arguments)], env=environment(device))
    until(lambda: states(host)[count:] in (["queued"], ["running"]))
    process.kill()
    process.wait()


def make_host(host: Path, device: Path) -> None:
    """A host with devices, a group's vectors, a job that is done and one that is queued; the device's side of them."""
    asr(host, "host", "init", "localhost")
    tokens = {
        name: asr(host, "host", "token", "add", name, "--group", "crew").strip()
        for name in ("tablet", "watch", "phone")
    }
    asr(host, "host", "token", "add", "lost")
    asr(host, "host", "token", "revoke", "lost")
    (WORK / "tokens.json").write_text(json.dumps(tokens, indent=1) + "\n")
    on = ("--on", HOST, "--model", "tiny")
    with serving(host, HOST):
        for edit, name in ((2, "tablet"), (1, "watch"), (2, "phone")):
            asr(device, "host", "trust", HOST, "--token", tokens[name], stdin="y\n")
            asr(device, "contribute", edit, "--group", "crew", *on, patches=["a device that gains"])
        asr(host, "host", "fleet", "merge", "--group", "crew", "--model", "tiny", "--tolerance", 90, "--json")
        asr(device, "fleet", "pull", "--group", "crew", *on, "--force", "--lambda", 0.25)
        asr(device, "rollback", "--model", "tiny")
        how = ("adapt", *on, "--yes", "--epochs", 2, "--seed", 3, "--force")
        send_and_die(device, host, *how, "--domain", "cities", "--scope", "hearing", "--lambda", 0.5)
        until(lambda: states(host) == ["done"])
    with serving(host, HOST, "a host that starts no job"):
        how = (*how, "--domain", "sense", "--scope", "attention", "--vary", "--score-remotely", "--density", 0.4)
        send_and_die(device, host, *how, "--orthography", "learn", "--replay", 1)
    with serving(host, HOST_TLS, "a host that starts no job"):
        asr(device, "host", "trust", HOST_TLS, "--token", tokens["phone"], stdin="y\n")


# The benchmark


def make_lifelong() -> None:
    """`lifelong/`: a run that was killed with two methods done and one half-way, and a sweep that was."""
    folder = WORK / "lifelong"
    folder.mkdir()
    manifests = "".join(f'{name} = "../recordings/{name}.jsonl"\n' for name in ("first", "second", "third"))
    head = 'base = "../models/tiny"\nbase_domain = "first"\n'
    tuning = """
[fine_tuning]
epochs = 2
learning_rate = 1e-3
batch_s = 30.0
warm_up = 0.2
clip = 2.0
embeddings = true
vary = true
easy_epochs = 1
patience = 3
enough = 0.01
"""
    (folder / "run.toml").write_text(
        f"""{head}order = ["second", "third"]
methods = ["fine-tuning", "ewc", "ties", "joint"]
seeds = [7]
[manifests]
{manifests}{tuning}
[settings.ties]
lam = 0.5
density = 0.4

[settings.ewc]
strength = 10.0
"""
    )
    (folder / "grid.toml").write_text(
        f"""{head}order = ["second"]\nnever_trained = ["third"]\nmethods = ["ties"]\n[manifests]\n{manifests}{tuning}"""
    )
    run, sweep = (
        ("lifelong", "run", folder / "run.toml"),
        ("lifelong", "sweep", folder / "grid.toml", "--utterances", 1),
    )
    asr(WORK / "scratch", *run, patches=["killed at the sixth fine-tuning"], code=KILLED)
    asr(WORK / "scratch", *sweep, patches=["killed at the eightieth pair of a sweep"], code=KILLED)


# What is kept of it


def expected() -> dict[str, object]:
    """What only the code of 767e81d can say of its files: the weights of every version."""
    os.environ["ASR_EDGE_HOME"] = str(WORK / "device")
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from editing.task_vector import TaskVector

    ledger = Ledger(find_bundle("tiny"))
    vectors = {path.name: TaskVector.load(path) for path in sorted((WORK / "vectors").glob("*"))}
    return {
        "versions": {version.id: digest(ledger.weights(version)) for version in ledger.versions},
        "vectors": {name: digest(vector.tensors) for name, vector in vectors.items()},
    }


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and values of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + np.ascontiguousarray(tensors[name], np.float32).tobytes())
    return found.hexdigest()


def tidy() -> None:
    """Takes away what is made anew when it is missing, and closes the databases."""
    for home in ("device", "host"):
        for name in ("models", "baked"):
            shutil.rmtree(WORK / home / name, ignore_errors=True)
    shutil.rmtree(WORK / "scratch", ignore_errors=True)
    for database in WORK.rglob("*.sqlite*"):
        if database.suffix in (".sqlite", ".sqlite3"):
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for pattern in ("lock", "*-wal", "*-shm", "candidate-*", "incoming"):
        for path in WORK.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def pack(out: Path) -> None:
    """Copies texts as they are, to be read and searched; all else goes into one archive, where twins take room once."""
    others = []
    for path in sorted(path for path in WORK.rglob("*") if path.is_file()):
        if path.suffix in TEXTS:
            (out / path.relative_to(WORK)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / path.relative_to(WORK))
        else:
            others.append(path)
    with tarfile.open(out / ARCHIVE, "w:xz", preset=9, format=tarfile.PAX_FORMAT) as archive:
        for path in others:
            member = tarfile.TarInfo(path.relative_to(WORK).as_posix())  # of no owner, at no time
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)


def main(out: Path) -> None:
    from device_app.models import bundles as models

    print("made by", Path(models.__file__).parent.parent)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one thread, as the tests have
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    make_recordings()
    make_models()
    device, host = WORK / "device", WORK / "host"
    for home in (device, host):
        shutil.copytree(WORK / "models", home / "models")
    make_killed_training()
    make_earlier_stores()
    make_store(device)
    make_edits(device)
    make_host(host, device)
    for number, path in enumerate(sorted((host / "host" / "fleet").glob("*.safetensors"))):
        shutil.copyfile(path, WORK / "vectors" / f"of-the-group-{number}.safetensors")
    adapted = make_killed_adapt(device)
    make_lifelong()
    record = {**expected(), "adapted": adapted}
    tidy()
    (WORK / "expected.json").write_text(json.dumps(record, indent=1) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    pack(out)
    print(sum(path.stat().st_size for path in out.rglob("*") if path.is_file()), "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
