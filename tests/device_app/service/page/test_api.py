"""The requests of the page: what they do, and what they refuse."""

import io
import json
import re

import numpy as np
import pytest
import soundfile

from device_app.audio import media
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.terms import FILE, stored_terms
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.paths import data_folder
from device_app.recording.prompts import read_prompts
from device_app.service.page.routes import ACTIONS
from device_app.service.page.tasks.state import Task, TaskFiles
from tests.conftest import until
from tests.device_app.service.page.conftest import HEADER

API = "/page/api"


def wav(audio, rate=SAMPLE_RATE, **options):
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=options.pop("format", "WAV"), subtype="PCM_16", **options)
    return file.getvalue()


@pytest.fixture
def ask(serve, client):
    """Sends a request of the page; returns the answer."""
    url = serve() + API

    def send(method, path, *, headers=HEADER, wav=None, **options):
        if wav is not None:
            options["content"] = wav
            headers = {**headers, "Content-Type": "audio/wav"}
        return client.request(method, url + path, headers=headers, **options)

    return send


@pytest.fixture
def get(ask):
    return lambda path, **options: ask("GET", path, **options).raise_for_status().json()


@pytest.fixture
def post(ask):
    return lambda path, **options: ask("POST", path, **options).raise_for_status().json()


def utterances():
    with Store() as store:
        return list(store.utterances())


def ledger():
    return Ledger(find_bundle("tiny"))


# Only the page


def routes():
    return [(method, route.path) for one in ACTIONS for route in one.router.routes for method in route.methods]


def test_no_action_without_the_header_that_other_sites_cannot_send(ask):
    assert len(routes()) > 20
    for method, path in routes():
        answer = ask(method, re.sub(r"\{\w+\}", "1", path), headers={}, json={})
        assert answer.status_code == 403, path
        assert "only the page" in answer.json()["error"]["message"]


def test_no_action_for_a_page_or_a_form_of_another_site(ask):
    for origin in ("http://evil.example", "null"):
        assert ask("POST", "/learning", headers={**HEADER, "Origin": origin}, json={}).status_code == 403
    assert ask("POST", "/learning", data={"domain": "codes"}).status_code == 400


def test_an_unknown_profile(ask):
    assert ask("GET", "/words", headers={"X-Asr-Edge-Model": "asr-edge:nobody"}).status_code == 404


# Record


def test_the_next_sentence_is_another_one_after_saving_or_skipping(post, prompt):
    first = post("/recording", json={})
    assert first["done"] == first["labelled"] == 0
    sentence = first["prompt"]
    saved = post("/takes", wav=wav(prompt), params={"prompt": sentence, "text": sentence})
    assert saved["utterance"]["text"] == sentence
    second = post("/recording", json={})
    assert second["done"] == second["labelled"] == 1
    assert second["prompt"] not in (sentence, None)
    free = post("/recording", json={"free": True})
    assert (free["done"], free["labelled"], len(free["recent"])) == (1, 1, 1)  # what was read counts there too
    assert post("/recording", json={"skipped": [second["prompt"]]})["prompt"] not in (sentence, second["prompt"])
    assert post("/recording", json={"skipped": read_prompts()})["is_over"]


def test_a_corrected_recording_counts_as_recorded(ask, post, prompt):
    number = post("/takes", wav=wav(prompt), params={"prompt": "hello", "text": "hello"})["utterance"]["id"]
    ask("PUT", f"/utterances/{number}", json={"text": "yellow"}).raise_for_status()
    assert utterances()[0].source == "corrected"
    assert post("/recording", json={})["done"] == 1


def test_the_last_recordings_list_each_sentence_once(post, prompt):
    for number, sentence in enumerate(["one", "two", "two", "three"]):
        take = prompt * (0.5 + number / 10)
        saved = post("/takes", wav=wav(take), params={"prompt": sentence, "text": sentence})["utterance"]
        assert saved["text"] == sentence
    recent = post("/recording", json={})["recent"]
    assert [one["text"] for one in recent] == ["three", "two", "one"]
    assert recent[1]["id"] == 3  # the newest


def test_a_take_that_is_sent_twice_is_saved_once(post, prompt):
    both = [post("/takes", wav=wav(prompt), params={"prompt": "hello", "text": "hello"}) for _ in range(2)]
    assert both[0]["utterance"] == both[1]["utterance"]
    assert len(utterances()) == 1


def test_checking_a_take_saves_nothing_and_says_what_is_wrong_with_it(post, prompt, noise):
    assert post("/takes/check", wav=wav(noise(2.0)))["problems"] == ["no speech"]
    silent = post("/takes/check", wav=wav(np.zeros(SAMPLE_RATE, np.float32)))
    assert (silent["problems"], silent["quality"]["level_dbfs"]) == (["no speech"], None)
    clipped = post("/takes/check", wav=wav(np.clip(prompt * 20, -0.9, 0.9)))
    assert "clipped" in clipped["problems"]
    assert "other text" in post("/takes/check", wav=wav(prompt), params={"prompt": read_prompts()[0]})["problems"]
    assert utterances() == []


def test_a_take_is_stored_as_it_was_measured(post, prompt):
    """The silence around the speech is not stored."""
    post("/takes", wav=wav(np.pad(prompt, 3 * SAMPLE_RATE)))
    (stored,) = utterances()
    assert abs(stored.duration_s - len(prompt) / SAMPLE_RATE) < 1.0
    assert stored.text is None
    assert stored.snr_db is not None


def test_what_is_no_take_is_refused(ask):
    refused = {
        "empty": (b"", 400),
        "no audio": (b"RIFF" + bytes(100), 400),
        "too short": (wav(np.zeros(100)), 400),
        "flac": (wav(np.zeros(SAMPLE_RATE), format="FLAC"), 400),
        "too long": (wav(np.zeros(SAMPLE_RATE * 32)), 400),
        "too large": (bytes((16 << 20) + 1), 413),
    }
    for name, (content, status) in refused.items():
        assert ask("POST", "/takes", wav=content).status_code == status, name
    assert ask("POST", "/takes", json={}).status_code == 415
    assert utterances() == []


def test_a_name_that_no_domain_can_have_is_refused(ask, prompt):
    assert ask("POST", "/takes", wav=wav(prompt), params={"domain": GUARD_SET}).status_code == 400
    assert ask("POST", "/recording", json={"domain": "../x"}).status_code == 400


# Correct


def test_a_correction_is_stored_and_its_rare_words_are_expected(ask, get, post, prompt):
    number = post("/takes", wav=wav(prompt))["utterance"]["id"]
    assert [one["id"] for one in get("/utterances")["utterances"]] == [number]
    found = get(f"/utterances/{number}")
    assert found["recognised"] == " ".join(word["text"] for word in found["words"])
    assert all(word["is_sure"] == (word["confidence"] >= 0.8) for word in found["words"])
    changed = ask("PUT", f"/utterances/{number}", json={"text": "ask Heusgen"}).json()
    assert changed["expected"] == ["Heusgen"]
    assert [term.text for term in stored_terms().terms] == ["Heusgen"]
    assert utterances()[0].text == "ask Heusgen"
    assert get("/utterances")["total"] == 0
    assert get("/utterances?show=all")["total"] == 1


def test_a_correction_is_stored_also_if_no_word_can_be_added(ask, post, prompt):
    """Regression: the text was stored, and then the request failed."""
    number = post("/takes", wav=wav(prompt))["utterance"]["id"]
    changed = ask("PUT", f"/utterances/{number}", json={"text": "ask ////"})
    assert (changed.status_code, changed.json()["expected"]) == (200, [])
    (data_folder() / FILE).write_text("{")
    changed = ask("PUT", f"/utterances/{number}", json={"text": "ask Heusgen"})
    assert (changed.status_code, changed.json()["expected"]) == (200, [])
    assert utterances()[0].text == "ask Heusgen"


def test_the_sound_of_a_recording_is_what_was_stored(ask, post, prompt):
    number = post("/takes", wav=wav(prompt))["utterance"]["id"]
    answer = ask("GET", f"/utterances/{number}/audio")
    assert answer.content == utterances()[0].audio.read_bytes()
    assert answer.headers["content-type"] == "audio/flac"
    assert ask("DELETE", f"/utterances/{number}").status_code == 204
    assert ask("GET", f"/utterances/{number}/audio").status_code == 400
    assert utterances() == []


def test_a_recording_is_unsure_until_its_text_is_saved(ask, get, post, prompt):
    """Whether the person changes the text that was proposed, or confirms it."""
    numbers = [post("/takes", wav=wav(prompt * size))["utterance"]["id"] for size in (0.4, 0.6, 0.8)]
    with Store() as store:
        for number in numbers:
            store.set_hypothesis(number, "the two are comfortable", 0.4)
    assert get("/utterances?show=unsure")["total"] == 3
    ask("PUT", f"/utterances/{numbers[0]}", json={"text": "These shoes are comfortable"})
    ask("PUT", f"/utterances/{numbers[1]}", json={"text": "the two are comfortable"})
    assert [one["id"] for one in get("/utterances?show=unsure")["utterances"]] == numbers[2:]
    assert ask("GET", "/utterances?after=-1").status_code == 400
    assert get("/utterances?show=all")["total"] == 3


# Words


def test_words_and_replacements(ask, get, post):
    assert post("/words/terms", json={"texts": [" Heusgen  GmbH "]})["terms"][0]["text"] == "Heusgen GmbH"
    assert post("/words/terms/remove", json={"text": "heusgen gmbh"})["terms"] == []
    added = post("/words/replacements", json={"words": "zero six", "text": "06"})
    assert added["replacements"] == [{"words": "zero six", "text": "06"}]
    assert post("/words/replacements/remove", json={"words": "zero six"})["replacements"] == []
    assert not post("/words/corrections", json={"from_corrections": False})["from_corrections"]
    assert ask("POST", "/words/terms", json={"texts": ["Fuchsia", ""]}).status_code == 400
    assert get("/words")["terms"] == []  # none of several, if one is not valid
    assert ask("POST", "/words/terms", json={"texts": []}).status_code == 400
    assert not get("/words")["from_corrections"]


def test_a_word_that_is_on_the_list_already_keeps_its_weight_and_is_said_to_be_there(post):
    assert post("/words/terms", json={"texts": ["Heusgen"], "weight": 3.0})["added"] == ["Heusgen"]
    again = post("/words/terms", json={"texts": ["Heusgen", "HEUSGEN AG", "Fuchsia"]})
    assert (again["known"], again["changed"]) == (["Heusgen"], [])
    assert again["added"] == ["HEUSGEN AG", "Fuchsia"]
    changed = post("/words/terms", json={"texts": ["HEUSGEN"]})
    assert (changed["added"], changed["changed"]) == ([], ["HEUSGEN"])
    assert {term.text: term.weight for term in stored_terms().terms}["HEUSGEN"] == 3.0
    post("/words/replacements", json={"words": "zero six", "text": "06"})
    assert post("/words/replacements", json={"words": "zero six", "text": "06"})["known"] == ["zero six"]
    assert post("/words/replacements", json={"words": "zero six", "text": "6"})["changed"] == ["zero six"]


def test_words_are_dropped_from_texts_only_if_the_request_says_so(ask, get, post):
    assert ask("POST", "/words/replacements", json={"words": "mister budge"}).status_code == 400
    assert get("/words")["replacements"] == []
    assert post("/words/replacements", json={"words": "um", "text": ""})["replacements"] == [
        {"words": "um", "text": ""}
    ]


# Learn and History


class TestWithEdits:
    """A model that has been adapted once."""

    @pytest.fixture
    def service_home(self, home_adapted):
        return home_adapted

    def ended(self, get):
        return until(lambda: (found := get("/task"))["status"] != "running" and found)

    def test_learning_in_the_browser_is_adapt(self, get, post, tasks_in_threads, teacher):
        post("/history/1/revert")
        assert self.ended(get)["status"] == "done"
        assert list(ledger().current.applied) == []
        post("/learning", json={"domain": "codes"})
        result = self.ended(get)["result"]
        assert result["promoted"]
        assert result["domains"]["codes"]["after"] < result["domains"]["codes"]["before"]
        assert ledger().is_applied(2)
        (domain,) = get("/learning")["domains"]
        assert domain["wer_now"] == result["domains"]["codes"]["after"]
        assert (domain["new"], domain["last_edit"]) == (0, "active")
        edit = get("/history")["edits"][0]
        assert edit["held_out"] == result["domains"]["codes"]["utterances"]

    def test_a_version_without_a_change_that_was_taken_out_has_the_figures_of_the_one_that_it_equals(self, get, post):
        post("/history/1/revert")
        assert self.ended(get)["status"] == "done"
        base, _, now = get("/history")["versions"]
        assert now["applied"] == []
        assert now["wer"] == base["wer"] != {}

    def test_a_preview_changes_nothing_and_shows_what_a_smaller_strength_costs(self, get, post, tasks_in_threads):
        post("/history/1/preview", json={"lam": 0.0})
        preview = self.ended(get)["result"]
        assert preview["passes"]  # the page asks before it uses what makes words wrong
        assert preview["domains"]["codes"]["after"] > preview["domains"]["codes"]["before"]
        assert ledger().current.id == 1
        post("/history/1/reweight", json={"lam": 0.0})
        assert self.ended(get)["result"]["promoted"]
        post("/history/1/reweight", json={"lam": 0.9})
        assert self.ended(get)["result"]["promoted"]
        assert ledger().current.applied[0].settings["lam"] == 0.9

    def test_an_edit_that_is_taken_out_keeps_the_strength_and_the_figures_it_had(self, get, post, tasks_in_threads):
        post("/history/1/reweight", json={"lam": 0.9})
        assert self.ended(get)["result"]["promoted"]
        (used,) = get("/history")["edits"]
        post("/history/1/revert")
        assert self.ended(get)["status"] == "done"
        (taken_out,) = get("/history")["edits"]
        assert taken_out["state"] == "reverted"
        assert taken_out["settings"]["lam"] == 0.9
        assert taken_out["latest"] == used["latest"]

    def test_history_has_the_wer_before_the_first_edit(self, get):
        found = get("/history")
        (edit,) = found["edits"]
        assert (edit["state"], edit["kind"]) == ("active", "adapt")
        assert [version["wer"]["codes"] for version in found["versions"]] == [
            edit["before"]["codes"],
            edit["after"]["codes"],
        ]

    def test_an_edit_that_does_not_exist_is_refused_before_anything_starts(self, ask, get):
        for path in ("/history/9/revert", "/history/9/preview", "/history/0/reweight"):
            assert ask("POST", path, json={}).status_code == 400
        assert get("/task")["status"] == "none"

    def test_a_task_runs_in_a_process_that_reports_and_holds_the_lock(self, ask, get, post):
        post("/history/1/revert")
        assert ask("POST", "/learning", json={"domain": "codes"}).status_code == 409
        assert ask("POST", "/task/dismiss").status_code == 409
        assert self.ended(get)["status"] == "done"
        assert list(ledger().current.applied) == []
        assert post("/task/dismiss")["status"] == "none"


def test_too_few_recordings_are_an_error_that_the_page_shows(get, post, tasks_in_threads, prompt):
    post("/takes", wav=wav(prompt), params={"text": "hello"})
    post("/learning", json={})
    failed = until(lambda: (found := get("/task"))["status"] == "failed" and found)
    assert "needs at least 10" in failed["error"]


def test_a_task_whose_process_has_died_is_interrupted(get, service_home):
    TaskFiles().write(Task("learn", {}, "running"))
    assert get("/task")["status"] == "interrupted"


def test_a_wish_to_stop_is_part_of_the_task(get, service_home):
    files = TaskFiles()
    files.write(Task("learn", {}, "running"))
    with files.locked():
        assert not get("/task")["stopping"]
        files.ask_to_stop()
        assert get("/task")["stopping"]


def test_a_damaged_state_of_a_task_is_an_error(ask, service_home):
    files = TaskFiles()
    (files.folder / "task.json").write_text('{"surprise": 1}')
    assert ask("GET", "/task").status_code == 503


def test_a_task_stops_when_it_is_asked_to(get, service_home, tasks_in_threads):
    from device_app.service.page.tasks import work

    files = TaskFiles()
    files.write(Task("measure", {}, "running"))
    with files.locked():
        files.ask_to_stop()
        assert work.run(files, "tiny").status == "stopped"
    assert not files.is_to_stop


# Transcribe


def test_a_file_becomes_text_and_subtitles(ask, prompt):
    answer = ask("POST", "/transcribe", files={"file": ("a.wav", wav(prompt))})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert all("segment" in line for line in lines[:-1])
    assert lines[-1]["files"].keys() == {"txt", "srt", "vtt", "json"}
    assert lines[-1]["files"]["vtt"].startswith("WEBVTT")


@pytest.mark.parametrize(("kind", "place"), [("WAV", "read_s"), ("FLAC", "at_s"), ("OGG", "at_s")])
def test_the_place_where_a_file_is_damaged_is_a_number(ask, prompt, kind, place):
    file = io.BytesIO()
    soundfile.write(file, np.tile(prompt, 3), SAMPLE_RATE, format=kind)
    content = file.getvalue()
    answer = ask("POST", "/transcribe", files={"file": ("after 9 s.x", content[: len(content) // 2])})
    damage = json.loads(answer.text.splitlines()[-1])["damage"]
    assert 0 < damage[place] < 3 * len(prompt) / SAMPLE_RATE


def test_a_file_that_is_whole_has_no_damage(ask, prompt):
    answer = ask("POST", "/transcribe", files={"file": ("a.wav", wav(prompt))})
    assert json.loads(answer.text.splitlines()[-1])["damage"] == {}


def test_what_is_no_recording_is_an_error(ask):
    answer = ask("POST", "/transcribe", files={"file": ("a.wav", b"nothing")})
    found = json.loads(answer.text)
    assert found["reason"] == "not audio"
    assert "a.wav" in found["error"]
    assert ask("POST", "/transcribe", data={"x": "y"}).status_code == 400


def test_a_form_that_cannot_be_read_is_named_as_such(ask):
    twice = [("file", ("a.wav", b"one")), ("file", ("b.wav", b"two"))]
    answer = ask("POST", "/transcribe", files=twice)
    assert (answer.status_code, "the form cannot be read" in answer.text) == (400, True)


def test_a_kind_of_file_that_needs_another_program_is_named_as_such(ask, monkeypatch):
    monkeypatch.setattr(media, "is_available", lambda: False)
    answer = ask("POST", "/transcribe", files={"file": ("holiday.m4a", b"nothing")})
    assert json.loads(answer.text)["reason"] == "unknown kind"
