"""The host's command line, each command in a process of its own."""

import json

import pytest


@pytest.fixture
def asr(run, tmp_path):
    return lambda *arguments: run(*arguments, ASR_EDGE_HOME=str(tmp_path / "home"))


def test_keys_are_made_once_and_the_certificate_renewed(asr, tmp_path):
    first, again = asr("host", "init", "box.local"), asr("host", "init", "box.local")
    assert first.returncode == again.returncode == 0
    assert first.stdout.startswith("SHA256:")
    assert first.stdout == again.stdout
    for name in ("signing.pem", "authority-key.pem", "certificate-key.pem", "host.sqlite"):
        path = tmp_path / "home" / "host" / name
        assert not path.exists() or path.stat().st_mode & 0o077 == 0
    assert "neither a name" in asr("host", "init", "no name\n").stderr


def test_tokens_are_shown_once_and_stored_nowhere(asr, tmp_path):
    token = asr("host", "token", "add", "phone", "--group", "crew").stdout.strip()
    assert len(token) > 40
    stored = (tmp_path / "home" / "host" / "host.sqlite").read_bytes()
    assert token.encode() not in stored
    assert "already" in asr("host", "token", "add", "phone").stderr
    (device,) = json.loads(asr("host", "token", "list", "--json").stdout)
    assert (device["name"], device["fleet"], device["revoked"]) == ("phone", "crew", None)
    assert asr("host", "token", "revoke", "phone").returncode == 0
    assert "revoked" in asr("host", "token", "list").stdout
    assert "no device" in asr("host", "token", "revoke", "phone").stderr
    assert "up to 64" in asr("host", "token", "add", "../phone").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("host", "serve", "--host", "0.0.0.0", "--no-tls"), "only by https"),
        (("host", "serve", "--host", "0.0.0.0"), "host init"),
        (("host", "serve", "--cert", "missing.pem"), "go together"),
        (("host", "serve", "--cert", "missing.pem", "--key", "missing.pem"), "cannot be used"),
        (("host", "trust", "http://192.168.1.1:8443"), "only by https"),
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
def test_mistakes_are_one_line_with_the_remedy(asr, arguments, told):
    done = asr(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_nothing_is_learnt_elsewhere_at_first(asr):
    assert json.loads(asr("jobs", "--json").stdout) == []
    assert "--on URL" in asr("jobs").stdout
