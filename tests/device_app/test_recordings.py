from pathlib import Path

import pytest

from device_app.recordings import Recording, find_recordings, output_paths
from editing.errors import BadInputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "a.FLAC", "deep/c.mp3", "notes.txt", "deep/d.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def test_a_folder_is_walked_for_audio(folder):
    found = find_recordings([str(folder)])
    assert [str(recording.place) for recording in found] == ["a", "b", "deep/c"]


def test_a_named_file_is_always_tried(folder):
    (found,) = find_recordings([str(folder / "notes.txt")])
    assert found.path == folder / "notes.txt"


def test_a_folder_without_audio_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="without audio"):
        find_recordings([str(tmp_path)])


def test_one_result_goes_where_it_was_asked_for(tmp_path):
    recording = Recording(Path("a.wav"), "a.wav", Path("a"))
    assert output_paths([recording], tmp_path / "x.srt", "srt") == [tmp_path / "x.srt"]
    assert output_paths([recording], tmp_path, "srt") == [tmp_path / "a.srt"]


def test_several_results_keep_their_places(folder, tmp_path):
    found = find_recordings([str(folder)])
    assert output_paths(found, tmp_path / "out", "txt") == [
        tmp_path / "out" / name for name in ("a.txt", "b.txt", "deep/c.txt")
    ]


def test_equal_names_keep_their_suffixes(tmp_path):
    found = find_recordings(["x/a.wav", "x/a.flac"])
    assert [path.name for path in output_paths(found, tmp_path / "out", "txt")] == ["a.wav.txt", "a.flac.txt"]


def test_results_that_would_overwrite_each_other_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="two recordings"):
        output_paths(find_recordings(["x/a.wav", "y/a.wav"]), tmp_path / "out", "txt")
