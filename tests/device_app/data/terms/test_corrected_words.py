import pytest

from device_app.data.terms import Term, change_terms, stored_terms, term_list
from device_app.data.terms.corrected_words import add_corrected_words, corrected_words, new_terms

PERSIAN = "\u0645\u06cc\N{ZERO WIDTH NON-JOINER}\u062e\u0648\u0627\u0647\u0645"
LONG = "https://example.org/" + 90 * "a"


@pytest.mark.parametrize(
    ("hypothesis", "text", "words"),
    [
        ("The capital is Husca.", "The capital is Huesca.", ["Huesca"]),
        ("Log in and correct mailbox", "Login incorrect. Mailbox?", ["Login", "incorrect"]),
        ("The last color was", "The last Kaller was...", ["Kaller"]),
        ("general aboucha's legacy", "General Abacha's legacy", ["Abacha's"]),
        ("the same words", "The same, words!", []),
        ("their house is big", "there house was big", []),  # frequent or short
        ("room for", "room 4711 at twenty-three Twill-Street", ["Twill-Street"]),
        ("He put the parrots in his bags", "She put the carrots and tomatoes in Heusgen's fridge", ["Heusgen's"]),
        ("", "Yesterday's shopping isn't finished; we've stopped, happily, making sandwiches", []),  # forms of them
        ("", "Huesca, Huesca and huesca", ["Huesca"]),
        ("O'Reilly", "O\N{RIGHT SINGLE QUOTATION MARK}Reilly", []),
        ("Kubernetes", "\u00abKubernetes\u00bb", []),
        (
            "",
            "\u00abKubernetes\u00bb \u2014Huesca\u2014 \u201eAbacha\u201c *candelilla* \u00bfQuetzal?",
            ["Kubernetes", "Huesca", "Abacha", "candelilla", "Quetzal"],
        ),
        ("Je\N{COMBINING ACUTE ACCENT}ro\N{COMBINING CIRCUMFLEX ACCENT}me", "J\u00e9r\u00f4me", []),
        ("", "Notepad++ cost 1,000 or 3.50% at 12:30 on 2026-11-27 //// ****", ["Notepad++"]),
        ("", f"{PERSIAN}.", [PERSIAN]),
    ],
)
def test_words_that_the_hypothesis_lacks(hypothesis, text, words):
    assert corrected_words(hypothesis, text) == words


def test_a_word_that_was_recognised_elsewhere_is_not_missing():
    assert corrected_words("Huesca is near", "near is Huesca") == []


@pytest.mark.parametrize("text", ["call ////", "you **** call", LONG, "hid\u202eden", "\u200c \u200d"])
def test_what_cannot_be_a_term_is_not_added(text, tmp_path, monkeypatch):
    """Regression: the text was stored, and then the command failed."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    assert new_terms("call you", text) == []
    assert add_corrected_words("call you", f"{text} Huesca") == ["Huesca"]


def test_a_word_with_a_joiner_becomes_a_term(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    assert add_corrected_words("call", PERSIAN) == [PERSIAN]
    assert [term.text for term in stored_terms().terms] == [PERSIAN]


def test_a_full_list_takes_as_many_words_as_it_has_room_for(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    for module in ("device_app.data.terms.corrected_words", term_list.__name__):
        monkeypatch.setattr(f"{module}.MAX_TERMS", 2)
    change_terms(lambda listed: listed.with_terms([Term("Leeds")]))
    assert add_corrected_words("call", "Huesca Abacha") == ["Huesca"]
    assert add_corrected_words("call", "Abacha") == []
    assert [term.text for term in stored_terms().terms] == ["Leeds", "Huesca"]
