"""OpenAI's API: what its own client, curl and a plain form get."""

import subprocess

import pysrt
import pytest
import soundfile
import webvtt

from device_app.audio.samples import read
from device_app.paths import RECORDINGS
from device_app.service.openai.form import FORMATS
from tests.conftest import until
from tests.device_app.service.conftest import SPEECH


@pytest.fixture
def api(url):
    import openai  # takes a second, which only the process that runs these tests needs to spend

    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30) as found:
        yield found


@pytest.fixture(scope="module")
def expected(transcriber):
    return transcriber.transcribe_file(SPEECH)


def post(client, url, data=None, path=SPEECH):
    with path.open("rb") as file:
        return client.post(f"{url}/v1/audio/transcriptions", files={"file": file}, data=data or {})


def test_the_openai_client_gets_the_text(api, expected):
    assert api.audio.transcriptions.create(file=SPEECH, model="whisper-1").text == expected.text


def test_the_openai_client_gets_the_times_of_words_and_segments(api, expected):
    found = api.audio.transcriptions.create(
        file=SPEECH, model="asr-edge", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert [word.word for word in found.words] == [word.text for word in expected.words]
    assert [word.start for word in found.words] == pytest.approx([w.start_s for w in expected.words], abs=1e-3)
    assert [segment.text for segment in found.segments] == [segment.text for segment in expected.segments]
    assert found.segments[-1].end == pytest.approx(expected.segments[-1].end_s, abs=1e-3)
    assert (found.language, found.duration) == ("english", pytest.approx(expected.duration_s, abs=1e-3))


def test_segments_are_the_default_of_verbose_json(client, url):
    found = post(client, url, {"response_format": "verbose_json"}).json()
    assert found["segments"]
    assert "words" not in found


def test_the_openai_client_gets_events_while_segments_are_recognised(api, transcriber):
    path = RECORDINGS / "two_cities.flac"
    events = list(api.audio.transcriptions.create(file=path, model="asr-edge", stream=True))
    deltas = [event.delta for event in events[:-1]]
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    assert "".join(deltas) == events[-1].text == transcriber.transcribe_file(path).text
    assert len(deltas) > 1


def test_subtitles_can_be_parsed(api):
    srt = api.audio.transcriptions.create(file=SPEECH, model="asr-edge", response_format="srt")
    vtt = api.audio.transcriptions.create(file=SPEECH, model="asr-edge", response_format="vtt")
    assert len(pysrt.from_string(srt)) == len(webvtt.from_string(vtt).captions) > 0


def test_curl_gets_plain_text(url, expected):
    command = ["curl", "-sS", f"{url}/v1/audio/transcriptions", "-F", f"file=@{SPEECH}", "-F", "response_format=text"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == f"{expected.text}\n"


@pytest.mark.parametrize("form", ["WAV", "OGG", "MP3"])
def test_other_formats_are_read(client, url, form, tmp_path):
    path = tmp_path / "speech"  # without a suffix: the content decides
    soundfile.write(path, read(SPEECH), 16_000, format=form)
    assert "not in service" in post(client, url, path=path).json()["text"]


def test_a_prompt_lists_keyterms(client, url):
    path = RECORDINGS / "invalid.flac"
    assert "That is not a valid extension" in post(client, url, path=path).json()["text"]
    helped = post(client, url, {"prompt": "that's not, A sentence that is too long to be a term."}, path)
    assert "that's not a valid extension" in helped.json()["text"]


def test_a_damaged_recording_gives_what_could_be_read_and_a_warning(api, client, url, tmp_path):
    path = tmp_path / "cut.flac"
    path.write_bytes(SPEECH.read_bytes()[:40_000])
    answer = post(client, url, path=path)
    assert answer.status_code == 200
    assert answer.json()["text"].startswith("The number")
    assert "cut.flac" in answer.headers["X-Asr-Edge-Warning"]
    *_, done = api.audio.transcriptions.create(file=path, model="asr-edge", stream=True)
    assert (done.type, done.text) == ("transcript.text.done", answer.json()["text"])
    assert done.warning == answer.headers["X-Asr-Edge-Warning"]


@pytest.mark.parametrize(
    ("data", "parameter"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"language": "fr"}, "language"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"stream": "perhaps"}, "stream"),
        ({"timestamp_granularities[]": "letter"}, "timestamp_granularities"),
        ({"prompt": "a," * 10_000}, "prompt"),
    ],
)
def test_a_wrong_parameter_is_named(client, url, data, parameter):
    answer = post(client, url, data)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_openai_client_raises_its_own_errors(api):
    import openai

    with pytest.raises(openai.NotFoundError, match="asr-edge:nobody") as caught:
        api.audio.transcriptions.create(file=SPEECH, model="asr-edge:nobody")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="not audio"):
        api.audio.transcriptions.create(file=("a.wav", b"no audio at all" * 100), model="asr-edge")
    with pytest.raises(openai.APIError):
        list(api.audio.transcriptions.create(file=("a.wav", b"no audio" * 100), model="asr-edge", stream=True))


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"data": {"file": "a"}, "files": {"x": b""}}, "file: is a text, not a recording"),
        ({"files": {"audio": b"x"}}, "file: the recording is missing, the form has only audio"),
        ({"files": {"file": b""}}, "file: is empty"),
        ({"files": [("file", b"x"), ("file", b"y")]}, "file: the form has more than one file"),
        ({"data": {"file": "x" * (2 << 20)}, "files": {"x": b"1"}}, "file: a field that is not a file has more than 1"),
        ({"data": {f"a{n}": "x" for n in range(60)}, "files": {"x": b"1"}}, "the form has more than 50 fields"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, "is not a complete form"),
    ],
)
def test_a_wrong_form_is_a_sentence_with_the_remedy(client, url, sent, message):
    answer = client.post(f"{url}/v1/audio/transcriptions", **sent)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert "send" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "file"


@pytest.mark.parametrize("body", [b"", b"{}", b"--x\r\n"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_body_that_is_no_form_is_refused(client, url, body, kind):
    answer = client.post(f"{url}/v1/audio/transcriptions", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_the_openai_client_lists_the_models(api):
    import openai

    assert [model.id for model in api.models.list()] == ["asr-edge"]
    assert api.models.retrieve("asr-edge").id == "asr-edge"
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("asr-edge:nobody")


@pytest.mark.parametrize("response_format", FORMATS)
def test_a_recording_without_speech_has_an_empty_transcript(client, url, response_format, tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, [0.0] * 16_000, 16_000)
    answer = post(client, url, {"response_format": response_format}, path)
    assert answer.status_code == 200
    if "json" in response_format:
        assert answer.json()["text"] == ""


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/chat/completions", 404, "there is nothing at /v1/chat/completions"),
        ("POST", "/v1", 404, "there is nothing at /v1"),
        ("GET", "/v1/audio/live", 404, "there is nothing at /v1/audio/live"),
        ("GET", "/v1/models/zzz", 404, "there is no model 'zzz'; choose one of: asr-edge"),
        ("GET", "/v1/models/whisper-1", 404, "there is no model 'whisper-1'; choose one of: asr-edge"),
        ("GET", "/v1/models/asr-edge/x", 404, "there is nothing at /v1/models/asr-edge/x"),
        ("GET", "/v1/audio/transcriptions", 405, "/v1/audio/transcriptions does not take GET, but POST"),
        ("DELETE", "/v1/models/asr-edge", 405, "/v1/models/asr-edge does not take DELETE, but GET"),
    ],
)
def test_what_the_service_does_not_have_is_an_error_in_openais_shape(client, url, method, path, status, message):
    answer = client.request(method, f"{url}{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == message
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("data", [{}, {"stream": "true"}])
def test_metrics_count_the_seconds_of_audio(client, url, data):
    def seconds():
        (line,) = [
            line
            for line in client.get(f"{url}/metrics").text.splitlines()
            if line.startswith("asr_edge_audio_seconds_total")
        ]
        return float(line.split()[1])

    before = seconds()
    post(client, url, data=data)
    until(lambda: seconds() > before, 10)


def test_metrics_count_what_was_served_without_its_content(client, url):
    post(client, url)
    text = client.get(f"{url}/metrics").text
    assert 'asr_edge_requests_total{method="POST",route="/v1/audio/transcriptions",status="200"}' in text
    assert "service." not in text
    health = client.get(f"{url}/health").json()
    assert (health["status"], health["jobs"]) == ("ok", 0)
