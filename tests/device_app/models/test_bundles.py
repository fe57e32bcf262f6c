"""Models by name."""

import shutil

from device_app.backup.create import back_up
from device_app.models.bundles import (
    EMBEDDED,
    EMBEDDED_NAME,
    embedded_bundle,
    installed_bases,
    model_names,
    models_folder,
)


def test_an_installation_that_was_killed_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    # As `editing.files.folder_in_one_step` names the folder that it writes.
    shutil.copytree(EMBEDDED, models_folder() / ".moonshine-base.0123456789abcdef.tmp")
    assert model_names() == [EMBEDDED_NAME]
    assert [bundle.folder for bundle in installed_bases()] == [embedded_bundle().folder]
    assert back_up(tmp_path / "backup.tar").models == []
