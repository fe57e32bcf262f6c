"""Nonsense from a Python program is refused at once: one line with the name of the argument and what it takes."""

import io
from pathlib import Path

import numpy as np
import pytest

from device_app import (
    AsrEdgeError,
    BadAudioError,
    BadInputError,
    BundleError,
    DecodingOptions,
    NGram,
    SegmentSettings,
    Transcriber,
    my_model,
)
from device_app.audio.samples import SAMPLE_RATE
from device_app.evaluation.error_rates import basic, error_rates
from device_app.paths import RECORDINGS
from editing import METHODS, Origin, TaskVector, apply
from editing.errors import TaskVectorError
from export.bake import bake
from export.bundle import Bundle

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"silence_s": -1}, "silence_s is -1; expected a number from 0 to 60"),
        ({"silence_s": NAN}, "silence_s is nan; expected a number from 0 to 60"),
        ({"silence_s": "0.5"}, "silence_s is '0.5'; expected a number from 0 to 60"),
        ({"padding_s": INF}, "padding_s is inf; expected a number from 0 to 10"),
        ({"padding_s": None}, "padding_s is None; expected a number from 0 to 10"),
        ({"longest_s": 0}, "longest_s is 0; expected a number from 1 to 60"),
        ({"longest_s": 1e9}, "longest_s is 1000000000.0; expected a number from 1 to 60"),
    ],
)
def test_settings_of_segments_out_of_range(settings, message):
    with pytest.raises(BadInputError) as error:
        SegmentSettings(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "beam is 0; expected a whole number from 1 to 64"),
        ({"beam": 2.0}, "beam is 2.0; expected a whole number from 1 to 64"),
        ({"language_model": "words.arpa"}, "language_model is a str; expected an NGram: NGram.read(PATH)"),
        ({"keyterms": None}, "keyterms must be a list of words and phrases"),
        ({"keyterms": "Anna"}, "keyterms must be a list of words and phrases"),
        ({"keyterms": (name for name in ["Anna"])}, "keyterms must be a list of words and phrases"),
    ],
)
def test_decoding_options_out_of_range(settings, message):
    with pytest.raises(BadInputError) as error:
        DecodingOptions(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "foo"}, "precision is 'foo'; expected one of fp32, int8"),
        ({"precision": None}, "precision is None; expected one of fp32, int8"),
        ({"threads": 0}, "threads is 0; expected a whole number from 1 to 1024"),
        ({"threads": -1}, "threads is -1; expected a whole number from 1 to 1024"),
        ({"threads": "2"}, "threads is '2'; expected a whole number from 1 to 1024"),
        ({"folder": 3}, "folder is 3; expected a path"),
        ({"options": None}, "options is None; expected DecodingOptions"),
    ],
)
def test_arguments_of_a_transcriber_out_of_range(bundle, settings, message):
    with pytest.raises(BadInputError) as error:
        Transcriber(bundle, **settings)
    assert str(error.value) == message


@pytest.mark.parametrize("wrong", ["embedded", Path("folder"), None])
def test_a_transcriber_of_something_else_than_a_bundle(wrong):
    with pytest.raises(BadInputError, match=r"^the bundle is .*; expected a Bundle, such as my_model\(\)"):
        Transcriber(wrong)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": ""}, BundleError, "'': neither an installed model (embedded) nor a folder with a bundle"),
        ({"name": "a\0b"}, BundleError, "a\\x00b: neither an installed model"),
        ({"name": 3}, BundleError, "3: neither an installed model"),
        ({"name": Path("missing")}, BundleError, "missing: neither an installed model"),
        ({"version": "0"}, BadInputError, "version is '0'; expected a whole number from 0"),
        ({"version": 0.0}, BadInputError, "version is 0.0; expected a whole number from 0"),
        ({"version": True}, BadInputError, "version is True; expected a whole number from 0"),
        ({"version": -1}, BadInputError, "version is -1; expected a whole number from 0"),
        ({"version": 7}, BadInputError, "there is no version 7; versions are numbered from 0"),
    ],
)
def test_a_model_or_version_that_there_is_not(home, arguments, error, message):
    with pytest.raises(error) as caught:
        my_model(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": "16000"}, "audio: the sampling rate is '16000'; expected a number from 1000 to 1000000 (Hz)"),
        ({"sample_rate": 0}, "audio: the sampling rate is 0; expected a number from 1000 to 1000000 (Hz)"),
        ({"sample_rate": None}, "audio: the sampling rate is None; expected a number from 1000 to 1000000 (Hz)"),
        ({"sample_rate": NAN}, "audio: the sampling rate is nan; expected a number from 1000 to 1000000 (Hz)"),
        ({"partial_s": -1}, "partial_s is -1; expected a number from 0 to 60"),
        ({"partial_s": NAN}, "partial_s is nan; expected a number from 0 to 60"),
        ({"settings": 0.8}, "settings is 0.8; expected SegmentSettings"),
    ],
)
def test_arguments_of_a_stream_out_of_range(transcriber, settings, message):
    with pytest.raises(BadInputError) as error:
        transcriber.stream(**settings)
    assert str(error.value) == message


LIST_REMEDY = "convert floats in -1..1 with numpy.asarray(audio, numpy.float32), 16-bit samples with numpy.int16"
WRONG_AUDIO = [
    (None, "audio: None instead of an array"),
    (
        b"\0\0" * 16_000,
        "audio: bytes instead of an array; convert 16-bit samples with numpy.frombuffer(audio, numpy.int16)",
    ),
    ("talk.flac", "audio: str instead of an array; transcribe_file reads files"),
    (np.zeros((16_000, 0), np.float32), "audio: has the shape (16000, 0), which is without channels"),
    (np.float32(0.5), "audio: has the shape (); expected an array of shape (samples,) or (samples, channels)"),
    ([0.0] * 32000, f"audio: list instead of an array; {LIST_REMEDY}"),
    ((0.0,) * 32000, f"audio: tuple instead of an array; {LIST_REMEDY}"),
    (
        np.zeros((2, 16_000), np.float32),
        "audio: has the shape (2, 16000), which is 2 samples of 16000 channels; expected (samples, channels). "
        "Transpose (channels, samples) with audio.T",
    ),
]


@pytest.mark.parametrize(("audio", "message"), WRONG_AUDIO, ids=[message[:40] for _, message in WRONG_AUDIO])
def test_what_is_not_audio(transcriber, audio, message):
    for take in (lambda: transcriber.transcribe(audio, SAMPLE_RATE), lambda: transcriber.stream().feed(audio)):
        with pytest.raises(BadAudioError) as error:
            take()
        assert str(error.value) == message


def test_a_recording_of_many_channels_is_no_mistake(transcriber):
    assert transcriber.transcribe(np.zeros((16_000, 64), np.float32), SAMPLE_RATE).text == ""


def test_a_stream_ends_once(transcriber):
    stream = transcriber.stream()
    stream.feed(np.zeros(512, np.float32))
    assert stream.finish() == stream.finish() == []
    with pytest.raises(BadInputError, match=r"^the stream is finished; Transcriber.stream\(\) starts another$"):
        stream.feed(np.zeros(512, np.float32))


@pytest.mark.parametrize("source", [None, 3, "", "a\0b", io.StringIO("text"), np.zeros(16_000, np.float32)])
def test_a_source_that_is_no_file(transcriber, source):
    with pytest.raises(
        BadInputError, match=r"^the source is .*; expected the path of a file or a seekable binary stream"
    ):
        transcriber.transcribe_file(source)


def test_a_path_may_be_a_text(transcriber, bundle, tmp_path, home):
    audio = RECORDINGS / "ss-noservice.flac"
    assert transcriber.transcribe_file(str(audio)).text == transcriber.transcribe_file(audio).text
    assert Bundle.open(str(bundle.folder)) == my_model(bundle.folder, version=0)
    vector = TaskVector({"a": np.ones(3, np.float32)}, Origin("moonshine", "ab" * 32, "kitchen"))
    vector.save(str(tmp_path / "vector.safetensors"))
    assert TaskVector.load(str(tmp_path / "vector.safetensors")).origin == vector.origin
    with pytest.raises(BadAudioError, match=r"missing.flac: No such file"):
        transcriber.transcribe_file("missing.flac")
    with pytest.raises(BadInputError, match=r"missing.arpa"):
        NGram.read("missing.arpa")


def test_a_precision_that_cannot_be_baked(bundle, tmp_path):
    with pytest.raises(BadInputError, match=r"^precision is 'int4'; expected one of fp32, int8$"):
        bake(bundle, {}, "int4", tmp_path)


def test_error_rates_of_lists_that_do_not_fit():
    with pytest.raises(BadInputError, match=r"^1 reference and 0 hypotheses; expected as many of both$"):
        error_rates(["a"], [], basic)
    with pytest.raises(BadInputError, match="are one text; expected a list of texts for each"):
        error_rates("a text", "a text", basic)


def test_weights_that_do_not_fit_a_vector():
    one = {"a": np.ones(4, np.float32)}
    origin = Origin("moonshine", "ab" * 32, "kitchen")
    for act, message in (
        (lambda: apply(one, {"b": one["a"]}), "the vector differs from the weights in its tensors: a, b"),
        (lambda: apply(one, {"a": np.ones(3, np.float32)}), "a: the vector has shape (3,), the weights (4,)"),
        (lambda: TaskVector.difference({"a": [1.0]}, one, origin), "a is list; expected a float32 array"),
        (lambda: TaskVector.difference({"a": np.ones(4)}, one, origin), "a is float64; expected a float32 array"),
    ):
        with pytest.raises(TaskVectorError) as error:
            act()
        assert str(error.value) == message


def test_errors_of_the_api_name_no_option_of_the_command_line(bundle):
    model = NGram(1, {("hello",): -0.5}, {})
    with pytest.raises(AsrEdgeError) as error:
        Transcriber(bundle, options=DecodingOptions(language_model=model))
    assert str(error.value).endswith("takes no n-gram language model; CTC models do")
    with pytest.raises(ValueError, match="lam is 'x'"):
        METHODS["ties"]([{"a": np.ones(3, np.float32)}], lam="x")


def test_16_bit_samples_in_32_bits_are_refused(transcriber):
    samples = np.full(SAMPLE_RATE, 3000, np.int32)
    with pytest.raises(BadAudioError, match=r"int32 samples of up to 3000.*numpy.asarray\(samples, numpy.int16\)"):
        transcriber.transcribe(samples, SAMPLE_RATE)
    assert transcriber.transcribe(np.zeros(SAMPLE_RATE, np.int32), SAMPLE_RATE).text == ""
