import csv
import json
import os

import pytest

from device_app.data.corpora import find_utterances
from device_app.data.importing import is_all_capitals
from device_app.data.names import checked_name
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
    "Hugging Face audiofolder": (
        {"metadata.csv": 'file_name,transcription\naudio/a.wav,"Hello, you"\n'},
        ".",
        [("audio/a.wav", "Hello, you", None, None, False)],
    ),
    "LibriSpeech tree": (
        {
            "19/198/19-198.trans.txt": "19-198-0001 NORTHANGER ABBEY\n19-198-0002 THIS LITTLE WORK\n",
            "19/198/._19-198.trans.txt": "\x00\x05\x16\x07 of macOS",
        },
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


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ('text,file_name\n"Well, it is late,a.wav\nlet us go.",b.wav\n', "a.wav"),  # a text with a comma
        ('text,file_name,speaker\n"Well, it, is late,a.wav,s1\nlet us go.",b.wav,s2\n', "a.wav"),
        ('speaker,text,file_name\ns1,"Well, it is late,a.wav\ns2,let us go.",b.wav\n', "a.wav"),
        ('file_name,text,speaker\na.wav,"Well it is late\ngone.wav,let us go.",s1\n', "gone.wav"),  # no such file
        ('text,file_name\r\n"Well it is late,a.wav\r\nlet us go.",b.wav\r\n', "a.wav"),
        ('file_name,text\na,"hello\nb,lost"\nc,x\n', "b"),
        ('file_name,offset,duration,text\na.wav,0,1,"hello\na.wav,1,1,lost"\na.wav,2,1,third\n', "a.wav"),
    ],
)
def test_rows_inside_a_text_are_found_in_any_column(tmp_path, table, name):
    write(tmp_path, {"metadata.csv": table, "a.wav": "", "b.wav": "", "a": "", "b": "", "c": ""})
    with pytest.raises(BadInputError, match=f"line 2: a text of several lines names the recording {name}, so it may"):
        find_utterances(tmp_path)


def test_a_text_of_several_lines_may_name_other_recordings(tmp_path):
    rows = [
        ("a.wav", "first\nb.wav, the second"),
        ("./b.wav", "later, a.wav\nand, so on"),
        ("c.wav", 'please open d.wav\nor "b.wav"'),
    ]
    write(tmp_path, {name: "" for name, _ in rows})
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])
    assert [one.text for one in find_utterances(tmp_path)[1]] == [" ".join(text.split()) for _, text in rows]


def test_an_empty_text_does_not_hide_that_of_another_column(tmp_path):
    write(tmp_path, {"metadata.csv": "file_name,transcription,text\na.wav, ,one\nb.wav,two,other\nc.wav,,\n"})
    assert [one.text for one in find_utterances(tmp_path)[1]] == ["one", "two", None]


def test_audiofolder_may_be_json_lines(tmp_path):
    write(tmp_path, {"metadata.jsonl": json.dumps({"file_name": "a.wav", "transcription": "one"})})
    (found,) = find_utterances(tmp_path)[1]
    assert (found.audio, found.text) == (tmp_path / "a.wav", "one")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "nothing to import"),
        ({"notes.txt": "no recording"}, "nothing to import"),
        ({"metadata.csv": "file,transcription\na.wav,x\n"}, "column file_name is missing"),
        ({"metadata.csv": "file_name,words\na.wav,x\n"}, "line 2: has no column transcription"),
        ({"metadata.csv": "file_name,transcription\n../a.wav,x\n"}, "line 2: ../a.wav points outside"),
        ({"metadata.csv": "file_name,transcription\n"}, "without recordings"),
        ({"metadata.csv": "\x00"}, "column file_name is missing|line contains NUL"),
        ({"metadata.csv": "file_name,transcription\n,x\n"}, "line 2: '' cannot be the name"),
        ({"metadata.csv": "file_name,transcription\na\0.wav,x\n"}, "line 2: .*cannot be the name"),
        ({"metadata.csv": "file_name,transcription\na.wav,Hello, you\n"}, "line 2: has 3 cells, but the table has 2"),
        ({"metadata.csv": 'file_name,transcription\na.wav,x\nb.wav,"open\nc.wav,y\n'}, "line 3: .*never closed"),
        ({"metadata.csv": 'file_name,transcription\na.wav,"open\nb.wav,"x"\nc.wav,y\n'}, "line 2: .*never closed"),
        (
            {"metadata.csv": 'file_name,transcription\na.wav,"open\nb.wav,said"\nc.wav,y\n', "b.wav": ""},
            "line 2: a text of several lines names the recording [ab].wav, so it may contain the rows after",
        ),
        (
            {"metadata.csv": 'file_name,text,speaker\na.wav,"open,s1\nb.wav,said",s2\nc.wav,y,s3\n', "b.wav": ""},
            "line 2: a text of several lines names the recording [ab].wav, so it may contain the rows after",
        ),
        (
            {"metadata.csv": 'text,file_name,speaker\n"open,a.wav,s1\nsaid",b.wav,s2\nx,c.wav,s3\n', "a.wav": ""},
            "line 2: a text of several lines names the recording [ab].wav, so it may contain the rows after",
        ),
        ({"metadata.csv": 'file_name,transcription\na.wav,"' + "x" * 200_000}, "line 2: .*never closed"),
        ({"train.tsv": "path\tsentence\na\tb\n", "clips/a": ""}, "column client_id is missing"),
        ({"train.tsv": "client_id\tpath\tsentence\nx\t../../a\tb\n", "clips/a": ""}, "points outside"),
        ({"train.tsv": "client_id\tpath\tsentence\nx\n", "clips/a": ""}, "too few columns"),
        ({"1/1.trans.txt": "../../../etc/passwd WORDS\n"}, "points outside"),
        ({"metadata.jsonl": '{"text": "x"}'}, 'has no "audio"'),
        ({"train.tsv": "client_id\tpath\tsentence\nx\t/a\0\tb\n", "clips/a": ""}, "cannot be the name"),
    ],
)
def test_an_invalid_corpus_is_reported(tmp_path, contents, message):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder, contents)
    with pytest.raises(BadInputError, match=message):
        find_utterances(folder)


def test_binary_tables_and_missing_paths_are_reported(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInputError, match="cannot be read as text"):
        find_utterances(tmp_path)
    with pytest.raises(BadInputError, match="no such file"):
        find_utterances(tmp_path / "none")
    with pytest.raises(BadInputError, match="no such file"):
        find_utterances(tmp_path / ("x" * 5000))


def test_a_table_that_is_not_utf_8_is_reported_with_its_line(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"file_name,transcription\na.wav,cafe\nb.wav,caf\xe9\n")
    with pytest.raises(BadInputError, match="line 3 is not UTF-8; convert the file, for instance: iconv"):
        find_utterances(tmp_path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"metadata.csv": "file_name,text\n../other/a.wav,x\n"}, "points outside the folder; put the table beside the"),
        ({"metadata.jsonl": '{"file_name": "../a.wav"}'}, "line 1: ../a.wav points outside the folder; put the table"),
        ({"metadata.csv": "file_name,text,text\na.wav,x,y\n"}, "the column text occurs twice; rename or delete one"),
        ({"metadata.csv": "file_name,text,speaker\na.wav,Hello, you,\n"}, "line 2: has 4 cells, but .* 3 columns; put"),
        ({"metadata.csv": ""}, "metadata.csv: the file is empty"),
        ({"metadata.csv": "file_name;text\na.wav;x\n"}, "there are file_name;text.; put commas between the cells"),
        ({"x.tsv": "client_id\tpath\tsentence\tage\nx\ta\tHello\tyou\t\n"}, "line 2: has 5 cells.*; replace each tab"),
        ({"metadata.csv": "file_name,text,offset\na.wav,x,0:03\n"}, "line 2: \"offset\" is '0:03'; expected seconds"),
        (
            {"metadata.csv": "", "metadata.jsonl": ""},
            "has metadata.csv and metadata.jsonl; keep the one to read, or name",
        ),
        ({"in/metadata.csv": "", "in/METADATA.jsonl": ""}, "in: has metadata.csv and METADATA.jsonl; keep"),
        ({"metadata.csv/a.wav": ""}, "metadata.csv: is a folder, not a text file"),
        (
            {"a/metadata.csv": "file_name,text\n", "b/manifest.jsonl": "{}"},
            r"several corpora: a \(Hugging Face audiofolder\), b \(manifest\); import one at a time: .*/a$",
        ),
        (
            {f"{lang}/{name}": "" for lang in ("de", "en") for name in ("clips/a.mp3", "validated.tsv")},
            r"several corpora: de \(Common Voice release\), en \(Common Voice release\)",
        ),
    ],
)
def test_an_unclear_corpus_is_reported_with_a_remedy(tmp_path, contents, message):
    folder = tmp_path / "corpus"
    write(folder, contents)
    with pytest.raises(BadInputError, match=message):
        find_utterances(folder / "x.tsv" if "x.tsv" in contents else folder)


@pytest.mark.parametrize("name", ["metadata.csv", "manifest.jsonl", "validated.tsv", "a.trans.txt", "b.txt"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_text_that_is_no_file_is_reported_and_not_opened(tmp_path, name, make):
    write(tmp_path, {"clips/c.mp3": "", "b.wav": ""})
    make(tmp_path / name)
    if name == "a.trans.txt" and (tmp_path / name).is_dir():
        return
    with pytest.raises(
        BadInputError, match=rf"{name}: is a (pipe|link to a file that is missing|folder), not a text file"
    ):
        find_utterances(tmp_path if name != "b.txt" else tmp_path / "b.wav")
    if name == "b.txt":
        left_out = []
        find_utterances(tmp_path, left_out.append)
        assert "b.wav: " in left_out[0]


def splits_of(folder):
    return {one.text: one.split for one in find_utterances(folder)[1]}


@pytest.mark.parametrize("below", ["", "data/"])
@pytest.mark.parametrize("name", ["metadata.csv", "METADATA.CSV", "metadata.jsonl", "manifest.jsonl"])
def test_tables_in_folders_are_read_and_give_their_splits(tmp_path, below, name):
    for text, folder in (("one", "train"), ("two", "test"), ("three", "more")):
        line = f"file_name,text\n{text}.wav,{text}\n" if name.lower().endswith("csv") else ROW % (text, text)
        write(tmp_path, {f"{below}{folder}/{name}": line, f"{below}{folder}/{text}.wav": ""})
    write(tmp_path, {"four.wav": "", "four.TXT": "four"})
    assert splits_of(tmp_path) == {"one": "train", "two": "test", "three": "", "four": ""}


ROW = '{"file_name": "%s.wav", "text": "%s"}'


def test_the_folders_of_recordings_give_their_splits(tmp_path):
    write(
        tmp_path,
        {
            "metadata.csv": "file_name,text,split\ntrain/a.wav,one,\nclean/test/b.wav,two,\ntest/c.wav,three,train\n",
            "dev/metadata.csv": "file_name,text\nd.wav,four\n",
        },
    )
    assert splits_of(tmp_path) == {"one": "train", "two": "test", "three": "train", "four": "dev"}


def test_recordings_that_a_table_elsewhere_names_are_not_read_again(tmp_path):
    write(
        tmp_path, {"lists/manifest.jsonl": '{"audio": "../audio/a.wav", "text": "one"}', "audio/a.wav": "", "b.wav": ""}
    )
    assert texts_of(tmp_path) == ["one", None]


def test_the_only_common_voice_release_below_is_read(tmp_path):
    table = "client_id\tpath\tsentence\nx\ta.mp3\tone\n"
    write(tmp_path, {"cv/en/VALIDATED.TSV": table, "cv/en/Clips/a.mp3": ""})
    kind, found = find_utterances(tmp_path)
    assert (kind, [one.file for one in found]) == ("Common Voice release", [tmp_path / "cv/en/Clips/a.mp3"])


def test_a_list_that_is_not_read_is_named(tmp_path):
    write(tmp_path, {"a.wav": "", "list.jsonl": ROW % ("a", "one"), "log.csv": "time,level\n", "b.JSON": "{}"})
    left_out = []
    assert [one.text for one in find_utterances(tmp_path, left_out.append)[1]] == [None]
    path = tmp_path / "list.jsonl"
    assert left_out == [f"{path}: lists recordings and texts, but was not read; to read it: asr-edge import {path}"]


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        (
            "file_name\ttranscription",
            "call it metadata.csv, with the columns file_name and transcription",
        ),
        ("client_id\tpath\tsentence", "to read it: asr-edge import "),
    ],
)
def test_the_remedy_for_a_tsv_that_is_not_read_works(tmp_path, columns, remedy):
    write(tmp_path, {"a.wav": "", "metadata.tsv": f"{columns}\na.wav\tone\tx\n"})
    left_out = []
    find_utterances(tmp_path, left_out.append)
    assert left_out[0].startswith(
        f"{tmp_path / 'metadata.tsv'}: lists recordings and texts, but was not read; {remedy}"
    )


@pytest.mark.parametrize("name", ["list.jsonl", "metadata.csv", "validated.tsv", "a.wav", "fd"])
def test_a_pipe_is_not_opened_and_called_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInputError, match=r"is a pipe, and import reads files only; save it as a file first"):
        find_utterances(tmp_path / name)


def test_names_may_be_in_upper_case(tmp_path):
    write(tmp_path, dict.fromkeys(("a.wav", "B.WAV", "c.wav", "C.WAV", "d.wav"), ""))
    write(tmp_path, {"a.TXT": "one", "b.Txt": "two", "c.txt": "three", "d.txt": "four", "d.TXT": "five"})
    left_out = []
    found = find_utterances(tmp_path, left_out.append)[1]
    assert {one.file.name: one.text for one in found} == {
        "B.WAV": "two",
        "C.WAV": None,
        "a.wav": "one",
        "c.wav": "three",
    }
    assert left_out == [f"{tmp_path / 'd.wav'}: has several texts: d.TXT, d.txt; keep one of them"]
    assert find_utterances(tmp_path / "a.wav")[1][0].text == "one"
    write(tmp_path / "libri", {"1.TRANS.TXT": "1-1 ONE\n1-2 TWO\n1-3 THREE", "1-1.FLAC": "", "1-2.mp3": ""})
    assert [one.file.name for one in find_utterances(tmp_path / "libri")[1]] == ["1-1.FLAC", "1-2.mp3", "1-3.flac"]
    write(tmp_path, {"LIST.JSONL": ROW % ("a", "one"), "LIST.CSV": "File_Name,Text\na.wav,one\n"})
    assert texts_of(tmp_path / "LIST.JSONL") == texts_of(tmp_path / "LIST.CSV") == ["one"]


@pytest.mark.parametrize("name", ["metadata.csv", "train.tsv"])
def test_rows_may_select_parts_of_a_recording(tmp_path, name):
    rows = [["file_name", "text", "offset", "duration"], ["a.wav", "one", "", ""], ["a.wav", "two", "1.5", "2"]]
    if name == "train.tsv":
        rows = [["path", "sentence", "offset", "duration", "client_id"], *([*row, "x"] for row in rows[1:])]
    separator = "\t" if name == "train.tsv" else ","
    write(tmp_path, {name: "".join(separator.join(row) + "\n" for row in rows), "clips/a.wav": ""})
    found = find_utterances(tmp_path)[1]
    assert [(one.text, one.start, one.end) for one in found] == [("one", 0, None), ("two", 24_000, 56_000)]


def test_a_relative_path_may_lead_out_and_in_again(tmp_path):
    write(tmp_path, {"x/metadata.csv": "file_name,text\n../x/a.wav,one\n", "x/a.wav": ""})
    (tmp_path / "link").symlink_to("x")
    assert find_utterances(tmp_path / "x")[1][0].file == tmp_path / "x" / "a.wav"
    assert find_utterances(tmp_path / "link")[1][0].file == tmp_path / "link" / "a.wav"


def test_lines_of_a_table_may_all_end_in_cr(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b'file_name,text\ra.wav,one\rb.wav,"two\rthree"\r')
    assert texts_of(tmp_path) == ["one", "two three"]


def test_a_table_in_utf_16_is_recognised_by_its_mark(tmp_path):
    (tmp_path / "metadata.csv").write_bytes("file_name,transcription\na.wav,cafe\n".encode("utf-16"))
    with pytest.raises(BadInputError, match="iconv -f UTF-16 -t UTF-8"):
        find_utterances(tmp_path)


def texts_of(folder):
    return [one.text for one in find_utterances(folder)[1]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_text_in_quotation_marks_may_have_line_breaks(tmp_path, end, mark):
    table = (
        f'{mark}file_name,transcription{end}a.wav,"in service.{end}{end}Please, ""try"" again."{end}{end}b.wav,Two{end}'
    )
    (tmp_path / "metadata.csv").write_bytes(table.encode())
    assert texts_of(tmp_path) == ['in service. Please, "try" again.', "Two"]
    assert [one.location.rpartition(" ")[2] for one in find_utterances(tmp_path)[1]] == ["2", "6"]


@pytest.mark.parametrize("character", "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r")
def test_only_lf_and_crlf_end_a_line(tmp_path, character):
    head, row = "client_id\tpath\tsentence\taccents", "a\tc1.mp3\tOne sentence{}here.\tUS"
    contents = {
        "cv/validated.tsv": f"{head}\n{row.format(character)}\r\n{row.format(' ')}\n",
        "cv/clips/c1.mp3": "",
        "folder/metadata.csv": f"file_name,text\na.wav,One sentence{character}here.\na.wav,One sentence here.\n",
        "libri/1.trans.txt": f"1-1 One sentence{character}here.\n1-2 One sentence here.\n",
        "pairs/a.txt": f"One sentence{character}here.\n",
        "pairs/b.txt": "One sentence here.\n",
        "pairs/a.wav": "",
        "pairs/b.wav": "",
    }
    if character not in "\x0b\x0c\x1c\x1d\x1e\r":  # JSON escapes control characters
        contents["m.jsonl"] = f'{{"audio": "a.wav", "text": "One sentence{character}here."}}\n' * 2
    for name, text in contents.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for start in ("cv", "folder", "libri", "pairs", *(["m.jsonl"] if "m.jsonl" in contents else [])):
        assert texts_of(tmp_path / start) == ["One sentence here."] * 2, start


def test_a_transcript_file_that_is_not_utf_8_is_left_out_with_its_recordings(tmp_path):
    write(
        tmp_path,
        {"pairs/a.wav": "", "pairs/b.wav": "", "pairs/c.wav": "", "pairs/a.txt": "one", "1/1.trans.txt": "1 A"},
    )
    (tmp_path / "pairs" / "b.txt").write_bytes("caf\xe9 is closed".encode("latin-1"))
    left_out = []
    found = find_utterances(tmp_path / "pairs", left_out.append)[1]
    assert [(one.file.name, one.text) for one in found] == [("a.wav", "one"), ("c.wav", None)]
    (line,) = left_out
    assert line.startswith(f"{tmp_path / 'pairs' / 'b.wav'}: ")
    assert "b.txt: cannot be read as text: line 1 is not UTF-8" in line
    (tmp_path / "1" / "2.trans.txt").write_bytes("2 caf\xe9".encode("latin-1"))
    assert texts_of(tmp_path / "1") == ["A"]
    (tmp_path / "1" / "1.trans.txt").unlink()
    with pytest.raises(BadInputError, match=r"2\.trans\.txt: cannot be read"):
        find_utterances(tmp_path / "1")


@pytest.mark.parametrize(
    ("accent", "domain"),
    [
        ("American/British mix", "American-British mix"),
        ("a \\ b // c", "a-b-c"),
        ("Persian\u200caccent\u202e", "Persian accent"),
        ("general speech", "unknown accent"),
        (" ", "unknown accent"),
        ("x" * 300, "x" * 100),
    ],
)
def test_any_accent_becomes_a_valid_domain(tmp_path, accent, domain):
    write(
        tmp_path,
        {"train.tsv": f"client_id\tpath\tsentence\taccents\na/b\ta.mp3\tx\t{accent}\n", "clips/a.mp3": ""},
    )
    (found,) = find_utterances(tmp_path)[1]
    assert (found.domain, found.speaker) == (domain, "a-b")
    assert checked_name(found.domain, "domain") == domain


def test_paths_of_common_voice_may_lack_their_suffix(tmp_path):
    rows = "".join(f"x\t{name}\ty\n" for name in ("c1", "c2.mp3", "c.3", "none", "raw"))
    write(
        tmp_path,
        {
            "train.tsv": f"client_id\tpath\tsentence\n{rows}",
            **{f"clips/{name}": "" for name in ("c1.mp3", "c2.mp3", "c.3.mp3", "raw")},
        },
    )
    found = find_utterances(tmp_path)[1]
    assert [one.file.name for one in found] == ["c1.mp3", "c2.mp3", "c.3.mp3", "none.mp3", "raw"]


def test_a_split_table_named_by_the_user_assigns_its_split(tmp_path):
    write(tmp_path, {"test.tsv": "client_id\tpath\tsentence\nx\ta.mp3\ty\n", "clips/a.mp3": ""})
    (found,) = find_utterances(tmp_path / "test.tsv")[1]
    assert found.is_held_out


@pytest.mark.parametrize("tables", [("validated", "train", "dev", "test"), ("train", "dev", "test"), ("test", "dev")])
def test_a_release_is_read_from_all_its_tables_and_keeps_its_splits(tables, tmp_path):
    names = {"train": ["a"], "dev": ["b"], "test": ["c"], "validated": ["a", "b", "c", "d"]}
    rows = {table: "".join(f"x\t{name}.mp3\t{name}\n" for name in names[table]) for table in tables}
    write(tmp_path, {f"{table}.tsv": f"client_id\tpath\tsentence\n{rows[table]}" for table in tables})
    write(tmp_path, {f"clips/{name}.mp3": "" for name in "abcd"})
    found = find_utterances(tmp_path)[1]
    assert sorted(one.text for one in found) == sorted({name for table in tables for name in names[table]})
    assert {one.text: one.split for one in found if one.split} == {"b": "dev", "c": "test"}


def test_recordings_may_be_links_that_lead_elsewhere(tmp_path):
    """The Hugging Face cache, DVC and git-annex store recordings elsewhere."""
    write(tmp_path, {"blobs/abc": "", "x/metadata.csv": "file_name,transcription\na.flac,one\n", "linked/b.wav": ""})
    (tmp_path / "x" / "a.flac").symlink_to("../blobs/abc")
    (found,) = find_utterances(tmp_path / "x")[1]
    assert found.file == tmp_path / "x" / "a.flac"
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "deep").symlink_to("../linked")
    (tmp_path / "y" / "again").symlink_to(".")
    (tmp_path / "y" / "gone.wav").symlink_to("nowhere")
    found = find_utterances(tmp_path / "y")[1]
    assert [str(one.file.relative_to(tmp_path / "y")) for one in found] == ["deep/b.wav", "gone.wav"]


def test_recordings_without_texts_are_listed_without_labels(tmp_path):
    write(tmp_path, {"in/a.wav": "", "in/deep/b.flac": "", "in/._a.wav": "", "m.jsonl": '{"audio": "a.wav"}'})
    kind, found = find_utterances(tmp_path / "in")
    assert kind == "folder of recordings"
    assert [(one.file.name, one.text) for one in found] == [("a.wav", None), ("b.flac", None)]
    assert find_utterances(tmp_path / "in" / "a.wav")[0] == "recording"
    assert texts_of(tmp_path / "m.jsonl") == [None]


def test_a_folder_with_a_manifest(tmp_path):
    write(tmp_path, {"manifest.jsonl": '{"audio": "a.wav", "text": "one"}', "a.wav": "", "b.wav": "", "b.txt": "two"})
    kind, found = find_utterances(tmp_path)
    assert (kind, [one.text for one in found]) == ("manifest", ["one"])


def test_audiofolder_may_have_speakers_and_splits(tmp_path):
    write(tmp_path, {"metadata.csv": "file_name,text,speaker,split\na.wav,one,anna/2,test\nb.wav,two,,train\n"})
    first, second = find_utterances(tmp_path)[1]
    assert (first.speaker, first.is_held_out, second.speaker, second.is_for_training) == ("anna-2", True, None, True)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["ALL OF", "IT'S", None] * 5, True),
        (["ALL OF"] * 19 + ["NATO Meeting"], True),
        (["ALL OF"] * 18 + ["NATO Meeting"] * 2, False),
        (["USA"], False),
        (["USA"] * 9 + ["123", None], False),
        ([None, "123"], False),
        ([], False),
    ],
)
def test_a_corpus_in_capitals_is_recognised(tmp_path, texts, expected):
    assert is_all_capitals([Utterance(audio=tmp_path, text=text) for text in texts]) == expected
