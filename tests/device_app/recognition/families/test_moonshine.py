from dataclasses import replace

import numpy as np
import pytest
import soundfile

from device_app.audio.margins import OTHER_MARGINS_S, with_margins
from device_app.audio.samples import SAMPLE_RATE
from device_app.models.baking import baked
from device_app.recognition.decoder_search import Hypothesis, SearchSettings
from device_app.recognition.families import moonshine
from device_app.recognition.options import DecodingOptions
from device_app.recognition.transcriber import Transcriber
from editing.errors import BundleError


@pytest.fixture(scope="module")
def recogniser(transcriber, bundle):
    return moonshine.load(bundle, baked(bundle), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_position_embeddings": None},
        {"max_position_embeddings": 0},
        {"max_position_embeddings": 194.0},
        {"bos_token_id": "x"},
        {"bos_token_id": True},
        {"eos_token_id": None},
        {"eos_token_id": -1},
        {"decoder_num_hidden_layers": "6"},
        {"hidden_size": 288.0},
        {"decoder_num_attention_heads": 0},
    ],
)
def test_a_damaged_configuration_is_refused_before_decoding(bundle, tmp_path, changes):
    damaged = replace(bundle, config={**bundle.config, **changes})
    with pytest.raises(BundleError, match=r"the configuration in model.json is damaged"):
        moonshine.load(damaged, tmp_path, 1)


@pytest.mark.parametrize("changes", [{"eos_token_id": 32768}, {"bos_token_id": 40000}])
def test_tokens_that_the_graphs_do_not_have_are_refused_before_decoding(bundle, changes):
    with pytest.raises(BundleError, match=r"the configuration in model.json is not that of the graphs"):
        moonshine.load(replace(bundle, config={**bundle.config, **changes}), baked(bundle), 1)


def test_a_beam_is_at_least_as_likely_as_greedy(recogniser, prompt):
    greedy = recogniser.decode(prompt)
    wide = recogniser.decode(prompt, SearchSettings(beam=4, margin=100.0, length_exponent=0.0))
    assert greedy.is_complete
    assert wide.is_complete
    assert wide.score >= greedy.score - 0.1  # int8 scales depend on all hypotheses of a step


def test_a_draft_is_greedy_and_so_is_a_beam_of_one(recogniser, bundle, prompt):
    of_one = moonshine.load(bundle, baked(bundle), 1, DecodingOptions(beam=1))
    noisy = (prompt + 0.02 * np.random.default_rng(0).standard_normal(len(prompt))).astype(np.float32)
    assert recogniser.recognise(noisy, is_draft=True) == of_one.recognise(noisy)


def test_what_comes_after_a_decoding_that_did_not_end_is_kept(recogniser, prompt, monkeypatch):
    """With a cap of two tokens a second the decoder is stopped early; pieces are decoded again, in order."""
    whole = recogniser.recognise(prompt)
    monkeypatch.setattr(recogniser, "_layout", replace(recogniser._layout, tokens_per_s=2.0))
    found = recogniser.recognise(prompt)
    assert not recogniser.decode(prompt).is_complete
    last = whole.words[-1]
    assert found.words[-1].text.strip(".") == last.text.strip(".")
    assert found.words[-1].end_s == pytest.approx(last.end_s, abs=0.2)
    assert [word.start_s for word in found.words] == sorted(word.start_s for word in found.words)


def test_words_have_their_times_in_the_audio_without_margins(transcriber, prompt):
    """The same words at the same times, whether their pauses are there or cut off."""
    whole = transcriber.transcribe(prompt, SAMPLE_RATE).words
    start, end = (round(time_s * SAMPLE_RATE) for time_s in (whole[0].start_s, whole[-1].end_s))
    cut = transcriber.transcribe(prompt[start:end], SAMPLE_RATE).words
    assert [word.text for word in cut] == [word.text for word in whole]
    for one, other in zip(whole, cut, strict=True):
        assert other.start_s == pytest.approx(one.start_s - start / SAMPLE_RATE, abs=0.2)
    assert cut[0].start_s >= 0
    assert cut[-1].end_s <= (end - start) / SAMPLE_RATE


def test_a_word_cut_without_silence_is_recognised(transcriber, prompt):
    """Without a margin the decoder makes nothing or something else of it."""
    whole = transcriber.transcribe(prompt, SAMPLE_RATE).words
    word = next(word for word in whole if word.text.startswith("service"))
    piece = prompt[round(word.start_s * SAMPLE_RATE) : round(word.end_s * SAMPLE_RATE)]
    assert transcriber.transcribe(piece, SAMPLE_RATE).text.strip(".").lower() == "service"


@pytest.mark.parametrize("beam", [1, 4])
def test_a_phrase_that_is_said_six_times_does_not_hide_what_follows(bundle, transcriber, prompt, beam):
    words = transcriber.transcribe(prompt, SAMPLE_RATE).words
    end = next(word for word in words if word.text.startswith("service"))
    phrase = prompt[: round((end.end_s + 0.15) * SAMPLE_RATE)]
    audio = np.concatenate([*[phrase] * 6, prompt])
    text = Transcriber(bundle, options=DecodingOptions(beam=beam)).transcribe(audio, SAMPLE_RATE).text
    assert text.rstrip(".").endswith("try again")


def test_the_outputs_for_a_text_are_those_that_greedy_decoding_chose_from(recogniser, prompt, bundle):
    tokens = recogniser.decode(with_margins(prompt)[0]).tokens
    rows = recogniser.log_probabilities(prompt, recogniser._text(tokens))
    assert rows.argmax(axis=1).tolist() == [*tokens, bundle.config["eos_token_id"]]
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, rtol=1e-3)


def test_the_loss_of_a_text_is_that_of_its_tokens_and_the_end(recogniser, prompt):
    text = recogniser._text(recogniser.decode(with_margins(prompt)[0]).tokens)
    rows = recogniser.log_probabilities(prompt, text)
    assert recogniser.text_loss(rows, text) == pytest.approx(
        -rows.max(axis=1).sum()
    )  # greedy: the likeliest of each row
    other = "Something else entirely."
    assert (
        recogniser.text_loss(recogniser.log_probabilities(prompt, other), other) > recogniser.text_loss(rows, text) + 5
    )


def test_a_loop_does_not_replace_the_complete_text_of_a_short_segment(recogniser, prompt, monkeypatch):
    """A short segment is decoded with several margins. Of a loop, the score is that of one phrase only."""
    short = prompt[SAMPLE_RATE // 2 : SAMPLE_RATE]
    decode, found = recogniser.decode, []

    def loops_at_first(*arguments):
        found.append(decode(*arguments))
        return Hypothesis(found[0].tokens[:1], (-0.01,), found[0].attention[:1], -0.01) if len(found) == 1 else found[1]

    monkeypatch.setattr(recogniser, "decode", loops_at_first)
    text = recogniser.recognise(short).text
    assert len(found) == 1 + len(OTHER_MARGINS_S)
    assert text == recogniser._tokenizer.decode(list(found[1].tokens))


class Credits:
    """A decoder whose likeliest token is always the copyright sign, and then the end."""

    def __init__(self, sign, end):
        self.sign, self.end = sign, end

    def step(self, tokens, parents):
        log_probabilities = np.full((len(tokens), 32_768), -9.0, np.float32)
        log_probabilities[:, self.sign] = -0.1
        log_probabilities[:, self.end] = -0.2
        return log_probabilities, np.ones((len(tokens), 1), np.float32)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_sign_of_credits_is_never_written(bundle, monkeypatch, prompt, beam):
    sign = bundle.tokenizer().token_to_id("\N{COPYRIGHT SIGN}")
    loaded = moonshine.load(bundle, baked(bundle), 1)
    monkeypatch.setattr(loaded, "_cached_decoder", lambda audio: Credits(sign, bundle.config["eos_token_id"]))
    found = loaded.decode(prompt, SearchSettings(beam=beam))
    assert found.is_complete
    assert sign not in found.tokens


@pytest.mark.corpus
def test_two_digits_are_no_credits_of_subtitles(transcriber, corpus):
    samples, rate = soundfile.read(corpus("digits-nicolas").parent / "audio/train-001.flac", dtype="float32")
    assert "transcript" not in transcriber.transcribe(samples[1680:10000], rate).text
