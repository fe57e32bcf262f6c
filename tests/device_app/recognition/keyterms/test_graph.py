import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.terms import Term
from device_app.evaluation.error_rates import basic
from device_app.recognition.ctc import beam_search
from device_app.recognition.decoder_search import Hypothesis, SearchSettings, search
from device_app.recognition.keyterms.bias import TermBias, accepted_share
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.keyterms.terms import START, Keyterms, Strength
from device_app.recognition.keyterms.token_index import DEAD
from device_app.recognition.options import DecodingOptions
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from tests.device_app.recognition.test_decoder_search import TableDecoder, fixed

LETTERS = "abc"
MARK = "\N{LOWER ONE EIGHTH BLOCK}"
# Every string of up to two letters, with a mark and without, in both cases; so that a text has many splits into tokens.
PIECES = [*LETTERS, *(a + b for a in LETTERS for b in LETTERS)]
NAMES = ["<s>", "</s>", MARK, ".", "'", *PIECES, *(MARK + one for one in PIECES), "A", MARK + "A", MARK + "BC"]
STRENGTH = Strength(per_character=0.5, maximum=2.0)

words = st.text(LETTERS, min_size=1, max_size=5)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)


@st.composite
def splits(draw, text):
    """Tokens that spell a text, split at random; its first word has a mark or not."""
    spelled = (MARK if draw(st.booleans()) else "") + text.replace(" ", MARK)
    tokens = []
    while spelled:
        fitting = [token for token, name in enumerate(NAMES) if spelled.lower().startswith(name.lower())]
        tokens.append(draw(st.sampled_from(fitting)))
        spelled = spelled[len(NAMES[tokens[-1]]) :]
    return tokens


def graph_of(*terms, names=NAMES):
    return TermGraph(Keyterms(terms, STRENGTH), names)


def walked(graph, tokens):
    """The state and the bonus after tokens."""
    state, total = START, 0.0
    for token in tokens:
        state, bonus = graph.advance(state, token)
        total += bonus
    return state, total


def bonus(graph, tokens):
    return graph.bonus(tokens)


def has_phrase(text, phrase):
    return f" {phrase} " in f" {text} "


@given(data=st.data(), term=phrases)
def test_a_finished_term_has_its_bonus_however_it_is_split(data, term):
    tokens = data.draw(splits(term))
    assert bonus(graph_of(term), tokens) == pytest.approx(STRENGTH.bonus(len(term)), abs=1e-5)


@given(data=st.data(), term=phrases, before=phrases, after=phrases)
def test_a_term_between_other_words_has_its_bonus(data, term, before, after):
    text = f"{before} {term} {after}".split()
    length = len(term.split())
    assume(sum(text[i : i + length] == term.split() for i in range(len(text))) == 1)
    tokens = data.draw(splits(" ".join(text)))
    assert bonus(graph_of(term), tokens) == pytest.approx(STRENGTH.bonus(len(term)), abs=1e-5)


@given(data=st.data(), terms=st.lists(phrases, min_size=1, max_size=4), text=phrases)
def test_a_text_without_a_whole_term_ends_without_a_bonus(data, terms, text):
    others = [term for term in terms if not has_phrase(text, term)]
    tokens = data.draw(splits(text))
    assert bonus(graph_of(*others), tokens) == pytest.approx(0.0, abs=1e-5)


@given(data=st.data(), terms=st.lists(phrases, min_size=1, max_size=4), text=phrases)
def test_what_is_earned_on_the_way_is_never_less_than_nothing(data, terms, text):
    graph = graph_of(*terms)
    tokens = data.draw(splits(text))
    for end in range(len(tokens) + 1):
        assert walked(graph, tokens[:end])[1] >= -1e-5


@given(data=st.data(), terms=st.lists(phrases, min_size=1, max_size=4), text=phrases)
def test_the_scores_of_all_tokens_are_those_of_each(data, terms, text):
    graph = graph_of(*terms)
    state, _ = walked(graph, data.draw(splits(text)))
    scores = np.zeros(len(NAMES) + 3, np.float32)
    graph.add_bonuses(state, scores)
    assert scores[: len(NAMES)] == pytest.approx([graph.advance(state, token)[1] for token in range(len(NAMES))])
    assert scores[len(NAMES) :] == pytest.approx([graph.end_bonus(state)] * 3)
    assert [graph.next_state(state, token) for token in range(len(NAMES))] == [
        graph.advance(state, token)[0] for token in range(len(NAMES))
    ]


def tokens_of(*names):
    return [NAMES.index(name) for name in names]


def test_half_a_term_has_half_its_bonus_and_gives_it_back():
    graph = graph_of("abcab")
    state, total = walked(graph, tokens_of(MARK + "ab"))
    assert (state, total) == (" ab", pytest.approx(1.0))
    assert graph.advance(state, NAMES.index("b")) == (DEAD, pytest.approx(-1.0))
    assert graph.advance(state, NAMES.index(".")) == (START, pytest.approx(-1.0))
    assert graph.end_bonus(state) == pytest.approx(-1.0)


@pytest.mark.parametrize("tokens", [(MARK + "ab", "c", "a"), ("c", "ab", "c"), (MARK + "ca", "bc")])
def test_a_term_within_another_word_has_no_bonus(tokens):
    assert bonus(graph_of("abc"), tokens_of(*tokens)) == pytest.approx(0.0)


@pytest.mark.parametrize("after", [(), (".",), ("'", "a"), (MARK + "a",), (MARK, "a")])
def test_a_word_ends_before_punctuation_an_apostrophe_and_a_space(after):
    assert bonus(graph_of("abc"), tokens_of(MARK + "ab", "c", *after)) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Cats and a tom-cat's cat.", ["cat", "cat"]),
        ("HERTFORD  college, Hertford", ["hertford college", "hertford"]),
        ("concat bobcat 's", []),
        ("l\N{RIGHT SINGLE QUOTATION MARK}\u00c9t\u00e9!", ["l'\u00e9t\u00e9"]),
        ("", []),
    ],
)
def test_the_terms_of_a_text_are_its_whole_words(text, terms):
    found = Keyterms(["Cat", "Hertford", "Hertford College", "l'\u00e9t\u00e9", "s"]).found_in(text)
    assert found == terms


@given(terms=st.lists(phrases, min_size=1, max_size=4), text=phrases)
def test_terms_are_found_in_a_text_exactly_where_decoding_pays_for_them(terms, text):
    keyterms = Keyterms(terms, STRENGTH)
    assert bool(keyterms.found_in(text)) == any(has_phrase(text, term) for term in terms)
    assert keyterms.found_in(text.upper()) == keyterms.found_in(text)


def test_a_match_is_helped_if_the_text_without_terms_lacks_it():
    matches = Keyterms(["cat", "dog"]).matches("A cat, a dog and a cat", "a cat and a hat")
    assert [(one.term, one.is_helped) for one in matches] == [("cat", False), ("dog", True), ("cat", True)]


def test_case_does_not_matter():
    assert bonus(graph_of("ABC"), tokens_of(MARK + "A", "bc")) == pytest.approx(1.5)
    assert bonus(graph_of("bc"), tokens_of(MARK + "BC")) == pytest.approx(1.0)


def test_spaces_within_a_phrase_are_one_and_any_alphabet_is_found():
    assert bonus(graph_of(Term(" ab   c ")), tokens_of(MARK + "ab", MARK + "c")) == pytest.approx(2.0)
    names = [MARK + "\U00010428", "\N{DEVANAGARI LETTER KA}\N{DEVANAGARI VOWEL SIGN AA}", "b"]
    assert graph_of("\U00010428b", names=names).bonus([0, 2]) == pytest.approx(1.0)
    within = graph_of("\N{DEVANAGARI LETTER KA}", names=["\N{DEVANAGARI LETTER KA}", "\N{DEVANAGARI VOWEL SIGN AA}"])
    assert within.bonus([0]) == pytest.approx(0.5)
    assert within.bonus([0, 1]) == pytest.approx(0.0)


def test_a_joiner_is_part_of_a_word():
    """Persian "mi-khaham" (I want), whose parts are joined by U+200C."""
    first, joiner, last = "\u0645\u06cc", "\N{ZERO WIDTH NON-JOINER}", "\u062e\u0648\u0627\u0647\u0645"
    names = [MARK + first, joiner, last, joiner + last, MARK + last]
    graph = graph_of(first + joiner + last, names=names)
    assert graph.bonus([0, 1, 2]) == graph.bonus([0, 3]) == pytest.approx(2.0)  # the most
    assert graph.bonus([0, 4]) == pytest.approx(0.0)
    assert graph_of(first, names=names).bonus([0, 1, 2]) == graph_of(first, names=names).bonus([0, 3]) == 0.0
    assert graph_of(last, names=names).bonus([0, 1, 2]) == pytest.approx(0.0)
    text = f"({first}{joiner}{last}!)"
    assert Keyterms([first + joiner + last]).found_in(text) == [first + joiner + last]
    assert Keyterms([first, last]).found_in(text) == []
    assert Term(f"{joiner}{first}{joiner} {joiner}{last}").text == f"{first} {last}"


def test_both_kinds_of_apostrophe_are_one():
    assert bonus(graph_of("a\N{RIGHT SINGLE QUOTATION MARK}b"), tokens_of(MARK + "a", "'", "b")) == pytest.approx(1.5)


def test_a_term_that_begins_another_keeps_its_bonus_if_that_is_not_finished():
    graph = graph_of("ab", "ab ca bc")
    assert bonus(graph, tokens_of(MARK + "ab", MARK + "ca", MARK + "a")) == pytest.approx(1.0)
    assert bonus(graph, tokens_of(MARK + "ab", MARK + "ca", MARK + "bc")) == pytest.approx(2.0)  # the most


def test_a_term_that_begins_within_an_unfinished_phrase_is_found():
    graph = graph_of("ab ca a", "ca bc")
    assert bonus(graph, tokens_of(MARK + "ab", MARK + "ca", MARK + "bc")) == pytest.approx(2.0)
    assert bonus(graph, tokens_of(MARK + "ab", MARK + "ca", MARK + "bb")) == pytest.approx(0.0)


def test_a_weight_multiplies_the_bonus_of_its_term_alone():
    graph = graph_of(Term("ab", 3.0), "cc")
    assert bonus(graph, tokens_of(MARK + "ab")) == pytest.approx(3.0)
    assert bonus(graph, tokens_of(MARK + "cc")) == pytest.approx(1.0)


def test_the_bonus_of_a_long_term_is_limited():
    assert bonus(graph_of("abcabcabc"), tokens_of(MARK + "ab", "ca", "bc", "ab", "c")) == pytest.approx(2.0)


@pytest.mark.parametrize("term", ["", "  ", "...", "a" * 101, "a\u202eb"])
def test_what_is_not_a_term_is_refused(term):
    with pytest.raises(BadInputError):
        Keyterms([Term(term)])
    with pytest.raises(BadInputError):
        Keyterms([term])


def test_a_bias_changes_which_hypothesis_is_best_but_no_probability():
    """The names of tokens 2 and 3 are words; the model prefers 2, and 3 is the term."""
    table = fixed({(): [0, 0, 0.6, 0.4], (2,): [0, 1, 0, 0], (3,): [0, 1, 0, 0]})
    graph = TermGraph(Keyterms(["cab"], STRENGTH), ["<s>", "</s>", MARK + "abc", MARK + "cab"])

    def best(bias):
        return search(TableDecoder(table), start=0, end=1, max_tokens=5, settings=SearchSettings(beam=2), bias=bias)

    assert best(None).tokens == (2,)
    found = best(TermBias(graph))
    assert found.tokens == (3,)
    assert found.score == pytest.approx(math.log(0.4))
    assert found.bonus == pytest.approx(1.5)


def test_terms_that_the_best_biased_hypothesis_lacks_leave_the_plain_one():
    """The term's beginning is likelier with its bonus, so that a beam of one follows it, in vain."""
    names = ["<s>", "</s>", MARK + "ab", MARK + "b", "c", "a"]
    table = fixed(
        {(): [0, 0, 0.4, 0.6, 0, 0], (2,): [0, 0, 0, 0, 0, 1], (2, 5): [0, 1, 0, 0, 0, 0], (3,): [0, 1, 0, 0, 0, 0]}
    )
    graph = TermGraph(Keyterms(["abcc"], STRENGTH), names)
    found = search(
        TableDecoder(table), start=0, end=1, max_tokens=5, settings=SearchSettings(beam=1), bias=TermBias(graph)
    )
    assert (found.tokens, found.unbiased) == ((3,), (3,))


@pytest.mark.parametrize(
    ("plain", "is_complete", "bonus", "loss", "accepted"),
    [
        ("c", True, 1.0, 0.8, True),
        ("c", True, 1.0, 1.2, False),
        ("c", True, 0.0, 0.0, False),
        ("c", False, 1.0, 0.0, False),
        ("ab", True, 1.0, 0.0, False),
    ],
)
def test_only_a_likely_hypothesis_with_more_terms_that_ends_is_accepted(plain, is_complete, bonus, loss, accepted):
    without = Hypothesis(tuple(tokens_of(MARK + plain)), score=-5.0, is_complete=True)
    found = Hypothesis(bonus=bonus, score=-5.0 - loss, is_complete=is_complete)
    assert TermBias(graph_of("ab")).accepts(without, found) is accepted


def test_the_more_terms_the_likelier_a_hypothesis_must_be():
    shares = [accepted_share(count) for count in (1, 100, 1000, 10_000, 100_000)]
    assert shares == pytest.approx([1.1, 1.1, 0.9, 0.7, 0.5])


def test_a_hypothesis_that_leaves_a_term_gives_the_bonus_back():
    """The term begins with the likelier token's beginning, but no model goes on with it."""
    names = ["<s>", "</s>", MARK + "a", MARK + "b", "c", "d"]
    table = fixed(
        {(): [0, 0, 0.3, 0.7, 0, 0], (2,): [0, 0.5, 0, 0, 0, 0.5], (2, 5): [0, 1, 0, 0, 0, 0], (3,): [0, 1, 0, 0, 0, 0]}
    )
    found = search(
        TableDecoder(table),
        start=0,
        end=1,
        max_tokens=5,
        settings=SearchSettings(beam=4, length_exponent=0.0),
        bias=TermBias(TermGraph(Keyterms(["acc"], STRENGTH), names)),
    )
    assert (found.tokens, found.bonus) == ((3,), pytest.approx(0.0))


def ctc_frames(*rows):
    return np.log(np.array(rows, np.float32) / np.sum(rows, axis=1, keepdims=True))


def test_a_ctc_beam_prefers_a_term():
    names = [MARK + "a", "b", "c"]
    frames = ctc_frames([0.9, 0.02, 0.02, 0.06], [0.02, 0.5, 0.3, 0.18], [0.02, 0.02, 0.02, 0.94])
    assert beam_search.search(frames, names, 3, None) == (0, 1)
    for term, expected in (("ac", (0, 2)), ("acc", (0, 1)), ("zz", (0, 1))):
        graph = TermGraph(Keyterms([term], STRENGTH), names)
        assert beam_search.search(frames, names, 3, None, terms=graph) == expected


def test_a_missed_word_of_a_bundled_recording_is_right_with_its_term(bundle):
    """ "in Cuban waters for maneuvers" of the guard set, where the model writes "from Ubers"."""
    audio = next(one.samples for one in guard_set() if "Cuban waters" in one.transcript)
    assert "maneuvers" not in Transcriber(bundle).transcribe(audio, SAMPLE_RATE).text
    helped = Transcriber(bundle, options=DecodingOptions(keyterms=["maneuvers"])).transcribe(audio, SAMPLE_RATE)
    assert "maneuvers" in helped.text
    assert all(0 < word.confidence <= 1 for word in helped.words)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "recording", "term"),
    [
        ("cv-us", "audio/common_voice_en_37234748.mp3", "Huesca"),
        ("cv-us", "audio/common_voice_en_37106374.mp3", "Jurisprudence"),
        ("cv-us", "audio/common_voice_en_37237246.mp3", "candelilla"),
        ("telephone-prompts", "audio/privacy-to-blacklist-last-caller.flac", "caller"),
    ],
)
def test_a_missed_rare_word_is_right_with_its_list_of_100_terms(bundle, transcriber, corpus, name, recording, term):
    folder = corpus(name).parent
    lines = map(json.loads, (folder / "keyterms.jsonl").read_text("utf-8").splitlines())
    terms = next(line["terms"] for line in lines if line["audio"] == recording)
    assert len(terms) == 100
    audio = read(folder / recording)
    biased = Transcriber(bundle, options=DecodingOptions(keyterms=terms))
    assert term.lower() not in basic(transcriber.transcribe(audio, SAMPLE_RATE).text).split()
    assert term.lower() in basic(biased.transcribe(audio, SAMPLE_RATE).text).split()
