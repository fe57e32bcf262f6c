"""Media files made with PyAV, and a stand-in for the program ffmpeg."""

import stat
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from device_app.audio import media
from tests.device_app.audio.speech import at_model_rate, speech

# Suffix, format, codec and sampling rate.
CONTAINERS = {
    "m4a": ("ipod", "aac", 44100),
    "mp4": ("mp4", "aac", 48000),
    "mov": ("mov", "pcm_s16le", 16000),
    "aac": ("adts", "aac", 44100),
    "webm": ("webm", "libopus", 48000),
    "mkv": ("matroska", "pcm_s16le", 16000),
    "mka": ("matroska", "aac", 44100),
    "wma": ("asf", "wmav2", 44100),
    "avi": ("avi", "pcm_s16le", 16000),
    "flv": ("flv", "aac", 44100),
    "amr": ("amr", "libopencore_amrnb", 8000),
    "3gp": ("3gp", "libopencore_amrnb", 8000),
    "ac3": ("ac3", "ac3", 48000),
    "wv": ("wv", "wavpack", 44100),
    "tta": ("tta", "tta", 44100),
    "mpg": ("mpeg", "mp2", 44100),
    "ts": ("mpegts", "mp2", 44100),
    "oga": ("ogg", "flac", 16000),
}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}


def sound(rate):
    """A sentence of about 5 s, (samples,)."""
    whole = at_model_rate(*speech())
    times = np.arange(len(whole) * rate // 16000) * 16000 / rate
    return np.interp(times, np.arange(len(whole)), whole).astype(np.float32)


def make(path, kind, *, options=None, codec_options=None, tracks=None, pauses=(), codec=None):
    """Writes a media file.

    Args:
        path: of the file.
        kind: a key of `CONTAINERS`.
        options: of the format.
        codec_options: of the encoder.
        tracks: sounds (samples,), one for each audio track; by default the sentence.
        pauses: pairs of seconds: from the first on, timestamps are later by the second.
        codec: instead of that of the kind.
    """
    import av

    form, usual, rate = CONTAINERS[kind]
    if options is None:
        options = {"movflags": "faststart"} if form == "ipod" else {}
    with av.open(str(path), "w", format=form, options=options) as container:
        streams = []
        for _ in tracks or [None]:
            stream = container.add_stream(codec or usual, rate=rate, layout="mono", options=codec_options or {})
            stream.bit_rate = 12_200 if "amr" in usual else 64_000
            streams.append(stream)
        for stream, source in zip(streams, tracks or [sound(rate)], strict=True):
            frame = av.AudioFrame.from_ndarray(source[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=stream.frame_size or 1024)
            packets = [stream.encode(part) for one in (frame, None) for part in resampler.resample(one)]
            for packet in (one for group in [*packets, stream.encode(None)] for one in group):
                if pauses and packet.pts is not None:
                    later_s = sum(length for start, length in pauses if packet.pts * packet.time_base >= start)
                    packet.pts += round(later_s / packet.time_base)
                    packet.dts = packet.pts
                container.mux(packet)
    return path


def damaged(data, share=0.5, count=64):
    """The file with random bytes at a share of its length."""
    at = int(share * len(data))
    noise = np.random.default_rng(3).integers(0, 256, count, np.uint8).tobytes()
    return data[:at] + noise + data[at + count :]


def use_program(monkeypatch, program):
    """Reads with a program, as without PyAV."""
    monkeypatch.setattr(media, "_has_pyav", lambda: False)
    monkeypatch.setattr(media, "_ffmpeg", lambda: str(program))


def stand_in(folder):
    """A program that checks the arguments for ffmpeg, decodes with PyAV, and prints what ffmpeg prints."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f"""#!{sys.executable}
import struct, sys
sys.path.insert(0, {str(Path.cwd())!r})
import av, numpy as np
from device_app.audio import ffmpeg, pyav
from device_app.audio.timeline import Timeline

def say(*words):
    print(*words, file=sys.stderr, flush=True)

class Said(Timeline):
    def note_error(self, message, start_s=None):
        say("[aist#0:0/aac @ 0x5f] [dec:aac @ 0x60] [error]", message)

arguments = sys.argv[1:]
assert arguments[: len(ffmpeg.FFMPEG_INPUT)] == [*ffmpeg.FFMPEG_INPUT]
path, output = arguments[arguments.index("-i") + 1], arguments[arguments.index("-i") + 2 :]
assert path.startswith("file:")
assert output in ([], [*ffmpeg.FFMPEG_OUTPUT])
try:
    container = pyav._opened(open(path[5:], "rb"), "x")
except Exception as error:
    sys.exit(f"[error] Error opening input: {{error}}")
say(f"[info] Input #0, {{container.format.name}}, from '{{path}}':")
seconds = (container.duration or 0) / 1e6
say(f"[info]   Duration: 00:{{int(seconds // 60):02}}:{{seconds % 60:05.2f}}, start: 0.000000, bitrate: 64 kb/s")
for stream in container.streams:
    kind = stream.type.capitalize()
    say(f"[info]   Stream #0:{{stream.index}}[0x1](und): {{kind}}: {{stream.codec_context.name}}, 1 Hz")
if not output or not container.streams.audio:
    sys.exit("[error] At least one output file must be specified")
say("[info] Stream mapping:")
first = True
for index, frame in enumerate(pyav._frames(container, container.streams.audio[0], Said())):
    rate, samples = frame.sample_rate, frame.samples
    for block in av.AudioResampler("flt", frame.layout, rate).resample(frame):
        channels = block.layout.nb_channels
        if first:
            sys.stdout.buffer.write(struct.pack(">4s5I", b".snd", 28, 0xFFFFFFFF, 6, rate, channels) + bytes(4))
            first = False
        time = "NOPTS" if frame.pts is None else f"{{float(frame.pts * frame.time_base):g}}"
        say(f"[Parsed_ashowinfo_0 @ 0x5d] [info] n:{{index}} pts:{{frame.pts}} pts_time:{{time}} fmt:fltp channels:1 "
            f"chlayout:mono rate:{{rate}} nb_samples:{{block.samples}} checksum:BE640AB3 ")
        sys.stdout.buffer.write(block.to_ndarray().astype(">f4").tobytes())
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
