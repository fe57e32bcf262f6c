"""Tokens are stored only as hashes."""

from device_app.remote.tokens import find_owner, hash_token, make_token


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
