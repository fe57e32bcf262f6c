import pytest

from device_app.evaluation import fits as module
from device_app.evaluation.fits import PUBLISHED, Machine, Size, fits, machine, size_of


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A machine that is measured in no time; counts the measurements."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr(module, "_measure", lambda: calls.append(1) or Machine(0.02, 300.0))
    return calls


def test_the_machine_is_measured_once_and_again_with_other_cores(measured, tmp_path, monkeypatch):
    assert machine() == machine() == Machine(0.02, 300.0)
    assert len(measured) == 1
    monkeypatch.setattr(module, "available_cores", lambda: 77)
    machine()
    assert len(measured) == 2
    (tmp_path / module.FILE).write_text("{")
    machine()
    assert len(measured) == 3


def test_the_measured_speed_is_that_of_the_embedded_model(measured, bundle):
    found = {fit.name: fit for fit in fits({"embedded": bundle})}
    assert found["embedded"].rtf == 0.02
    assert found["embedded"].memory_mb == 300
    assert found["embedded"].is_installed
    assert not found["moonshine-base"].is_installed
    assert found["moonshine-base"].rtf == pytest.approx(0.05, rel=0.05)  # 2.5 times the multiplications
    assert found["whisper-tiny.en"].rtf > 4 * found["embedded"].rtf  # it computes 30 s for every segment
    assert [fit.rtf for fit in fits({})] == sorted(fit.rtf for fit in fits({}))


def test_published_sizes_are_those_of_the_models(bundle):
    found, listed = size_of(bundle), PUBLISHED["moonshine-tiny"]
    assert (round(found.encoder, 1), round(found.decoder, 1)) == (listed.encoder, listed.decoder)


def test_a_ctc_model_uses_all_parameters_in_every_frame():
    assert Size("auto-ctc", 90, 0).work == 90 * 50


def test_a_measurement_times_the_bundled_recordings(transcriber, monkeypatch):
    monkeypatch.setattr(module, "RUNS", 1)
    found = module._measure()
    assert 0 < found.rtf < 5
    assert found.memory_mb > 50
