import json
import stat
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.data.terms import (
    Replacement,
    Term,
    TermList,
    change_terms,
    normalise_term,
    read_terms,
    stored_terms,
    written_terms,
)
from device_app.recognition.keyterms.terms import Keyterms
from editing.errors import BadInputError, StorageError


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def add(*texts, weight=1.0, origin="added"):
    change_terms(lambda listed: listed.with_terms([Term(text, weight) for text in texts], origin))


def test_the_list_is_there_the_next_time_and_only_its_owner_can_read_it(empty_home):
    add("Lawnswood", "Hertford College")
    assert [term.text for term in stored_terms().terms] == ["Lawnswood", "Hertford College"]
    assert stat.S_IMODE((empty_home / "terms.json").stat().st_mode) == 0o600


def test_a_term_that_is_there_gets_the_new_spelling_and_weight_and_keeps_its_origin(empty_home):
    add("lawnswood", "Leeds", origin="imported")
    add("Lawnswood", weight=2.0)
    first, _ = stored_terms().terms
    assert (first.text, first.weight, first.origin) == ("Lawnswood", 2.0, "imported")


def test_a_term_is_removed_in_any_case(empty_home):
    add("Lawnswood", "Leeds")
    assert [term.text for term in stored_terms().without(["LAWNSWOOD"]).terms] == ["Leeds"]
    with pytest.raises(BadInputError, match="'Oxford' is not in the list"):
        stored_terms().without(["Leeds", "Oxford"])


def test_an_error_in_the_block_leaves_the_list_as_it_was(empty_home):
    add("Leeds")
    before = (empty_home / "terms.json").read_bytes()
    with pytest.raises(BadInputError):
        change_terms(lambda listed: listed.without(["Oxford"]))
    assert (empty_home / "terms.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format_version": 0, "terms": []}', '{"format_version": 1, "terms": [{"text": 5}]}']
)
def test_a_damaged_list_is_reported_with_the_remedy(empty_home, text):
    empty_home.mkdir()
    (empty_home / "terms.json").write_text(text)
    with pytest.raises(StorageError, match=r"terms\.json: the list of terms is damaged .*--no-terms"):
        stored_terms()


letters = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30)


@given(
    terms=st.lists(
        st.builds(Term, letters, st.floats(0.01, 10).map(lambda weight: float(f"{weight:g}"))),
        max_size=5,
    ),
    replacements=st.lists(st.builds(Replacement, letters, st.text("ab ->", max_size=9)), max_size=5),
)
def test_what_is_exported_is_what_is_imported(tmp_path_factory, terms, replacements):
    path = tmp_path_factory.mktemp("terms") / "terms.txt"
    path.write_text(written_terms(terms, replacements), "utf-8")
    assert read_terms(path) == (terms, replacements)


def test_comments_and_empty_lines_are_no_terms(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_bytes("\ufeff# of the clinic\n\nHuesca\t2\r\n  Hertford   College \num\t->\na b\t-> ab\n".encode())
    assert read_terms(path) == (
        [Term("Huesca", 2.0), Term("Hertford College")],
        [Replacement("um", ""), Replacement("a b", "ab")],
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"Huesca\tmuch", "line 2: 'much' is not a weight"),
        (b"Huesca\t-1", "line 2: a weight of -1"),
        (b"Huesca\tnan", "line 2: a weight of nan"),
        (b"...", "line 2: .* no letter and no digit"),
        (b"a" * 101, "line 2: a term of 101 characters"),
        (b"a\x1bb", r"line 2: the term has the character '\\x1b'"),
        (b"...\t-> a", "line 2: .* each word needs a letter"),
        (b"\t2", "line 2: it begins with a tab"),
        (b"\t-> 2", "line 2: it begins with a tab"),
        (b"M\xfcnchen", "line 2 is not UTF-8; convert the file, for instance: iconv -f ISO-8859-1 -t UTF-8"),
    ],
)
def test_a_faulty_file_is_reported_with_its_line(tmp_path, line, message):
    path = tmp_path / "terms.txt"
    path.write_bytes(b"Leeds\n" + line + b"\n")
    with pytest.raises(BadInputError, match=message):
        read_terms(path)
    with pytest.raises(BadInputError, match="cannot be read as text"):
        read_terms(tmp_path / "missing.txt")


def test_a_file_in_another_encoding_is_reported_with_the_remedy(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_bytes("München\n".encode("utf-16"))
    with pytest.raises(BadInputError, match="iconv -f UTF-16 -t UTF-8"):
        read_terms(path)


def test_tabs_at_the_end_of_a_line_are_ignored(tmp_path):
    path = tmp_path / "terms.txt"
    path.write_bytes(b"Leeds\t\r\nHuesca\t2\t\t\r\n\t\r\num\t->\t\r\n")
    found, replacements = read_terms(path)
    assert [(one.text, one.weight) for one in found] == [("Leeds", 1.0), ("Huesca", 2.0)]
    assert [(one.pattern, one.text) for one in replacements] == [("um", "")]


def test_the_file_has_its_format_version(empty_home):
    add("Leeds")
    record = json.loads((empty_home / "terms.json").read_text())
    assert record["format_version"] == 1
    assert record["terms"][0].keys() == {"text", "weight", "origin", "added"}


def test_whether_corrections_add_terms_is_kept(empty_home):
    assert stored_terms().from_corrections
    change_terms(lambda listed: replace(listed, from_corrections=False))
    add("Leeds")
    assert not stored_terms().from_corrections
    assert not stored_terms().without(["Leeds"]).from_corrections


def test_an_exported_list_is_read_as_it_was(tmp_path):
    terms = [Term("#1"), Term("Leeds", 1.23456789), Term("Huesca", 2.0)]
    replacements = [Replacement("#2", "number two"), Replacement("um", "")]
    (path := tmp_path / "list.txt").write_text(written_terms(terms, replacements))
    assert read_terms(path) == (terms, replacements)
    assert "Huesca\t2\n" in path.read_text()


def test_replacements_are_taken_out_together_or_not_at_all():
    listed = TermList(replacements=[Replacement("a", "b"), Replacement("c", "d")])
    assert [one.pattern for one in listed.without_replacements(["A", "a"]).replacements] == ["c"]
    with pytest.raises(BadInputError, match="'x' is not in the list of replacements"):
        listed.without_replacements(["a", "x"])


def test_a_list_has_an_end():
    with pytest.raises(BadInputError, match="100001 terms"):
        TermList().with_terms(Term(f"t{number}") for number in range(100_001))


def test_replacements_keep_their_order_and_each_pattern_is_there_once(empty_home):
    change_terms(lambda listed: listed.with_replacements([Replacement("a", "b"), Replacement("c", "d")]))
    change_terms(lambda listed: listed.with_replacements([Replacement("e", "f")], 1))
    change_terms(lambda listed: listed.with_replacements([Replacement("A", "g")], 2))
    assert [(one.pattern, one.text) for one in stored_terms().replacements] == [("e", "f"), ("A", "g"), ("c", "d")]
    assert [one.pattern for one in stored_terms().without_replacements(["C"]).replacements] == ["e", "A"]
    with pytest.raises(BadInputError, match="'x' is not in the list of replacements"):
        stored_terms().without_replacements(["a", "x"])


def test_a_list_of_an_earlier_version_has_no_replacements(empty_home):
    empty_home.mkdir()
    term = {"text": "Leeds", "weight": 1.0, "origin": "added", "added": "2026-11-26"}
    (empty_home / "terms.json").write_text(json.dumps({"format_version": 1, "terms": [term]}))
    assert stored_terms() == TermList([Term("Leeds", 1.0, "added", "2026-11-26")], True, [])


def test_a_list_of_a_later_version_and_an_unreadable_one_are_not_called_damaged(empty_home):
    empty_home.mkdir()
    (empty_home / "terms.json").write_text('{"format_version": 2, "terms": []}')
    with pytest.raises(StorageError, match=r"terms\.json: was written by a later version .*Update asr-edge"):
        stored_terms()
    (empty_home / "terms.json").unlink()
    (empty_home / "terms.json").mkdir()
    with pytest.raises(StorageError, match=r"terms\.json: cannot be read"):
        stored_terms()


@pytest.mark.parametrize("text", ["Ge\u0301rard", "\u1112\u1161\u11ab\u1100\u1173\u11af", "Cafe\u0301 Zoe\u0308"])
def test_a_term_and_a_replacement_with_decomposed_letters_match_the_composed_ones(text):
    composed = unicodedata.normalize("NFC", text)
    assert Term(text).text == composed
    assert Term(text).key == Term(composed).key
    assert Replacement(text, text) == Replacement(composed, composed)
    assert Keyterms([text]).found_in(composed) == [normalise_term(composed)]
    assert Keyterms([composed]).found_in(text) == [normalise_term(composed)]


def test_a_list_that_has_both_forms_of_a_term_has_it_once(empty_home):
    add("\xe9clair", "Leeds")
    path = empty_home / "terms.json"
    record = json.loads(path.read_text())
    record["terms"].append({**record["terms"][0], "text": "e\u0301clair"})
    path.write_text(json.dumps(record))
    assert [term.text for term in stored_terms().terms] == ["\xe9clair", "Leeds"]
