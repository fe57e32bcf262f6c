import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from device_app.data.terms import Replacement
from device_app.recognition.replacements import Replacer
from device_app.recognition.results import TranscriptSegment, Word
from editing.errors import BadInputError


def segment(text):
    words = [Word(word, float(i), i + 0.5, 0.9) for i, word in enumerate(text.split())]
    return TranscriptSegment(0.0, float(len(words)), " ".join(text.split()), words)


def replaced(text, *rules):
    found = Replacer([Replacement(*rule) for rule in rules])(segment(text))
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("my github page", ("github", "GitHub"), "my GitHub page"),
        ("Zero six one.", ("zero six one", "061"), "061."),
        ("call zero, six, one, now", ("zero six one", "061"), "call 061, now"),
        ("it is zero. Six one", ("zero six one", "061"), "it is zero. Six one"),
        ('he said "github"', ("github", "GitHub"), 'he said "GitHub"'),
        ("the githubs", ("github", "GitHub"), "the githubs"),
        ("ungithub", ("github", "GitHub"), "ungithub"),
        ("zero six", ("zero six one", "061"), "zero six"),
        ("U.S. law", ("u.s.", "US"), "US. law"),
        ("Um, hello there", ("um", ""), "Hello there"),
        ("hello, um, there", ("um", ""), "hello, there"),
        ("Yes, um.", ("um", ""), "Yes."),
        ("Yes. Um. Hello", ("um", ""), "Yes. Hello"),
        ("Yes. Um, hello", ("um", ""), "Yes. Hello"),
        ('"Um, hello"', ("um", ""), '"Hello"'),
        ("um um", ("um", ""), None),
        ("the api", ("api", "web API"), "the web API"),
    ],
)
def test_words_are_replaced_with_their_punctuation_kept(text, rule, expected):
    assert replaced(text, rule) == expected


def test_replacements_are_applied_in_their_order():
    first, second = ("zero six", "06"), ("zero", "0")
    assert replaced("zero six zero", first, second) == "06 0"
    assert replaced("zero six zero", second, first) == "0 six 0"
    assert replaced("a", ("a", "b"), ("b", "c")) == "c"


def test_words_keep_the_time_of_what_they_replace():
    found = Replacer([Replacement("one two", "twelve"), Replacement("three", "number three now")])(
        segment("zero one two three")
    )
    assert [(word.text, word.start_s, word.end_s) for word in found.words] == [
        ("zero", 0.0, 0.5),
        ("twelve", 1.0, 2.5),
        ("number", 3.0, pytest.approx(3 + 0.5 * 6 / 14)),
        ("three", pytest.approx(3 + 0.5 * 6 / 14), pytest.approx(3 + 0.5 * 11 / 14)),
        ("now", pytest.approx(3 + 0.5 * 11 / 14), 3.5),
    ]
    assert all(word.confidence == pytest.approx(0.9) for word in found.words)
    assert (found.raw_text, found.decoded_text) == ("zero one two three",) * 2


def test_without_a_match_the_segment_is_the_same():
    one = segment("hello there")
    assert Replacer([Replacement("github", "GitHub")])(one) is one
    assert Replacer([])(one) is one
    assert one.raw_text is None


words = st.text("abcABC", min_size=1, max_size=3)
texts = st.lists(st.builds(str.__add__, words, st.sampled_from(["", ",", ".", "?"])), min_size=1, max_size=8).map(
    " ".join
)
patterns = st.lists(words, min_size=1, max_size=3).map(" ".join)


@given(text=texts, pattern=patterns, new=st.lists(words, max_size=3).map(" ".join))
def test_a_second_time_changes_nothing(text, pattern, new):
    known = {*pattern.lower().split()}
    # A pattern of several words may match again where the new text meets its neighbours; see the order of rules.
    assume(len(known) == len(pattern.split()) == 1 or not known & {*new.lower().split()})
    once = replaced(text, (pattern, new))
    assert once is None or replaced(once, (pattern, new)) == once


@given(text=texts, pattern=patterns, new=words)
def test_the_case_of_the_text_and_of_the_pattern_does_not_matter(text, pattern, new):
    one, other = replaced(text.lower(), (pattern, new)), replaced(text.upper(), (pattern.upper(), new))
    assert one.lower() == other.lower()


@given(text=texts, pattern=words, new=words)
def test_only_whole_words_are_replaced(text, pattern, new):
    before, after = text.split(), replaced(text, (pattern, new)).split()
    assert len(before) == len(after)
    for old, now in zip(before, after, strict=True):
        bare = old.rstrip(",.?")
        assert now == (new + old[len(bare) :] if bare.lower() == pattern.lower() else old)


@given(text=texts, rules=st.lists(st.tuples(patterns, st.lists(words, max_size=3).map(" ".join)), max_size=4))
def test_times_stay_in_order_and_within_the_segment(text, rules):
    found = Replacer([Replacement(*rule) for rule in rules])(segment(text))
    if found is not None:
        times = [time for word in found.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert found.text == " ".join(word.text for word in found.words)
        assert 0 <= times[0] <= times[-1] <= found.end_s


@pytest.mark.parametrize(
    "rule", [("", "a"), ("...", "a"), ("a -", "b"), ("a" * 101, "b"), ("a", "b" * 101), ("a\u202e", "b")]
)
def test_what_cannot_be_replaced_is_refused(rule):
    with pytest.raises(BadInputError):
        Replacement(*rule)


def test_a_joiner_is_part_of_a_word():
    persian = "\u0645\u06cc\N{ZERO WIDTH NON-JOINER}\u062e\u0648\u0627\u0647\u0645"
    assert Replacement("mi khaham\N{ZERO WIDTH JOINER}", persian).text == persian
    assert Replacement("mi khaham\N{ZERO WIDTH JOINER}", persian).pattern == "mi khaham"
