"""Reads spans of the bundled recordings, as the JSON-lines file beside them lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from device_app.audio.samples import SAMPLE_RATE, Samples, read


def cut_out(path: Path) -> Iterator[tuple[Samples, dict[str, Any]]]:
    """Audio (samples,) at 16 kHz of each span, and its line: "audio", "start_s", "end_s" and other keys.

    Raises:
        BadAudioError: the installation is damaged.
    """
    recordings: dict[str, Samples] = {}
    for line in path.read_text("utf-8").splitlines():
        span = json.loads(line)
        if span["audio"] not in recordings:
            recordings[span["audio"]] = read(path.parent / span["audio"])
        start, end = (round(span[key] * SAMPLE_RATE) for key in ("start_s", "end_s"))
        yield recordings[span["audio"]][start:end], span
