import json
import multiprocessing
import os
import signal
import stat

import pytest

from device_app.data.terms import Term, change_terms
from device_app.data.terms import usage as module
from device_app.data.terms.usage import MAX_UNAIDED, Usage, UsageCounter, stored_usage
from editing.errors import StorageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    change_terms(lambda listed: listed.with_terms([Term("Huesca"), Term("Leeds")]))
    return tmp_path / "home"


def test_matches_are_added_to_those_of_earlier_runs(home):
    for _ in range(2):
        counter = UsageCounter()
        counter.add([("huesca", True), ("huesca", False)])
        counter.write()
    found = stored_usage()
    assert found.keys() == {"huesca"}
    assert (found["huesca"].matched, found["huesca"].helped, found["huesca"].unaided) == (4, 2, 1)
    assert found["huesca"].last.startswith("20")
    assert stat.S_IMODE((home / "term-usage.json").stat().st_mode) == 0o600


def test_a_term_is_not_needed_after_some_matches_in_a_row_without_help():
    assert Usage().is_needed is None
    assert Usage().after([False]).is_needed is None
    assert Usage().after([True]).is_needed is True
    assert Usage().after([True, *[False] * (MAX_UNAIDED - 1)]).is_needed is True
    assert Usage().after([True, *[False] * MAX_UNAIDED]).is_needed is False
    assert Usage().after([*[False] * MAX_UNAIDED, True]).is_needed is True


def test_terms_of_a_file_are_not_counted_and_those_that_left_the_list_are_forgotten(home):
    counter = UsageCounter()
    counter.add([("huesca", True), ("oxford", True)])
    counter.write()
    assert stored_usage().keys() == {"huesca"}
    change_terms(lambda listed: listed.without(["Huesca"]))
    counter.add([("leeds", True)])
    counter.write()
    assert stored_usage().keys() == {"leeds"}


def test_a_batch_is_written_once_unless_it_takes_long(home, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    counter = UsageCounter()
    for _ in range(100):
        counter.add([("huesca", True)])
    assert not (home / "term-usage.json").exists()
    now[0] = module.WRITE_EVERY_S
    counter.add([("huesca", True)])
    assert stored_usage()["huesca"].matched == 101


def count(times, ready):
    ready.wait()
    for _ in range(times):
        counter = UsageCounter()
        counter.add([("huesca", True)])
        counter.write()


def test_processes_that_write_at_the_same_time_lose_no_match(home):
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    processes = [context.Process(target=count, args=(20, ready)) for _ in range(3)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert stored_usage()["huesca"].matched == 60


def test_a_kill_leaves_a_whole_file_and_no_lock(home):
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(2)
    process = context.Process(target=count, args=(100_000, ready))
    process.start()
    ready.wait()
    while not (home / "term-usage.json").exists():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = stored_usage()["huesca"].matched
    counter = UsageCounter()
    counter.add([("huesca", True)])
    counter.write()
    assert stored_usage()["huesca"].matched == before + 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format_version": 0, "terms": {}}',
        '{"format_version": 1, "terms": {"huesca": 5}}',
        json.dumps({"format_version": 1, "terms": {"huesca": {"matched": -1}}}),
        json.dumps({"format_version": 1, "terms": {"huesca": {"matched": 1, "last": ["2026-01-01"]}}}),
    ],
)
def test_damaged_counts_are_reported_and_not_overwritten(home, text):
    (home / "term-usage.json").write_text(text)
    with pytest.raises(StorageError, match=r"term-usage\.json: the counts of matched terms are damaged"):
        stored_usage()
    counter = UsageCounter()
    counter.add([("huesca", True)])
    with pytest.raises(StorageError):
        counter.write()
    assert (home / "term-usage.json").read_text() == text


def test_matches_that_cannot_be_written_are_written_later(home):
    (home / "term-usage.json").write_text("{")
    counter = UsageCounter()
    counter.add([("huesca", True)])
    with pytest.raises(StorageError):
        counter.write()
    counter.add([("huesca", False)])
    (home / "term-usage.json").unlink()
    counter.write()
    counter.write()  # and only once
    assert (stored_usage()["huesca"].matched, stored_usage()["huesca"].helped) == (2, 1)


def test_counts_of_a_later_version_and_unreadable_ones_are_not_called_damaged(home):
    (home / "term-usage.json").write_text('{"format_version": 2, "terms": {}}')
    with pytest.raises(StorageError, match=r"term-usage\.json: was written by a later version .*Update asr-edge"):
        stored_usage()
    (home / "term-usage.json").unlink()
    (home / "term-usage.json").mkdir()
    with pytest.raises(StorageError, match=r"term-usage\.json: cannot be read"):
        stored_usage()
