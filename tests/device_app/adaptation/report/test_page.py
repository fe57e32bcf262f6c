"""The HTML report: well-formed, self-contained, and nothing of a text becomes markup."""

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from device_app.adaptation.gate import Hypotheses, compare
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


def change(wrong_before, wrong_after, words=100):
    """The change of a test set of this many utterances of one word, of which so many were and are wrong."""

    def recognised(wrong):
        return Hypotheses(["yes"] * words, ["no"] * wrong + ["yes"] * (words - wrong))

    return compare(recognised(wrong_before), recognised(wrong_after))


def version(number, domain="kitchen", applied=True):
    edits = [SimpleNamespace(edit=number)] if applied and number else []
    return SimpleNamespace(id=number, why=f"adapt {domain}", applied=edits)


def history(domain="kitchen", versions=3):
    rates = [0.31, 0.12, 0.08, 0.07]
    return History(
        [domain, GUARD_SET],
        [version(i, domain) for i in range(versions)],
        [{domain: estimate(rates[i]), GUARD_SET: estimate(0.17)} for i in range(versions)],
        {domain: change(31, 8), GUARD_SET: change(17, 17)},
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
    general = "General speech (other people): 17 of 100 words wrong; 17 before the first edit (no sure difference)."
    assert general in page


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


def test_a_gain_on_the_same_utterances_is_sure_although_the_intervals_overlap():
    """Four utterances of 40 are better and none is worse, which the gate promotes."""
    before, after = Estimate(0.30, 0.16, 0.45, 40), Estimate(0.20, 0.09, 0.33, 40)
    found = History(
        ["kitchen"],
        [version(0), version(1)],
        [{"kitchen": before}, {"kitchen": after}],
        {"kitchen": change(12, 8, 40)},
        {},
    )
    assert "<b>kitchen</b>: 20 of 100 words wrong; 30 before the first edit.</p>" in render(found, ledger())


def test_general_speech_needs_more_to_be_surely_different():
    """In 80 % of the resamples it is worse, but not in 95 %: enough for a domain, but not for the guard set."""
    unsure = change(17, 18)
    assert unsure.low <= 0
    found = History(
        [GUARD_SET],
        [version(0), version(1)],
        [{GUARD_SET: estimate(0.17)}, {GUARD_SET: estimate(0.18)}],
        {GUARD_SET: unsure},
        {},
    )
    assert "18 of 100 words wrong; 17 before the first edit (no sure difference)." in render(found, ledger())


def without_edits(domains, versions):
    return render(
        History(
            domains,
            versions,
            [dict.fromkeys(domains, estimate(0.17)) for _ in versions],
            dict.fromkeys(domains, change(17, 17)),
            {},
        ),
        SimpleNamespace(base=SimpleNamespace(name="embedded"), edits=[]),
    )


@pytest.mark.parametrize(
    "versions",
    [[version(0)], [version(0), version(1), version(2, applied=False)]],
    ids=["base", "all edits reverted"],
)
def test_without_an_edit_in_use_it_says_so_once(versions):
    page = without_edits(["kitchen", GUARD_SET], versions)
    assert page.count("No edit is in use.") == 1
    assert "<b>kitchen</b>: 17 of 100 words wrong.</p>" in page
    assert "before the first edit" not in page
    assert "The model is as it was installed." in page


def test_without_test_recordings_it_says_so_and_draws_nothing():
    """Such as a model of another language than English, before the first domain."""
    page = without_edits([], [version(0)])
    found = Elements(page)
    assert found.open == []
    assert not {"svg", "table"} & {*found.tags}
    assert "There are no recordings to measure the model on." in page


def test_an_imported_edit_is_not_said_to_be_learnt():
    imported = SimpleNamespace(id=1, kind="import", domain="kitchen", utterances=0, created="2026-11-03T10:00:00+00:00")
    page = render(
        history(), SimpleNamespace(base=SimpleNamespace(name="m"), edits=[imported], is_applied=lambda _id: True)
    )
    assert "<b>kitchen</b>: added by import on 2026-11-03." in page
    assert "<b>kitchen</b>: learnt from 30 recordings (1.6 minutes) on 2026-11-03." in render(history(), ledger())


def test_an_interval_holds_the_rate():
    found = Estimate.of(Hypotheses(["a b", "c d", "e f", "g h"], ["a b", "c x", "y z", "g h"]))
    assert found.low < found.wer < found.high
    assert found.wer == pytest.approx(3 / 8)
    assert found.utterances == 4


def test_another_kind_of_file_is_not_replaced(tmp_path):
    with pytest.raises(
        BadInputError, match=r"recording\.flac: the report's name must end in \.html or \.htm; nothing was changed"
    ):
        check_html(tmp_path / "recording.flac")
    check_html(tmp_path / "report.HTM")
