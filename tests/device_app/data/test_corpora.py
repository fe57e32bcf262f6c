import json

import pytest

from device_app.data.corpora import find_utterances
from device_app.data.importing import is_all_capitals
from device_app.data.utterance import Utterance
from editing.errors import BadInputError


def write(folder, contents):
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


CORPORA = {
    "manifest": (
        {
            "m.jsonl": (
                '{"audio_filepath": "a.wav", "text": "one", "duration": 1}\n'
                '{"audio": "b.wav", "text": "", "split": "test"}\n'
            )
        },
        "m.jsonl",
        [("a.wav", "one", None, None, False), ("b.wav", None, None, None, True)],
    ),
    "Common Voice release": (
        {
            "validated.tsv": (
                "client_id\tpath\tsentence\taccents\n"
                'abcdefghijklmnop\tone.mp3\tHe said "hi.\tScottish English\n'
                "q\ttwo.mp3\tHello\t\n"
            ),
            "clips/one.mp3": "",
        },
        ".",
        [
            ("clips/one.mp3", 'He said "hi.', "abcdefghijkl", "Scottish English", False),
            ("clips/two.mp3", "Hello", "q", "unknown accent", False),
        ],
    ),
    "audiofolder": (
        {"metadata.csv": 'file_name,transcription\naudio/a.wav,"Hello, you"\n'},
        ".",
        [("audio/a.wav", "Hello, you", None, None, False)],
    ),
    "LibriSpeech tree": (
        {"19/198/19-198.trans.txt": "19-198-0001 NORTHANGER ABBEY\n19-198-0002 THIS LITTLE WORK\n"},
        ".",
        [
            ("19/198/19-198-0001.flac", "NORTHANGER ABBEY", "19", None, False),
            ("19/198/19-198-0002.flac", "THIS LITTLE WORK", "19", None, False),
        ],
    ),
    "folder of recordings and texts": (
        {
            "a.wav": "",
            "a.txt": "\N{ZERO WIDTH NO-BREAK SPACE}one\ntwo\n",
            "deep/b.flac": "",
            "notes.txt": "no recording",
        },
        ".",
        [("a.wav", "one two", None, None, False), ("deep/b.flac", None, None, None, False)],
    ),
}


@pytest.mark.parametrize("kind", CORPORA)
def test_a_corpus_is_recognised_by_its_files(tmp_path, kind):
    contents, start, expected = CORPORA[kind]
    write(tmp_path, contents)
    found_kind, found = find_utterances(tmp_path / start)
    assert found_kind == kind
    assert [(one.audio, one.text, one.speaker, one.domain or None, one.is_held_out) for one in found] == [
        (tmp_path / name, *rest) for name, *rest in expected
    ]


def test_audiofolder_may_be_json_lines(tmp_path):
    write(tmp_path, {"metadata.jsonl": json.dumps({"file_name": "a.wav", "transcription": "one"})})
    (found,) = find_utterances(tmp_path)[1]
    assert (found.audio, found.text) == (tmp_path / "a.wav", "one")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "nothing to import"),
        ({"a.wav": ""}, "nothing to import"),
        ({"metadata.csv": "file,transcription\na.wav,x\n"}, "column file_name is missing"),
        ({"metadata.csv": "file_name,words\na.wav,x\n"}, "line 2: has no column transcription"),
        ({"metadata.csv": "file_name,transcription\n../a.wav,x\n"}, "line 2: ../a.wav climbs out"),
        ({"metadata.csv": "file_name,transcription\n"}, "without recordings"),
        ({"metadata.csv": "\x00"}, "column file_name is missing|line contains NUL"),
        ({"train.tsv": "path\tsentence\na\tb\n", "clips/a": ""}, "column client_id is missing"),
        ({"train.tsv": "client_id\tpath\tsentence\nx\t../../a\tb\n", "clips/a": ""}, "climbs out"),
        ({"train.tsv": "client_id\tpath\tsentence\nx\n", "clips/a": ""}, "too few columns"),
        ({"1/1.trans.txt": "../../../etc/passwd WORDS\n"}, "climbs out"),
        ({"metadata.jsonl": '{"text": "x"}'}, 'has no "audio"'),
    ],
)
def test_a_corpus_that_is_not_as_it_should_be(tmp_path, contents, message):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder, contents)
    with pytest.raises(BadInputError, match=message):
        find_utterances(folder)


def test_binary_tables_and_missing_paths(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInputError, match="cannot be read as text"):
        find_utterances(tmp_path)
    with pytest.raises(BadInputError, match="no such file"):
        find_utterances(tmp_path / "none")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(["ALL OF", "IT'S", None], True), (["NASA", "Not all"], False), ([None, "123"], False), ([], False)],
)
def test_capitals_are_noticed(tmp_path, texts, expected):
    assert is_all_capitals([Utterance(audio=tmp_path, text=text) for text in texts]) == expected
