"""Average WER and transfer over a history of versions, of which only WERs and domains matter."""

from types import SimpleNamespace

import pytest

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.report import history
from device_app.execution import ExecutionContext

AB = {"a": 0.3, "b": 0.4}


class Versions:
    """A ledger of versions, each with its domains in the order of their edits and its WERs."""

    base = SimpleNamespace(language="en")

    def __init__(self, *versions):
        self.versions = [
            SimpleNamespace(id=number, adapted=list(domains), wer=dict(wer))
            for number, (domains, wer) in enumerate(versions)
        ]

    def domains(self, version):
        return version.adapted

    def history(self):
        return self.versions

    def bundle(self, version):
        return version

    def record_wer(self, version, wer):
        version.wer.update(wer)

    def metrics(self, *domains):
        return history.transfer_metrics(self, domains, self.versions)


def test_transfer_of_two_edits():
    ledger = Versions(("", AB), ("a", {"a": 0.1, "b": 0.35}), ("ab", {"a": 0.15, "b": 0.2}))
    assert ledger.metrics("a", "b") == {
        "average_wer": pytest.approx(0.175),
        "backward_transfer": pytest.approx(-0.05),
        "forward_transfer": pytest.approx(0.05),
    }


def test_forward_transfer_is_of_the_version_without_the_later_domain():
    """a; a, b; a reverted; a again: the order is b, a, and the version with b and a is no measure of b alone."""
    ledger = Versions(
        ("", {"a": 0.3, "b": 0.3}),
        ("a", {"a": 0.1, "b": 0.3}),
        ("ab", {"a": 0.1, "b": 0.1}),
        ("b", {"a": 0.3, "b": 0.1}),
        ("ba", {"a": 0.1, "b": 0.1}),
    )
    assert ledger.metrics("a", "b")["forward_transfer"] == 0


def test_forward_transfer_is_left_out_without_a_version_of_the_earlier_domain_alone():
    ledger = Versions(("", AB), ("ab", {"a": 0.1, "b": 0.1}))
    assert ledger.metrics("a", "b").keys() == {"average_wer", "backward_transfer"}


def test_an_active_domain_without_test_recordings_does_not_count():
    ledger = Versions(("", AB), ("x", AB), ("xa", {"a": 0.1, "b": 0.3}), ("xab", {"a": 0.1, "b": 0.1}))
    assert ledger.metrics("a", "b")["forward_transfer"] == pytest.approx(0.1)


def test_without_an_edit_of_these_domains_there_are_no_metrics():
    assert Versions(("", AB)).metrics("a", "b") == {}


def test_a_domain_without_test_recordings_is_not_measured(monkeypatch):
    """An empty set has no wrong words: it was recorded as a WER of 0, and lowered the average."""
    kept = SimpleNamespace(text="one", split="test")
    others = [SimpleNamespace(text=None, split="test"), SimpleNamespace(text="one", split="train")]
    recordings = {"a": [kept], "b": others, "c": []}
    store = SimpleNamespace(domains=lambda: list(recordings), utterances=lambda domain: recordings.get(domain, []))
    built = []
    monkeypatch.setattr(history, "general_speech", lambda _store, _language: [])
    monkeypatch.setattr(history, "test_set", lambda _store, domain, _language: built.append(domain) or [kept])
    monkeypatch.setattr(history, "UtteranceTranscriber", lambda bundle, *_more: bundle)
    monkeypatch.setattr(history, "clean_up", lambda _ledger: None)
    measured = {domain: Hypotheses(["one"], ["two"]) for domain in recordings}
    monkeypatch.setattr(
        history, "transcribe_texts", lambda _transcriber, sets, *_more: {domain: measured[domain] for domain in sets}
    )
    ledger = Versions(("", {}), ("a", {}), ("abc", {}))
    domains, versions = history.measure_versions(store, ledger, ExecutionContext())
    assert domains == ["a"]
    assert [version.wer for version in versions] == [{"a": 1.0}] * 3
    assert built == ["a"]  # its audio is decoded once, not for each version
    history.measure_versions(store, ledger, ExecutionContext())
    assert built == ["a"]
