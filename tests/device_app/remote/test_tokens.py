"""Tokens are stored only as hashes."""

import io
from pathlib import Path

import pytest

from device_app.remote.tokens import find_owner, hash_token, make_token, read_token
from editing.errors import BadInputError


def test_tokens_are_unique_and_not_contained_in_their_hashes():
    one, other = make_token(), make_token()
    assert one != other
    assert one.startswith("asr-edge-")
    assert hash_token(one) != hash_token(other)
    assert one not in hash_token(one)


def test_only_a_valid_token_has_an_owner():
    tokens = {make_token(): name for name in ("phone", "laptop", "robot")}
    hashes = [(hash_token(token), name) for token, name in tokens.items()]
    assert [find_owner(token, hashes) for token in tokens] == ["phone", "laptop", "robot"]
    assert find_owner(make_token(), hashes) is None
    assert find_owner(hash_token(next(iter(tokens))), hashes) is None  # the stored hash is not a valid token
    assert find_owner("", hashes) is None
    assert find_owner("é\ud800".encode("utf-8", "ignore").decode(), hashes) is None


def test_a_token_comes_from_the_first_line_of_a_file(tmp_path):
    (tmp_path / "token").write_text(" asr-edge-abc \nnot this\n")
    assert read_token(tmp_path / "token") == "asr-edge-abc"


def test_a_token_comes_from_standard_input_or_is_asked_for_without_showing_it(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("asr-edge-abc\n"))
    assert read_token(Path("-")) == "asr-edge-abc"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "asr-edge-typed")
    assert read_token(Path("-")) == "asr-edge-typed"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", "é\n".encode(), b"\x1b[31m\n", b"\xff\n", b"x" * 5000])
def test_what_is_not_a_token_is_refused(content, tmp_path):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(BadInputError, match="nothing was changed"):
        read_token(tmp_path / "token")
