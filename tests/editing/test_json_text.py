import json

import pytest

from editing.errors import StorageError, one_line
from editing.json_text import (
    JSONTextError,
    check_format_version,
    is_number,
    is_scores,
    is_whole_number,
    parse_json,
    read_json,
    shown,
)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, b"\xff", '{"a": 1} x', "\ufeff[]", "\0"],
    ids=lambda text: repr(text)[:20],
)
def test_every_fault_raises_the_same_error(text, strict):
    with pytest.raises(JSONTextError) as raised:
        parse_json(text, strict=strict)
    assert len(str(raised.value)) < 200
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', "NaN", "[Infinity]", "-Infinity", "1e999", '"\\ud83d"', '{"\\uDC00": 1}', '["\\ud83dx"]'],
)
def test_strict_mode_refuses_json_that_our_records_never_contain(text):
    parse_json(text)
    with pytest.raises(JSONTextError):
        parse_json(text, strict=True)


@pytest.mark.parametrize(
    "value",
    [{}, [], None, True, 0, -1.5, 1e308, "é\n😀", {"a": [{"b": {}}]}, 10**4000],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_written_json_is_read_back(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, strict=True) == parse_json(text.encode()) == value


def test_a_file_above_the_size_limit_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_json(tmp_path / "a.json", max_bytes=6) == [1, 2]
    with pytest.raises(JSONTextError, match="larger than 5 bytes"):
        read_json(tmp_path / "a.json", max_bytes=5)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json")


def test_booleans_are_not_numbers():
    assert not any(is_whole_number(value) for value in (True, -1, 1.0, "1", None, 1 << 54))
    assert not any(is_number(value) for value in (True, "1", None, float("nan"), float("inf"), 10**400))
    assert not any(is_scores(value) for value in ([], {"a": True}, {"a": None}, {"a": float("nan")}))
    assert is_whole_number(0)
    assert is_number(-0.5)
    assert is_scores({"a": 1})


def test_displayed_values_are_short_and_on_one_line():
    assert one_line("a\nb\x1b[31m\ud800", 50) == r"a\nb\x1b[31m\ud800"
    assert one_line("a" * 300, 10) == "a" * 10 + "..."
    assert shown([[]] * 3) == "a list of 3"
    assert shown("x\n") == r"'x\n'"


def test_a_later_format_version_is_not_damage(tmp_path):
    check_format_version({"format_version": 3}, 3, tmp_path)
    with pytest.raises(StorageError, match=r"format 4; this one reads 3.*Update asr-edge"):
        check_format_version({"format_version": 4}, 3, tmp_path)


@pytest.mark.parametrize("record", [{}, [], None, "text", *({"format_version": one} for one in (2, 0, True, 3.0, "4"))])
def test_no_format_version_or_one_that_never_existed_is_damage(tmp_path, record):
    with pytest.raises(JSONTextError, match="format version"):
        check_format_version(record, 3, tmp_path)
