"""Log-mel features equal onnx-asr's features for NeMo models, with and without padding."""

import numpy as np
import pytest
import torch
from onnx_asr.preprocessors.numpy_preprocessor import NemoPreprocessorNumpy

from trainer.log_mel import LogMel


@pytest.fixture(scope="module")
def front_end():
    return LogMel(80)


@pytest.fixture(scope="module")
def speech(prompt):
    """Adds noise, because telephone speech has only rounding errors above 4 kHz, which must not be compared."""
    noise = np.random.default_rng(0).standard_normal(len(prompt)).astype(np.float32)
    return prompt + np.float32(1e-3) * noise


def test_features_equal_those_of_onnx_asr(front_end, speech):
    expected, frames = NemoPreprocessorNumpy("nemo80")(speech[None].copy(), np.array([len(speech)]))
    found = front_end(torch.from_numpy(speech)[None]).numpy()
    assert found.shape[1] == frames[0] == len(speech) // 160
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1)[:, : frames[0]], atol=1e-3)


def test_padding_does_not_change_the_features(front_end, speech):
    short = speech[:20000]
    batch = np.zeros((2, len(speech)), np.float32)
    batch[0], batch[1, : len(short)] = speech, short
    batch[1, len(short) :] = 0.5  # padding that is not silent
    found = front_end(torch.from_numpy(batch), torch.tensor([len(speech), len(short)]))
    alone = front_end(torch.from_numpy(short)[None])
    np.testing.assert_allclose(found[1, : alone.shape[1]], alone[0], atol=5e-4)
    assert not found[1, alone.shape[1] :].any()


@pytest.mark.parametrize("samples", [160, 320, 1600])
def test_very_short_audio_has_finite_features(front_end, samples):
    audio = torch.randn(1, samples)
    assert torch.isfinite(front_end(audio)).all()
    assert torch.isfinite(front_end(audio, torch.tensor([samples]))).all()
