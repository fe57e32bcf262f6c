"""Tokens: known by their hashes alone."""

from device_app.remote.tokens import find_owner, hash_token, make_token


def test_tokens_differ_and_their_hashes_do_not_show_them():
    one, other = make_token(), make_token()
    assert one != other
    assert one.startswith("asr-edge-")
    assert hash_token(one) != hash_token(other)
    assert one not in hash_token(one)


def test_a_token_leads_to_its_owner_and_any_other_to_nobody():
    tokens = {make_token(): name for name in ("phone", "laptop", "robot")}
    hashes = [(hash_token(token), name) for token, name in tokens.items()]
    assert [find_owner(token, hashes) for token in tokens] == ["phone", "laptop", "robot"]
    assert find_owner(make_token(), hashes) is None
    assert find_owner(hash_token(next(iter(tokens))), hashes) is None  # what is stored lets nobody in
    assert find_owner("", hashes) is None
    assert find_owner("é\ud800".encode("utf-8", "ignore").decode(), hashes) is None
