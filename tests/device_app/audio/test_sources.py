import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from device_app.audio import sources as module
from device_app.audio.sources import Recording, audio_files, check_outputs, find_recordings, output_paths
from device_app.paths import RECORDINGS
from editing.errors import BadAudioError, BadInputError
from editing.files import write_atomically
from tests.conftest import write_audio


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "a.FLAC", "deep/c.mp3", "notes.txt", "deep/d.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def test_a_folder_is_walked_for_audio(folder):
    found = find_recordings([str(folder)])
    assert [str(recording.relative_path) for recording in found] == ["a", "b", "deep/c"]


def test_a_named_file_is_always_tried(folder):
    (found,) = find_recordings([str(folder / "notes.txt")])
    assert found.path == folder / "notes.txt"


def test_a_folder_without_audio_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="contains no audio files"):
        find_recordings([str(tmp_path)])


def test_one_result_goes_where_it_was_asked_for(tmp_path):
    recording = Recording(Path("a.wav"), "a.wav", Path("a"))
    assert output_paths([recording], str(tmp_path / "x.srt"), "srt") == [tmp_path / "x.srt"]
    assert output_paths([recording], str(tmp_path), "srt") == [tmp_path / "a.srt"]
    assert output_paths([recording], f"{tmp_path}/new/", "srt") == [tmp_path / "new" / "a.srt"]


def test_several_results_keep_their_places(folder, tmp_path):
    found = find_recordings([str(folder)])
    assert output_paths(found, str(tmp_path / "out"), "txt") == [
        tmp_path / "out" / name for name in ("a.txt", "b.txt", "deep/c.txt")
    ]


def test_equal_names_keep_their_suffixes(tmp_path):
    found = find_recordings(["x/a.wav", "x/a.flac"])
    assert [path.name for path in output_paths(found, str(tmp_path / "out"), "txt")] == ["a.wav.txt", "a.flac.txt"]


def test_results_that_would_overwrite_each_other_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"the results of .*a\.wav and of .*a\.wav"):
        output_paths(find_recordings(["x/a.wav", "y/a.wav"]), str(tmp_path / "out"), "txt")


def check(sources, output, suffix="txt", others=(), **more):
    recordings = find_recordings([str(source) for source in sources])
    check_outputs(recordings, output_paths(recordings, str(output), suffix), others, **more)


def test_a_result_never_replaces_an_input(folder, tmp_path):
    with pytest.raises(BadInputError, match="is an input; nothing was changed"):
        check([folder / "b.wav"], folder / "b.wav")
    with pytest.raises(BadInputError, match="the same file as the input"):
        check([folder / "b.wav"], folder / "deep" / ".." / "b.wav")
    (tmp_path / "model.arpa").touch()
    with pytest.raises(BadInputError, match="is an input"):
        check([folder / "b.wav"], tmp_path / "model.arpa", others=[tmp_path / "model.arpa"])


def test_a_text_that_is_transcribed_as_if_it_were_audio_is_an_input_too(folder):
    (folder / "notes.wav").touch()
    with pytest.raises(BadInputError, match="is an input"):
        check([folder / "notes.txt", folder / "b.wav"], folder)


def test_an_input_that_is_linked_to_from_the_output_folder_is_safe(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.txt").hardlink_to(folder / "b.wav")
    with pytest.raises(BadInputError, match="the same file as the input"):
        check([folder], tmp_path / "out")


def test_a_slip_in_a_list_of_files_costs_no_recording(folder):
    """`transcribe -o *.wav` names the first recording as the output."""
    with pytest.raises(BadInputError, match="is a recording, which would be overwritten"):
        check([folder / "b.wav"], folder / "a.FLAC")


def test_text_is_not_written_under_the_suffix_of_a_recording(folder, tmp_path):
    with pytest.raises(BadInputError, match=r"a transcript is text; write .*new\.txt"):
        check([folder / "b.wav"], tmp_path / "new.WAV")


@pytest.mark.parametrize("name", ["talk", "talk.backup", "talk.txt"])
def test_a_recording_is_known_by_what_is_in_it(folder, tmp_path, name):
    talk = shutil.copy(RECORDINGS / "invalid.flac", tmp_path / name)
    for overwrite in (False, True):
        with pytest.raises(BadInputError, match="is a recording, which would be overwritten"):
            check([folder / "b.wav"], talk, overwrite=overwrite)


@pytest.mark.parametrize("suffix", ["txt", "json", "jsonl", "srt", "vtt", "tsv"])
def test_a_file_that_is_there_is_not_replaced_in_any_format(folder, tmp_path, suffix):
    """`a.Flac` with the label `a.txt`, a `manifest.jsonl` beside `manifest.wav`, subtitles made by hand."""
    (folder / "a.FLAC").rename(folder / "a.Flac")
    (folder / f"a.{suffix}").write_text("what was really said")
    for sources, output in (([folder], folder), ([folder / "a.Flac"], folder), ([folder], f"{folder}/")):
        with pytest.raises(BadInputError, match=rf"a\.{suffix}: already exists; nothing was changed"):
            check(sources, output, suffix)
    with pytest.raises(BadInputError, match="--overwrite"):
        check([folder / "a.Flac"], folder / f"a.{suffix}", suffix)
    check([folder], folder, suffix, overwrite=True)
    check([folder], tmp_path / "out", suffix)


def test_an_empty_file_may_be_replaced(folder, tmp_path):
    (tmp_path / "made-by-mktemp").touch()
    check([folder / "b.wav"], tmp_path / "made-by-mktemp")


def test_an_input_is_not_replaced_even_with_overwrite(folder):
    with pytest.raises(BadInputError, match="is an input"):
        check([folder / "b.wav"], folder / "b.wav", overwrite=True)


def test_a_fifo_is_read_as_standard_input_is(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (recording,) = find_recordings([str(tmp_path / "fifo")])
    assert recording.is_read_once
    with subprocess.Popen(["cp", RECORDINGS / "invalid.flac", tmp_path / "fifo"]), recording.opened() as source:
        assert source.read() == (RECORDINGS / "invalid.flac").read_bytes()
    with (
        subprocess.Popen(["sh", "-c", ": > fifo"], cwd=tmp_path),
        pytest.raises(BadAudioError, match="fifo: no data was received"),
        recording.opened(),
    ):
        pass


def test_files_of_macos_beside_recordings_are_not_recordings(folder):
    (folder / "._b.wav").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    assert [recording.path.name for recording in find_recordings([str(folder)])] == ["a.FLAC", "b.wav", "c.mp3"]


def test_a_link_to_a_recording_is_one_and_a_broken_link_is_reported_later(folder, tmp_path):
    (tmp_path / "abc123").touch()
    (folder / "linked.flac").symlink_to(tmp_path / "abc123")
    (folder / "broken.flac").symlink_to(tmp_path / "gone")
    found = {recording.relative_path.name: recording for recording in find_recordings([str(folder)])}
    assert {"linked", "broken"} < found.keys()


def test_a_link_to_a_folder_is_named_and_not_followed(folder, tmp_path):
    (folder / "deep" / "loop").symlink_to(folder)
    messages = []
    assert len(find_recordings([str(folder)], messages.append)) == 3
    assert messages == [f"{folder}/deep/loop: skipped, because it is a link to a folder; name it too, to include it"]
    assert len(find_recordings([str(folder / "deep" / "loop")])) == 3


def test_a_fifo_in_a_folder_is_not_opened(folder):
    os.mkfifo(folder / "x.wav")
    assert len(find_recordings([str(folder)])) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_subfolder_that_cannot_be_read_is_reported_when_it_is_read(folder):
    (folder / "deep").chmod(0)
    try:
        assert folder / "deep" in [recording.path for recording in find_recordings([str(folder)])]
    finally:
        (folder / "deep").chmod(0o700)


@pytest.mark.parametrize("suffix", ["txt", "json", "jsonl"])
@pytest.mark.parametrize("letter", ["a", "é"])
def test_the_longest_name_has_a_result(tmp_path, suffix, letter):
    name = letter * (252 // len(letter.encode())) + ".au"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).touch()
    recordings = find_recordings([str(tmp_path / "in")])
    (target,) = output_paths(recordings, f"{tmp_path}/out/", suffix)
    write_atomically(target, b"text")
    assert target.suffix == f".{suffix}"


def stream(folder, command):
    """A recording that is read from a FIFO, to which a shell command writes in the folder."""
    os.mkfifo(folder / "fifo")
    return find_recordings([str(folder / "fifo")])[0], ["sh", "-c", f"({command}) > fifo 2> /dev/null"]


@pytest.mark.parametrize("endless", ["yes", "cat /dev/zero", "cat /dev/urandom"])
def test_an_endless_stream_that_is_not_audio_is_given_up_early(tmp_path, endless):
    recording, command = stream(tmp_path, endless)
    with subprocess.Popen(command, cwd=tmp_path), pytest.raises(BadAudioError, match="stopped after 16 MiB"):
        recording.opened().__enter__()


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_an_endless_stream_of_audio_is_given_up_at_the_limit(tmp_path, form, monkeypatch):
    monkeypatch.setattr(module, "MAX_IN_MEMORY", 1 << 20)
    monkeypatch.setattr(module, "MAX_BUFFERED", 4 << 20)
    write_audio(tmp_path / f"x.{form}", np.random.default_rng(0).uniform(-0.5, 0.5, 1 << 20))
    recording, command = stream(tmp_path, f"cat x.{form} /dev/zero")
    with (
        subprocess.Popen(command, cwd=tmp_path),
        pytest.raises(BadAudioError, match="the most that can be read from a stream"),
    ):
        recording.opened().__enter__()


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a"])
def test_a_long_stream_of_audio_is_buffered_whole(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(module, "MAX_IN_MEMORY", 1 << 16)
    monkeypatch.setattr(module, "READ_SIZE", 1 << 14)
    data = b"\0\0\0 ftypM4A " + bytes(1 << 18)
    if suffix != "m4a":
        write_audio(tmp_path / f"x.{suffix}", np.random.default_rng(0).uniform(-0.5, 0.5, 1 << 18))
        data = (tmp_path / f"x.{suffix}").read_bytes()
    (tmp_path / "x").write_bytes(data)
    recording, command = stream(tmp_path, "cat x")
    with subprocess.Popen(command, cwd=tmp_path), recording.opened() as source:
        assert source.read() == data


def test_a_pipe_in_a_folder_is_named(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    (tmp_path / "a.flac").write_bytes(b"")
    messages = []
    assert audio_files(tmp_path, messages.append) == [tmp_path / "a.flac"]
    assert messages == [
        f"{tmp_path}/x.wav: skipped, because it is a pipe, device or socket; name it too, to include it"
    ]
