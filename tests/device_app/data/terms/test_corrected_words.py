import pytest

from device_app.data.terms.corrected_words import corrected_words


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
    ],
)
def test_words_that_the_hypothesis_lacks(hypothesis, text, words):
    assert corrected_words(hypothesis, text) == words


def test_a_word_that_was_recognised_elsewhere_is_not_missing():
    assert corrected_words("Huesca is near", "near is Huesca") == []
