"""Pictures: what they may be called."""

import pytest

from device_app.evaluation.plots import check_picture
from editing.errors import BadInputError


@pytest.mark.parametrize("name", ["README", "manifest.jsonl", "store.sqlite3", "x.flac", ".png"])
def test_a_picture_does_not_replace_a_file_of_another_kind(tmp_path, name):
    with pytest.raises(BadInputError, match="is not the name of a picture"):
        check_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "a.b.pdf"])
def test_names_of_pictures(tmp_path, name):
    check_picture(tmp_path / name)
