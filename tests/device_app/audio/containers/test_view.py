"""A view is a file of byte ranges of another file."""

import io
import os

import pytest

from device_app.audio.containers.view import View, skip_id3

FILE = bytes(range(100))
SPANS = [b"head", (10, 20), b"", (50, 5), b"tail"]
CONTENT = b"head" + FILE[10:30] + FILE[50:55] + b"tail"


def test_a_view_has_the_bytes_of_its_spans_in_order():
    assert View(io.BytesIO(FILE), SPANS).read() == CONTENT


@pytest.mark.parametrize("position", range(len(CONTENT) + 2))
def test_what_follows_a_position_is_a_view_of_the_original_file(position):
    file = io.BytesIO(FILE)
    view = View(file, SPANS).following(position, b"new")
    assert view.read() == b"new" + CONTENT[position:]
    assert view._file is file


def test_nothing_follows_in_an_empty_view():
    assert View(io.BytesIO(FILE), []).following(0, b"new").read() == b"new"


def test_a_read_that_fails_ends_the_view_and_is_kept():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, os.strerror(5))

    view = View(Failing(FILE), SPANS)
    assert view.read() == b"head"
    assert view.failure.errno == 5
    assert view.following(2, b"").failure is None


def test_a_file_that_is_closed_meanwhile_ends_the_view():
    """The service closes an upload whose request has ended while a thread still decodes it."""
    file = io.BytesIO(FILE)
    view = View(file, SPANS)
    file.close()
    assert view.read() == b"head"
    assert "closed file" in str(view.failure)


@pytest.mark.parametrize(("tags", "after"), [(b"", 3), (b"ID3\x04\0\0\0\0\0\x07" + bytes(7), 20)])
def test_id3_tags_are_skipped(tags, after):
    assert skip_id3(io.BytesIO(b"abc" + tags + b"fLaC" + bytes(20)), 3) == after
