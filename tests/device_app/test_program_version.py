"""The version of asr-edge."""

from importlib.metadata import PackageNotFoundError, version

from device_app import program_version


def test_a_checkout_that_is_not_installed_can_be_used(monkeypatch):
    assert program_version.program_version() == version("asr-edge")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(program_version, "version", missing)
    assert program_version.program_version() == "not installed"
