"""The active version of each profile is served, and a promotion loses no request."""

import threading

import pytest

from device_app.data.terms import Replacement, TermList, change_terms
from device_app.models.ledger import Edit, Ledger
from device_app.paths import data_folder, in_profile
from device_app.profiles import add_profile
from device_app.service import models as models_module
from device_app.service.models import Models, UnknownModelError
from editing.errors import BadInputError
from tests.conftest import until
from tests.device_app.service.conftest import SPEECH


def replace_in(profile, text):
    """Gives a profile a replacement that shows in its transcripts."""
    with in_profile(profile):
        change_terms(lambda _listed: TermList(replacements=[Replacement("service", text)]))


@pytest.fixture
def two_profiles(own_home):
    for name in ("anna", "ben"):
        baked = own_home / "baked"
        (add_profile(name) / "baked").symlink_to(baked)
        replace_in(name, f"{name}'s word")
    return own_home


def text_of(client, url, model="asr-edge"):
    with SPEECH.open("rb") as file:
        answer = client.post(f"{url}/v1/audio/transcriptions", files={"file": file}, data={"model": model})
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]


def test_each_profile_is_a_model_with_its_own_terms(two_profiles, start, client):
    url, _ = start()
    listed = [model["id"] for model in client.get(f"{url}/v1/models").json()["data"]]
    assert listed == ["asr-edge", "asr-edge:anna", "asr-edge:ben"]
    assert "anna's word" in text_of(client, url, "asr-edge:anna")
    assert "ben's word" in text_of(client, url, "asr-edge:ben")
    assert "not in service" in text_of(client, url)


def test_a_service_of_one_profile_serves_no_other(two_profiles, start, client):
    url, _ = start(only="anna")
    assert [model["id"] for model in client.get(f"{url}/v1/models").json()["data"]] == ["asr-edge"]
    assert "anna's word" in text_of(client, url)
    with pytest.raises(UnknownModelError):
        Models(only="anna").profile_of("asr-edge:ben")


@pytest.mark.parametrize("name", ["asr-edge:", "asr-edge:../anna", "asr-edge:nobody", "x:anna", ":"])
def test_a_name_that_is_no_model_is_refused(two_profiles, name):
    with pytest.raises(UnknownModelError):
        Models().get(name)


def test_a_profile_holds_in_its_own_thread_only(two_profiles):
    found = []
    with in_profile("anna"):
        thread = threading.Thread(target=lambda: found.append(data_folder()))
        thread.start()
        thread.join()
        assert data_folder().name == "anna"
    assert found == [two_profiles]


def test_a_promotion_and_a_rollback_switch_without_losing_a_request(ledger, vector, start, client):
    url, state = start()
    texts, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            texts.append(text_of(client, url))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with ledger.changing():
            name = ledger.store_vector(vector("phone"))
            edit = Edit(1, "adapt", ["phone"], [name], "ties", {"lam": 0.6, "density": 0.5})
            version = ledger.with_edit(edit)
            ledger.promote(version, edit)
        until(lambda: state.models.get().version == version.id)
        with ledger.changing():
            ledger.roll_back()
        until(lambda: state.models.get().version == 0)
    finally:
        stop.set()
        asking.join()
    assert texts  # `text_of` has checked every status
    assert "not in service" in text_of(client, url)


def test_change_terms_are_used(own_home, start, client):
    url, state = start()
    before = state.models.get().transcriber
    assert "not in service" in text_of(client, url)
    replace_in("", "use")
    assert state.models.get().transcriber is before  # the old one serves until the new one is ready
    until(lambda: state.models.get().transcriber is not before)
    assert "not in use" in text_of(client, url)


def test_a_damaged_ledger_leaves_the_old_version_serving(ledger, vector, start, client):
    url, state = start()
    before = state.models.get()
    ledger.path.parent.mkdir(parents=True, exist_ok=True)
    ledger.path.write_text("{")
    state.models.get()
    until(lambda: "" in state.models._failed)
    assert state.models.get() is before
    assert "not in service" in text_of(client, url)


def test_a_change_during_a_load_that_fails_is_loaded(own_home, monkeypatch):
    models = Models()
    before = models.get()

    def failing(*_arguments, **_options):
        replace_in("", "second change")
        raise BadInputError("damaged")

    with monkeypatch.context() as patch:
        patch.setattr(models_module, "Transcriber", failing)
        replace_in("", "use")
        models.get()
        until(lambda: "" in models._failed and not models._reloading)
    until(lambda: models.get() is not before, 20)


def test_few_profiles_are_in_memory(two_profiles, monkeypatch):
    monkeypatch.setattr(models_module, "MOST_LOADED", 1)
    models = Models()
    first = models.get("asr-edge:anna")
    assert models.get("asr-edge:anna") is first
    models.get("asr-edge:ben")
    assert models.get("asr-edge:anna") is not first


def test_the_ledger_of_the_profile_is_watched(two_profiles, bundle):
    models = Models()
    with in_profile("anna"):
        path = Ledger(bundle).path
    assert path in models.get("asr-edge:anna").watched
