"""A host of 767e81d, and a device that waits for it: both go on with what they had."""

import json
import re
import shutil
import socket
import sqlite3
import time
from contextlib import closing

import pytest

from tests.frozen import access
from tests.frozen.conftest import COMMITTED, MODEL

PORT = 8443  # of the frozen device's host
URL = f"http://127.0.0.1:{PORT}"
TLS_URL = "https://127.0.0.1:8444"
TOKENS = json.loads((COMMITTED / "tokens.json").read_text("utf-8"))


@pytest.fixture
def host(thaw):
    """The host's data folder; its finished job is as young as the test, as hosts keep vectors for a week."""
    thaw("models", "host/models")
    folder = thaw("host")
    with closing(sqlite3.connect(folder / "host" / "host.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE job SET changed = ?", [time.time()])
    return folder


def job_records(home):
    found = [json.loads(path.read_text("utf-8")) for path in (home / "jobs").glob("*/job.json")]
    return {record["plan"]["domain"]: record for record in found}


def test_the_frozen_jobs_have_every_setting():
    records = job_records(COMMITTED / "device")
    assert records.keys() == {"cities", "sense"}
    plan, settings = records["sense"]["plan"], records["sense"]["request"]["settings"]
    assert (plan["orthography"], plan["replay"], plan["seed"], plan["force"]) == ("learn", 1, 3, True)
    assert settings == {"epochs": 2, "scope": "attention", "vary": True, "seed": 3, "density": 0.4}
    assert records["cities"]["request"]["settings"]["scope"] == "hearing"
    assert all(record["identity"] for record in records.values())
    assert all(record["request"]["edits"] for record in records.values())


def test_hosts_are_trusted_as_they_were(home):
    frozen = json.loads((COMMITTED / "device" / "hosts.json").read_text("utf-8"))
    found = access.trusted(home)
    assert found == frozen
    assert found[URL]["consent"] is True
    assert found[URL]["token"] == TOKENS["phone"]
    assert found[TLS_URL]["authority"].startswith("-----BEGIN CERTIFICATE-----")
    assert found[TLS_URL]["key"] == found[URL]["key"]


def test_jobs_are_listed_while_their_host_is_away(home):
    record = job_records(home)["sense"]
    shutil.rmtree(home / "jobs" / job_records(home)["cities"]["key"])  # each is asked after for seconds
    (found,) = access.jobs(home)
    assert (found["id"], found["domain"], found["host"]) == (record["key"], "sense", URL)
    assert (found["created"], found["state"]) == (record["created"], "unknown")


def test_a_host_has_its_devices_and_its_keys(host, home):
    found = access.devices(host)
    assert [(one["name"], one["fleet"], one["revoked"] is not None) for one in found] == [
        ("tablet", "crew", False),
        ("watch", "crew", False),
        ("phone", "crew", False),
        ("lost", "", True),
    ]
    authority = (host / "host" / "authority.pem").read_text("ascii")
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", access.fingerprint(host))  # renews the certificate
    assert (host / "host" / "authority.pem").read_text("ascii") == authority
    assert access.trusted(home)[TLS_URL]["authority"] == authority


def test_a_group_is_merged_again_from_what_devices_gave(host, monkeypatch):
    monkeypatch.setattr("device_app.adaptation.gate.MAX_DIVERGENCE", float("inf"))  # not measured then
    with closing(sqlite3.connect(host / "host" / "host.sqlite")) as connection:
        ((report,),) = connection.execute("SELECT report FROM fleet_vector").fetchall()
    frozen, found = json.loads(report), access.merge_group(host, "crew", MODEL)
    assert [one["device"] for one in found["judged"]] == [one["device"] for one in frozen["judged"]]
    assert [one["left_out"] for one in found["judged"]] == ["", "", ""]
    for mine, before in zip(found["judged"], frozen["judged"], strict=True):
        assert mine["vector"] == before["vector"]
        assert mine["norm"] == pytest.approx(before["norm"], rel=1e-6)
    assert found["settings"] == frozen["settings"]
    # Today's canary has other recordings, on which the random model's WER differs; the merge must not be worse on them.
    mine, then = (report["canary_after"] - report["canary_before"] for report in (found, frozen))
    assert mine <= then + 0.1


@pytest.mark.slow
def test_host_and_device_go_on_with_the_jobs_they_had(host, home):
    """One was done and waits to be fetched, one was in the queue with its dataset; and a group's vector is offered."""
    port = free_port()
    for path in (home / "hosts.json", *(home / "jobs").glob("*/job.json")):
        path.write_text(path.read_text("utf-8").replace(URL, f"http://127.0.0.1:{port}"), "utf-8")
    records = job_records(home)
    with access.serving(host, port):
        states = {one["domain"]: one["state"] for one in access.jobs(home)}
        assert states["cities"] == "done"
        assert states["sense"] in ("queued", "running", "done")
        done = access.attach(home, records["cities"]["key"])
        assert (done["promoted"], done["edit"]["domains"], done["edit"]["id"]) == (True, ["cities"], 7)
        assert done["edit"]["settings"]["lam"] == 0.5
        queued = access.attach(home, records["sense"]["key"])
        assert (queued["promoted"], queued["edit"]["domains"], queued["edit"]["id"]) == (True, ["sense"], 8)
        assert len(queued["losses"]) == 2
        assert access.jobs(home) == []
        pulled = access.pull_from_group(home, "crew", f"http://127.0.0.1:{port}", MODEL)
        assert (pulled["edit"]["kind"], pulled["edit"]["domains"]) == ("fleet", ["crew"])
    with closing(sqlite3.connect(host / "host" / "host.sqlite")) as connection:
        rows = connection.execute("SELECT state, statement IS NOT NULL, signature IS NOT NULL FROM job").fetchall()
    assert rows == [("done", 1, 1)] * 2


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
