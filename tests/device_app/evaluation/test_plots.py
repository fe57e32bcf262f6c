"""File names of plots."""

import pytest

from device_app.evaluation.plots import check_picture, draw_matrix, plot_text
from editing.errors import BadInputError


@pytest.mark.parametrize("name", ["README", "manifest.jsonl", "store.sqlite3", "x.flac", ".png"])
def test_a_plot_does_not_replace_a_file_of_another_kind(tmp_path, name):
    with pytest.raises(BadInputError, match="is not the name of an image file"):
        check_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "a.b.pdf"])
def test_file_names_of_images_are_accepted(tmp_path, name):
    check_picture(tmp_path / name)


def test_names_of_domains_are_drawn_literally(tmp_path):
    """Between dollars, matplotlib would read a formula, and fail if it is none."""
    pytest.importorskip("matplotlib")
    names = ["a $\\frac$ b", "red \x1b[31m", "right to left \u202e"]
    draw_matrix(names, names, [dict.fromkeys(names, 0.5)] * 3, tmp_path / "matrix.svg")
    assert (tmp_path / "matrix.svg").stat().st_size
    assert [plot_text(name) for name in names] == ["a \\$\\frac\\$ b", "red \\u001b[31m", "right to left \\u202e"]
