"""The reporter of a task: it writes the progress, and stops the task where that is possible."""

import time

import pytest

from device_app.adaptation import retired_terms
from device_app.service.page.tasks import work
from device_app.service.page.tasks.state import Task, TaskFiles
from device_app.service.page.tasks.work import FileReporter, StoppedError


@pytest.fixture
def files(tmp_path):
    files = TaskFiles(tmp_path)
    files.write(Task("learn", {}, "running"))
    return files


@pytest.fixture
def state(files):
    """The state in the file, which no process holds."""
    return files._stored


@pytest.fixture
def reporter(files):
    return FileReporter(files, Task("learn", {}, "running"))


def test_a_fine_tuning_stops_also_while_it_reports_nothing(files, reporter, monkeypatch):
    monkeypatch.setattr(work, "POLL_S", 0.01)
    with pytest.raises(StoppedError), reporter.finetuning():
        files.ask_to_stop()
        time.sleep(30)
    time.sleep(0.05)  # the timer is off: nothing raises here


def test_a_fine_tuning_that_stops_is_left_to_clean_up(files, reporter, monkeypatch):
    monkeypatch.setattr(work, "POLL_S", 0.01)
    is_cleaned_up = False
    with pytest.raises(StoppedError), reporter.finetuning():
        files.ask_to_stop()
        try:
            time.sleep(30)
        finally:
            time.sleep(0.05)
            is_cleaned_up = True
    assert is_cleaned_up


def test_a_step_begins_only_if_nobody_wants_to_stop(files, reporter):
    files.ask_to_stop()
    with pytest.raises(StoppedError), reporter.progress("transcribing with the active version", 3):
        pytest.fail("the step began")


def test_after_the_change_a_stop_comes_too_late(files, reporter, state):
    """Otherwise the page would say that nothing was changed."""
    assert work.AFTER_CHANGE == retired_terms.CHECKING
    files.ask_to_stop()
    with reporter.progress(work.AFTER_CHANGE, 1) as advance:
        advance(1)
    reporter.report("No term was taken off the list: it is damaged")
    assert state().step.startswith("No term")


def test_between_steps_there_are_no_figures(reporter, state):
    with reporter.progress("transcribing the training set", 3):
        assert state().total == 3
    assert (state().step, state().total) == ("transcribing the training set", 0)


def test_the_time_that_is_left_follows_from_the_rate(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert work._left_s(90.0, done=2, total=10) == 40.0
    assert work._left_s(90.0, done=0, total=10) is None
    assert work._left_s(99.0, done=2, total=10) is None  # too early to tell
