"""Executors: tasks on this machine, and on a real Ray cluster that runs on this machine."""

import os
import signal
import time
from pathlib import Path

import pytest

from editing.errors import BadInputError, TrainingError
from trainer.executors import LocalExecutor, RayExecutor, Task


def write(path, text):
    Path(path).write_text(text)


def fail(path):
    raise BadInputError(f"{path}: is damaged")


def die_once(path):
    """A worker that is killed the first time, as when memory runs out."""
    if not Path(path).exists():
        Path(path).write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).write_text("restarted")


def executor_named(name):
    if name == "local":
        return LocalExecutor()
    pytest.importorskip("ray")
    return RayExecutor()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_all_tasks_run_and_are_reported(name, tmp_path):
    messages = []
    executor_named(name).run(
        [Task(f"task {n}", write, (str(tmp_path / str(n)), str(n))) for n in range(3)], messages.append
    )
    assert [(tmp_path / str(n)).read_text() for n in range(3)] == ["0", "1", "2"]
    assert len(messages) == 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_error_names_the_task_that_failed_and_the_reason(name, tmp_path):
    tasks = [Task("good", write, (str(tmp_path / "good"), "x")), Task("bad", fail, ("m.jsonl",))]
    with pytest.raises((TrainingError, BadInputError), match=r"m\.jsonl: is damaged"):
        executor_named(name).run(tasks, lambda _message: None)
    assert (tmp_path / "good").exists()


def fail_without_a_message():
    raise MemoryError


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_without_a_message_is_named_and_the_other_tasks_continue(tmp_path):
    """Regression: the executor ended with an IndexError."""
    pytest.importorskip("ray")
    tasks = [Task("bad", fail_without_a_message, ()), Task("good", write, (str(tmp_path / "good"), "x"))]
    with pytest.raises(TrainingError, match="bad: MemoryError"):
        RayExecutor().run(tasks, lambda _message: None)
    assert (tmp_path / "good").exists()


@pytest.mark.slow  # Ray takes half a minute
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_is_restarted(tmp_path):
    pytest.importorskip("ray")
    RayExecutor().run([Task("killed once", die_once, (str(tmp_path / "it"),))], lambda _message: None)
    assert (tmp_path / "it").read_text() == "restarted"


@pytest.mark.filterwarnings("ignore")
def test_an_unreachable_cluster_is_an_error():
    pytest.importorskip("ray")
    with pytest.raises(BadInputError, match="no Ray cluster at"):
        RayExecutor("127.0.0.1:1")


def run_slowly(folder):
    """Resumes from its last checkpoint; records each step."""
    folder = Path(folder)
    done = len((folder / "steps").read_text().split()) if (folder / "steps").exists() else 0
    (folder / "node").write_text(os.environ.get("RAY_RAYLET_PID", ""))
    for step in range(done, 40):
        with (folder / "steps").open("a") as file:
            file.write(f"{step}\n")
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_job_whose_node_is_killed_resumes_on_another_node(tmp_path):
    """A real cluster of three nodes on this machine, with Ray's token; the node that runs the task is killed."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
        executor = RayExecutor(cluster.address)
        running = executor.start(Task("long", run_slowly, (str(tmp_path),)))
        end = time.monotonic() + 60
        while not (tmp_path / "steps").exists() or len((tmp_path / "steps").read_text().split()) < 5:
            assert time.monotonic() < end
            time.sleep(0.1)
        working = (tmp_path / "node").read_text()
        raylets = {str(node.all_processes["raylet"][0].process.pid): node for node in nodes}
        cluster.remove_node(raylets[working], allow_graceful=False)
        while not running.has_finished():
            assert time.monotonic() < end + 120
            time.sleep(0.1)
        steps = (tmp_path / "steps").read_text().split()
        assert (tmp_path / "node").read_text() != working
        assert sorted(set(map(int, steps))) == list(range(40))
        assert len(steps) <= 41  # only the interrupted step may be repeated
    finally:
        ray.shutdown()
        cluster.shutdown()
