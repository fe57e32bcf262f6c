import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from device_app import Transcriber, embedded_bundle
from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.results import Recognition
from device_app.recognition.shared_cores import Callers, SharedCoresRecogniser
from editing.errors import BundleError

AUDIO = np.zeros(1600, np.float32)


class Named:
    """A recogniser whose text is its name; in `held` calls it waits for the event."""

    def __init__(self, name, event=None):
        self.name, self.event, self.began = name, event, threading.Event()

    def recognise(self, audio, *, is_draft=False):
        self.began.set()
        if self.event is not None:
            assert self.event.wait(30)
        return Recognition(self.name, ())

    def log_probabilities(self, audio, text):
        return np.zeros((1, 1), np.float32)

    def text_loss(self, log_probabilities, text):
        return None

    def with_keyterms(self, keyterms):
        return Named(f"{self.name} with {', '.join(keyterms)}")


def test_the_only_segment_has_all_threads():
    recogniser = SharedCoresRecogniser(Named("alone"), lambda: Named("together"))
    assert [recogniser.recognise(AUDIO).text for _ in range(2)] == ["alone", "alone"]


@pytest.mark.parametrize("hold_s", [0, 600])
def test_a_segment_beside_another_has_one_thread_also_with_other_keyterms(hold_s):
    end = threading.Event()
    first = Named("alone", end)
    recogniser = SharedCoresRecogniser(first, lambda: Named("together"), Callers(hold_s))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(recogniser.recognise, AUDIO)
        assert first.began.wait(30)
        assert recogniser.recognise(AUDIO).text == "together"
        assert recogniser.with_keyterms(["Quito"]).recognise(AUDIO).text == "together with Quito"
        end.set()
        assert running.result().text == "alone"
    later = recogniser.with_keyterms(["Quito"]).recognise(AUDIO).text
    assert later == ("together with Quito" if hold_s else "alone with Quito")


def test_the_second_copy_is_loaded_once_and_the_first_serves_if_its_files_are_gone():
    loaded = []

    def load():
        if not loaded:
            loaded.append(None)
            raise BundleError("the files are gone")
        loaded.append(Named("together"))
        return loaded[-1]

    callers = Callers()
    recogniser = SharedCoresRecogniser(Named("alone"), load, callers)
    with callers.call():
        assert [recogniser.recognise(AUDIO).text for _ in range(3)] == ["alone", "together", "together"]
    assert len(loaded) == 2


def test_a_failed_segment_does_not_count():
    class Failing(Named):
        def recognise(self, audio, *, is_draft=False):
            raise RuntimeError

    failing = SharedCoresRecogniser(Failing("alone"), lambda: Named("together"))
    for _ in range(2):
        with pytest.raises(RuntimeError):  # of the recogniser for a caller that is alone
            failing.recognise(AUDIO)


def test_a_shared_transcriber_hears_what_another_hears(transcriber, prompt):
    shared = Transcriber(embedded_bundle(), threads=2, is_shared=True)
    with ThreadPoolExecutor(3) as pool:
        texts = set(pool.map(lambda _: shared.transcribe(prompt, SAMPLE_RATE).text, range(3)))
    assert texts == {transcriber.transcribe(prompt, SAMPLE_RATE).text}
