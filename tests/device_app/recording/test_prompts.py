import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.recording.prompts import built_in_prompts, hardest_first, read_prompts
from editing.errors import BadInputError

PROMPTS = ["red lorry", "yellow lorry", "green van"]


def test_the_built_in_prompts_cover_all_letters():
    prompts = read_prompts()
    assert len(prompts) >= 100
    letters = set("".join(prompts).lower())
    assert letters >= set("abcdefghijklmnopqrstuvwxyz")


def test_other_languages_have_no_built_in_prompts():
    assert built_in_prompts("en").is_file()
    with pytest.raises(BadInputError, match=r"no built-in prompts for the language 'ja': .*asr-edge record FILE"):
        built_in_prompts("ja")


def test_empty_lines_and_duplicates_are_ignored(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfOne.\r\n\r\n  Two   words. \n\xe2\x80\x8c \n\xe2\x80\x8d\nOne.\n")  # joiners
    assert read_prompts(path) == ["One.", "Two words."]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x00\xff\xfe\x01\x80", "UTF-8"),
        (b"\n\n", "has no prompts"),
        (b"\n\xe2\x80\x8c\n", "has no prompts"),
        (b"fine\n" + b"x" * 10_000, "line 2: a text of 10000 characters"),
        ("fine\nhid\u202eden".encode(), "cannot be seen"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=reason) as raised:
        read_prompts(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="No such file"):
        read_prompts(tmp_path / "none.txt")


def test_a_path_with_a_null_byte_and_a_file_that_is_too_large_are_refused(tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match="null byte"):
        read_prompts(tmp_path / "a\0b.txt")
    path = tmp_path / "prompts.txt"
    path.write_text("One.\n" * 10)
    monkeypatch.setattr("device_app.recording.prompts.MAX_BYTES", 49)
    with pytest.raises(BadInputError, match="larger than 49 bytes"):
        read_prompts(path)


def test_prompts_keep_their_order_without_a_history():
    assert hardest_first(PROMPTS, []) == PROMPTS


def test_prompts_with_misrecognised_words_come_first():
    history = [("a yellow house", "a fellow house"), ("red", "red"), ("a van", "a van")]
    assert hardest_first(PROMPTS, history)[0] == "yellow lorry"


def test_a_word_that_is_recognised_repeatedly_loses_priority():
    history = [("yellow", "fellow"), *[("yellow", "yellow")] * 9, ("green", "grin")]
    assert hardest_first(PROMPTS, history)[0] == "green van"


@given(st.lists(st.sampled_from(PROMPTS)), st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5))
def test_ordering_keeps_every_prompt(prompts, history):
    assert sorted(hardest_first(prompts, history)) == sorted(prompts)
