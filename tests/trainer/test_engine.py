"""Tasks here, and on a real Ray cluster on this machine."""

import os
import signal
from pathlib import Path

import pytest

from editing.errors import BadInputError, TrainingError
from trainer.engine import Local, Ray, Task


def write(path, text):
    Path(path).write_text(text)


def fail(path):
    raise BadInputError(f"{path}: is no good")


def die_once(path):
    """A worker that is killed the first time, as by a lack of memory."""
    if not Path(path).exists():
        Path(path).write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).write_text("came back")


@pytest.fixture(params=["local", "ray"])
def engine(request):
    if request.param == "local":
        return Local()
    pytest.importorskip("ray")
    return Ray()


@pytest.mark.filterwarnings("ignore")
def test_tasks_are_done_and_told(engine, tmp_path):
    told = []
    engine.run([Task(f"task {n}", write, (str(tmp_path / str(n)), str(n))) for n in range(3)], told.append)
    assert [(tmp_path / str(n)).read_text() for n in range(3)] == ["0", "1", "2"]
    assert len(told) == 3


@pytest.mark.filterwarnings("ignore")
def test_a_failure_says_which_and_why(engine, tmp_path):
    tasks = [Task("good", write, (str(tmp_path / "good"), "x")), Task("bad", fail, ("m.jsonl",))]
    with pytest.raises((TrainingError, BadInputError), match=r"m\.jsonl: is no good"):
        engine.run(tasks, lambda _message: None)
    assert (tmp_path / "good").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_is_started_again(tmp_path):
    pytest.importorskip("ray")
    Ray().run([Task("mortal", die_once, (str(tmp_path / "it"),))], lambda _message: None)
    assert (tmp_path / "it").read_text() == "came back"


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_said():
    pytest.importorskip("ray")
    with pytest.raises(BadInputError, match="no Ray cluster at"):
        Ray("127.0.0.1:1")
