"""What `record` says about the next adaptation while recordings are added."""

from device_app import status
from device_app.cli.terminal.next_step import progress_of
from device_app.status import DomainStatus


def test_after_an_adaptation_only_new_recordings_are_counted(monkeypatch):
    adapted = DomainStatus("anna", recordings=14, labelled=12, seconds=60.0, new=1, last_edit="active")
    monkeypatch.setattr(status, "domain_status", lambda *_: adapted)
    progress = progress_of(None, None, "anna")
    assert progress(12) == "1 new recording with text; adapt again from 10"
    assert progress(14) == "3 new recordings with text; adapt again from 10"
    assert progress(3) == "0 new recordings with text; adapt again from 10"  # deleted in the session
