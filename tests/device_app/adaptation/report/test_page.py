"""The HTML report: well-formed, self-contained, and nothing of a text becomes markup."""

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.report.measure import Estimate, Example, History
from device_app.adaptation.report.page import check_html, render
from device_app.data.names import GUARD_SET
from editing.errors import BadInputError

NASTY = "<script>alert(1)</script> & \x1b[31m \u202e"
VOID = {"meta"}


class Elements(HTMLParser):
    """The tags and attributes of a document; fails where an end tag has no start."""

    def __init__(self, document):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def estimate(wer, half=0.04):
    return Estimate(wer, max(0.0, wer - half), wer + half, 40)


def history(domain="kitchen", versions=3):
    rates = [0.31, 0.12, 0.08, 0.07]
    return History(
        [domain, GUARD_SET],
        [SimpleNamespace(id=i, why=f"adapt {domain}") for i in range(versions)],
        [{domain: estimate(rates[i]), GUARD_SET: estimate(0.17)} for i in range(versions)],
        {domain: [Example("set the <timer>", "sat the time", "set the timer")]},
    )


def ledger(domain="kitchen"):
    edit = SimpleNamespace(
        id=1, kind="adapt", domain=domain, utterances=30, seconds=95.0, created="2026-11-03T10:00:00+00:00"
    )
    return SimpleNamespace(base=SimpleNamespace(name="embedded"), edits=[edit], is_applied=lambda _id: True)


def test_the_result_is_said_in_sentences():
    page = render(history(), ledger())
    assert "<b>kitchen</b>: 8 of 100 words wrong; 31 before the first edit." in page
    assert "17 of 100 words wrong; 17 before the first edit (no sure difference)" in page


def test_the_table_has_every_version_with_its_interval():
    page = render(history(), ledger())
    for shown in ("31.0 %", "12.0 %", "8.0 %", "27.0 to 35.0"):
        assert shown in page


def test_the_document_is_complete_and_needs_nothing_else():
    found = Elements(render(history(), ledger()))
    assert found.open == []
    assert not {"script", "link", "img", "iframe"} & {*found.tags}
    assert not {"src", "href", "onclick"} & {name for name, _ in found.attributes}


def test_lines_differ_without_colour():
    page = render(history(), ledger())
    assert 'stroke-dasharray="none"' in page
    assert 'stroke-dasharray="9 4"' in page
    assert "<circle" in page
    assert "<rect" in page


def test_names_and_texts_are_no_markup():
    page = render(history(NASTY), ledger(NASTY))
    found = Elements(page)
    assert "script" not in found.tags
    assert not {"\x1b", "\u202e"} & {*page}
    assert "set the <timer>" in found.words


def test_a_model_without_edits():
    page = render(
        History([GUARD_SET], [SimpleNamespace(id=0, why="base")], [{GUARD_SET: estimate(0.17)}], {}),
        SimpleNamespace(base=SimpleNamespace(name="embedded"), edits=[]),
    )
    assert "The model has learnt nothing yet." in page
    assert "The model is as it was installed." in page


def test_an_interval_holds_the_rate():
    found = Estimate.of(Hypotheses(["a b", "c d", "e f", "g h"], ["a b", "c x", "y z", "g h"]))
    assert found.low < found.wer < found.high
    assert found.wer == pytest.approx(3 / 8)
    assert found.utterances == 4


def test_another_kind_of_file_is_not_replaced(tmp_path):
    with pytest.raises(BadInputError, match=r"not the name of an \.html file"):
        check_html(tmp_path / "recording.flac")
