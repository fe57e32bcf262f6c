"""Does a second of live speech cost the same after ten minutes as at the start?

    python benchmarks/streaming.py BUNDLE [--minutes 10]

Feeds the bundled reading, again and again, in blocks of 50 ms as fast as possible, with a partial text for every half
second. Prints the seconds of computation per second of audio of every minute, and how long a final text took after
the block that ended its segment.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.models.bundles import find_bundle
from device_app.paths import RECORDINGS
from device_app.recognition.transcriber import Transcriber

BLOCK = SAMPLE_RATE // 20  # samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=int, default=10)
    arguments = parser.parse_args()
    transcriber = Transcriber(find_bundle(arguments.bundle))
    reading = read(RECORDINGS / "two_cities.flac")
    audio = np.resize(reading, arguments.minutes * 60 * SAMPLE_RATE)
    stream = transcriber.stream()
    finals = []
    for minute in range(arguments.minutes):
        start = time.perf_counter()
        part = audio[minute * 60 * SAMPLE_RATE : (minute + 1) * 60 * SAMPLE_RATE]
        for begin in range(0, len(part), BLOCK):
            fed = time.perf_counter()
            if any(update.is_final for update in stream.feed(part[begin : begin + BLOCK])):
                finals.append(time.perf_counter() - fed)
        print(f"minute {minute + 1}: {(time.perf_counter() - start) / 60:.4f} s per second")
    if finals:
        print(f"final text: {1000 * statistics.median(finals):.0f} ms median of {len(finals)}")


if __name__ == "__main__":
    main()
