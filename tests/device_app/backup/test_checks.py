"""What a data folder has, counted before it is replaced."""

from device_app.backup.checks import contents_of


def test_a_damaged_model_does_not_stop_a_restoration(tmp_path, own_home):
    """The backup may be what brings it back."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "model.json").write_text("{")
    assert contents_of(tmp_path).edits == 0
