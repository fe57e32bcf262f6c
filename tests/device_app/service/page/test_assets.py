"""The files of the page: all that it needs is in the package, unchanged, and it has a text for everything."""

import hashlib
import json
import re

import pytest

from device_app.service.page.assets import STATIC
from device_app.service.security import COOKIE, Access

OWN = [path for path in sorted(STATIC.rglob("*.js")) if "vendored" not in path.parts]
TEXTS = json.loads((STATIC / "strings.en.json").read_text("utf-8"))


def test_the_page_and_its_files_are_served(serve, client):
    url = serve()
    page = client.get(url)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    for path in set(re.findall(r"/page/static/[\w./-]+", page.text)):
        assert client.get(url + path).status_code == 200, path
    assert client.get(url).headers["content-security-policy"] != policy  # another nonce
    style = client.get(f"{url}/page/static/page.css")
    again = client.get(f"{url}/page/static/page.css", headers={"If-None-Match": style.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_else_is_served(serve, client):
    url = serve()
    for path in ("../assets.py", "..%2Fassets.py", "vendored/../../assets.py", "", "js", "%00", "/etc/passwd"):
        assert client.get(f"{url}/page/static/{path}").status_code in (400, 404), path


def test_imports_of_the_page_exist():
    for path in OWN:
        for name in re.findall(r"(?:from|import) ?\(?[\"'`]([./][^\"'`$]+)[\"'`]", path.read_text("utf-8")):
            target = STATIC / name.removeprefix("/page/static/") if name.startswith("/") else path.parent / name
            assert target.is_file(), (path, name)


def test_vendored_files_are_those_of_the_registry():
    record = json.loads((STATIC / "vendored" / "vendored.json").read_text("utf-8"))
    for name, entry in record.items():
        folder = STATIC / "vendored" / name
        if not folder.is_dir():  # of tests
            continue
        assert {path.name for path in folder.iterdir()} == set(entry["files"])
        for file, expected in entry["files"].items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == expected, file


def used_texts():
    whole = "\n".join(path.read_text("utf-8") for path in OWN) + (STATIC / "index.html").read_text("utf-8")
    return set(re.findall(r"[\"'`]([a-z]+(?:[. ][a-z ]+)*)[\"'`]", whole)) | {
        f"{start}{end.removeprefix(start)}"
        for start in re.findall(r"`([a-z.]+\.)\$\{", whole)
        for end in TEXTS
        if end.startswith(start)
    }


def test_there_is_a_text_for_every_key_and_a_use_for_every_text():
    whole = "\n".join(path.read_text("utf-8") for path in OWN if path.name != "strings.js")
    asked = set(re.findall(r"\bt\(\"([^\"]+)\"", whole))
    assert asked <= set(TEXTS)
    assert {key.removesuffix(".one") for key in TEXTS} - used_texts() == set()


@pytest.mark.parametrize("word", ["domain", "lambda", "WER", "utterance", "epoch", "edit"])
def test_words_of_the_field_are_only_under_details(word):
    for key, text in TEXTS.items():
        if not key.startswith("details."):
            assert not re.search(rf"\b{word}s?\b", text, re.IGNORECASE), key


def test_the_program_has_one_name_in_all_texts():
    for key, text in TEXTS.items():
        assert not re.search(r"recogniser|service|this program", text, re.IGNORECASE), key


def test_a_token_is_taken_only_over_tls(serve, client):
    url = serve()
    answer = client.post(f"{url}/page/sign-in", json={"token": "asr-edge-x"})
    assert answer.status_code == 400
    assert COOKIE not in answer.cookies


def test_without_a_token_only_the_page_itself_is_shown(serve, client, tmp_path):
    from device_app.service.app import PUBLIC
    from device_app.service.clients import Clients

    url = serve(Access(clients=Clients(tmp_path / "service"), public=PUBLIC))
    assert client.get(url).status_code == 200
    assert client.get(f"{url}/page/static/page.css").status_code == 200
    for path in ("words", "task", "history", "learning", "utterances"):
        assert client.get(f"{url}/page/api/{path}", headers={"X-Asr-Edge-Model": "asr-edge"}).status_code == 401
