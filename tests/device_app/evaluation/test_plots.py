"""File names of plots."""

import pytest

from device_app.evaluation.plots import check_picture
from editing.errors import BadInputError


@pytest.mark.parametrize("name", ["README", "manifest.jsonl", "store.sqlite3", "x.flac", ".png"])
def test_a_plot_does_not_replace_a_file_of_another_kind(tmp_path, name):
    with pytest.raises(BadInputError, match="is not the name of an image file"):
        check_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "a.b.pdf"])
def test_file_names_of_images_are_accepted(tmp_path, name):
    check_picture(tmp_path / name)
