"""Dictation into a real window under Xvfb; programs of Wayland are only checked for how they are called."""

import contextlib
import os
import queue
import shutil
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.store import Store
from device_app.dictation import control
from device_app.dictation.control import Command, CommandServer, send
from device_app.dictation.session import Dictation, Typed
from device_app.dictation.window import TypingError, WaylandWindow, X11Window, focused_window, one_line_of
from device_app.paths import RECORDINGS
from device_app.recognition.results import TranscriptSegment
from device_app.recording.saver import UtteranceSaver
from editing.errors import BadInputError, MissingDependencyError, StorageError
from tests.command_line import call
from tests.conftest import until
from tests.device_app.dictation.screen import Screen

EDITOR = """
import sys, tkinter
root = tkinter.Tk()
text = tkinter.Text(root)
text.pack()
text.focus_force()
text.bind("<F5>", lambda event: text.tag_add("sel", "1.0", "end-1c"))
def show():
    with open(sys.argv[1], "w") as file:
        file.write(text.get("1.0", "end-1c"))
    root.after(50, show)
show()
root.mainloop()
"""


class Microphone:
    """Gives recordings, each followed by silence; then the user presses keys."""

    sample_rate = SAMPLE_RATE

    def __init__(self, names, press):
        self._names, self._press = names, press

    def __iter__(self):
        for name in self._names:
            audio = np.concatenate([read(RECORDINGS / name), np.zeros(SAMPLE_RATE, np.float32)])
            for start in range(0, len(audio), 1600):
                yield audio[start : start + 1600]
        self._press()
        yield np.zeros(1600, np.float32)


@pytest.fixture
def dictate(transcriber):
    """Runs a dictation of recordings into a window, with commands at its end; returns what it told."""

    def run(window, names, *after, store=None, saver=None):
        commands, told = queue.SimpleQueue(), []

        def press():
            for command in (Command.STOP, *after, Command.QUIT):
                commands.put(command)

        @contextlib.contextmanager
        def opened():
            yield Microphone(names, press)

        commands.put(Command.START)
        Dictation(transcriber, window, opened, commands, told.append, store=store, saver=saver).run()
        assert told[:2] == ["Listening.", "Stopped."]
        return told

    return run


@pytest.fixture(scope="module")
def display():
    if not all(map(shutil.which, ("Xvfb", "xdotool"))):
        pytest.skip("needs Xvfb and xdotool")
    reading, writing = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp"], pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", f":{number}")
        patch.delenv("WAYLAND_DISPLAY", raising=False)
        yield f":{number}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def editor(display, tmp_path):
    """A real editor window with the focus; returns a function that reads its text."""
    pytest.importorskip("tkinter")
    file = tmp_path / "content"
    process = subprocess.Popen([sys.executable, "-c", EDITOR, str(file)])
    until(file.exists, 20)
    yield file.read_text
    process.kill()
    process.wait()


def test_what_is_said_is_typed_into_the_focused_window_and_taken_back(editor, dictate):
    dictate(X11Window(), ["ss-noservice.flac"])
    until(lambda: editor().endswith("try again."), 20)
    assert editor().startswith("The number you have dialed is not in service")
    first = editor()
    dictate(X11Window(), ["ss-noservice.flac"], Command.UNDO)
    until(lambda: len(editor()) <= len(first) + 60, 20)


def test_text_is_typed_as_it_is_and_the_selection_is_read(editor):
    window = X11Window()
    window.type("--file -; $(id) \"x\" & 'y' 100 %\n\x1b")
    until(lambda: editor() == "--file -; $(id) \"x\" & 'y' 100 % ", 20)  # Enter is not pressed
    window.erase(4)
    until(lambda: editor().endswith("'y' 10"), 20)
    subprocess.run(["xdotool", "key", "F5"], check=True)  # selects all in this editor
    until(lambda: window.selection() == editor(), 20)


def test_a_letter_that_is_not_on_the_keyboard_is_typed(editor):
    """On a busy machine, the window may learn too late which letter the changed key has; then it is typed again."""
    window = X11Window()
    for _ in range(5):
        window.type("Café")
        until(lambda: len(editor()) >= 4, 20)
        if editor() == "Café":
            return
        window.erase(len(editor()))
        until(lambda: editor() == "", 20)
    pytest.fail(f"the window has {editor()!r}")


def test_nothing_selected_is_an_error(display, monkeypatch):
    pytest.importorskip("tkinter")
    with pytest.raises(TypingError, match="nothing is selected"):
        X11Window().selection()


def test_sentences_are_separated_and_undo_takes_the_last_one_back(dictate):
    screen = Screen()
    dictate(screen, ["invalid.flac"])
    whole = screen.text
    assert whole.startswith("I'm sorry")
    other = Screen()
    dictate(other, ["invalid.flac"], *[Command.UNDO] * 9)
    assert other.text == ""


@pytest.mark.parametrize("text", ["Undo that.", "undo that", "Scratch that!"])
def test_undo_can_be_said(transcriber, text):
    screen = Screen()
    dictation = Dictation(transcriber, screen, None, queue.SimpleQueue(), print)
    for one in ("Hello there.", "Wrong words.", text):
        dictation._type(TranscriptSegment(0.0, 1.0, one, []))
    assert screen.text == "Hello there."


def test_a_sentence_that_could_not_be_saved_or_erased_can_still_be_undone(transcriber):
    class FullDisk:
        def save(self, segment):
            if segment.text != "Hi.":
                raise StorageError("no space left")

        latest = 1

    class Closing(Screen):
        is_open = False

        def erase(self, characters):
            if not self.is_open:
                raise TypingError("no window")
            super().erase(characters)

    screen = Closing()
    dictation = Dictation(transcriber, screen, None, queue.SimpleQueue(), print, saver=FullDisk())
    dictation._type(TranscriptSegment(0.0, 1.0, "Hi.", []))
    with pytest.raises(StorageError):
        dictation._type(TranscriptSegment(1.0, 1.0, "Hello there.", []))
    with pytest.raises(TypingError):
        dictation._undo()
    screen.is_open = True
    dictation._undo()
    assert screen.text == "Hi."


def test_an_edit_of_a_sentence_becomes_its_correction(dictate, own_home):
    screen = Screen()
    screen.selected = "I'm sorry, that is not a valid extension. Please try again"
    with Store() as store:
        saver = UtteranceSaver(store, "own", "recorded")
        told = dictate(screen, ["invalid.flac"], Command.CORRECT, store=store, saver=saver)
        texts = [one.text for one in store.utterances("own")]
    assert any("correction" in line for line in told), told
    assert screen.selected in texts


def test_another_selection_corrects_nothing(dictate, own_home):
    screen = Screen()
    screen.selected = "Completely different words of a web page about gardening"
    with Store() as store:
        saver = UtteranceSaver(store, "own", "recorded")
        told = dictate(screen, ["invalid.flac"], Command.CORRECT, store=store, saver=saver)
        assert all(one.text is None for one in store.utterances("own"))
    assert "like no sentence" in told[-1]


def test_without_learning_nothing_is_stored(dictate, own_home):
    told = dictate(Screen(), ["invalid.flac"], Command.CORRECT)
    assert "--learn" in told[-1]
    assert not list(own_home.glob("store*"))


def test_commands_reach_the_dictation_of_this_user_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(BadInputError, match="no dictation runs"):
        send(Command.TOGGLE)
    with CommandServer() as server:
        assert stat.S_IMODE(control.socket_path().stat().st_mode) == 0o600
        send(Command.TOGGLE)
        send(Command.UNDO)
        assert [server.commands.get(timeout=5), server.commands.get(timeout=5)] == [Command.TOGGLE, Command.UNDO]
        with pytest.raises(BadInputError, match="runs already"), CommandServer():
            pass
    assert not control.socket_path().exists()
    control.socket_path().touch()  # left by a process that was killed
    with CommandServer():
        send(Command.STOP)


@pytest.fixture
def compositor(tmp_path, monkeypatch):
    """The socket of a Wayland desktop."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "wayland-0"))
        listening.listen()
        yield


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stands in for wtype and ydotool; returns what they were called with."""
    called = tmp_path / "called"

    def install(*names, exit_code=0):
        for name in names:
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                f'#!/bin/sh\nprintf "%s " {name} "$@" >> {called}\n[ "$#" = 1 ] && cat >> {called}\nexit {exit_code}\n'
            )
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
        return called

    return install


def test_a_socket_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(StorageError, match=r"asr-edge-type\.sock: cannot be made .*too long"), CommandServer():
        pass


def test_wayland_programs_get_the_text_on_standard_input(programs, compositor):
    called = programs("wtype")
    window = focused_window()
    assert window == WaylandWindow("wtype")
    called.unlink()  # the call that shows whether it works
    window.type("Hello")
    window.erase(2)
    assert called.read_text() == "wtype - Hellowtype -k BackSpace -k BackSpace "
    with pytest.raises(MissingDependencyError, match="wl-clipboard"):
        window.selection()


def test_ydotool_is_used_where_there_is_no_wtype(programs, compositor):
    called = programs("ydotool")
    focused_window().erase(1)
    assert called.read_text() == "ydotool key 14:1 14:0 "


def test_ydotool_is_used_where_the_compositor_refuses_wtype(programs, compositor):
    programs("wtype", exit_code=1)
    with pytest.raises(MissingDependencyError, match=r"ydotool \(for GNOME, KDE\)"):
        focused_window()
    programs("ydotool")
    assert focused_window() == WaylandWindow("ydotool")


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("WAYLAND_DISPLAY", "wtype .* or ydotool .*sudo apt install wtype"), ("DISPLAY", "sudo apt install xdotool")],
)
def test_a_missing_program_is_named(monkeypatch, compositor, tmp_path, variable, expected):
    monkeypatch.delenv("WAYLAND_DISPLAY")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(MissingDependencyError, match=r"no desktop .*in a terminal of the desktop"):
        focused_window()
    monkeypatch.setenv(variable, "wayland-0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=expected):
        focused_window()


def test_an_x_server_that_does_not_answer_is_an_error_before_anything_is_loaded(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    programs("xdotool", exit_code=1)  # xdotool itself may not be installed
    line = call("type", code=1).stderr
    assert line.startswith("asr-edge: DISPLAY=:987: no desktop answers there; run 'asr-edge type' in a terminal")
    assert line.count("\n") == 1


def test_a_compositor_that_does_not_answer_is_an_error_before_anything_is_loaded(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    programs("wtype")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-9")
    assert "WAYLAND_DISPLAY=wayland-9: no desktop answers" in call("type", code=1).stderr


def test_no_text_presses_enter_or_another_key():
    assert one_line_of("a\nb\tc\x1b[A\r\u202e d") == "a b c[A  d"
    assert one_line_of("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"  # a joiner, part of the spelling
    assert Typed("x", 0).utterance == 0
