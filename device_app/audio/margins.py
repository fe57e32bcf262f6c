"""Faint noise around speech that a recording cuts off."""

from __future__ import annotations

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples

FRAME = SAMPLE_RATE // 100
QUIET_DB = -30.0  # below the loudest 10 ms, a frame is a pause
SHORTEST_S = 0.2  # a recording with less of a pause before or after its speech gets a margin there
MARGIN_S = 0.5
# Below the speech's level. Without margins, of 150 single digits cut from training recordings 17 % are right;
# with noise of 20, 25 or 30 dB below 66 %; with margins of 0.3 s 60 %. Zeros in place of noise make it worse.
NOISE_DB = -25.0


def with_margins(audio: Samples) -> tuple[Samples, int]:
    """Adds noise before and after speech that begins or ends without a pause.

    Args:
        audio: (samples,) at 16 kHz.

    Returns:
        The audio, and how many samples were added before it.
    """
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0) * 10 ** (QUIET_DB / 10))
    if not len(loud):
        return audio, 0
    pauses = int(loud[0]) * FRAME, len(audio) - (int(loud[-1]) + 1) * FRAME
    before, after = (round(MARGIN_S * SAMPLE_RATE) if pause < SHORTEST_S * SAMPLE_RATE else 0 for pause in pauses)
    if not before and not after:
        return audio, 0
    level = float(np.sqrt(power.mean())) * 10 ** (NOISE_DB / 20)
    noise = np.random.default_rng(0).standard_normal(before + after, np.float32) * np.float32(level)
    return np.concatenate([noise[:before], audio, noise[before:]]), before
