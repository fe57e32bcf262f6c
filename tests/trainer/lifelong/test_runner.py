"""Runs the grid on an untrained tiny model: finished steps, stored files, and resuming."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from device_app.data.manifest import read_manifest
from editing.errors import BadAudioError, BadInputError, TrainingError
from editing.task_vector import TaskVector
from tests.conftest import write_audio
from trainer import families
from trainer.lifelong import fine_tuner, preparation, run_folder, runner, scoring
from trainer.lifelong.cells import Cell
from trainer.lifelong.config import Experiment
from trainer.lifelong.methods import find_methods
from trainer.lifelong.preparation import load_domains
from trainer.lifelong.results import write_results
from trainer.lifelong.run_folder import RunFolder, open_run_folder
from trainer.lifelong.runner import run
from trainer.lifelong.sweep import sweep
from trainer.training.data import load_examples
from trainer.training.settings import FineTuningSettings

TEXTS = ["zero one two", "three four", "five six seven", "a fox"]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory, prompt):
    """Three domains of real speech; the texts are not what is spoken, which a tiny model can be trained on as well."""
    folder = tmp_path_factory.mktemp("domains")
    found = {}
    for place, name in enumerate(("first", "second", "third")):
        lines = []
        for number, text in enumerate(TEXTS):
            audio = write_audio(folder / f"{name}-{number}.wav", prompt[8000 * (number + place) :][:16000])
            split = "test" if number == 3 else "train"
            lines.append({"audio": audio.name, "text": text, "split": split})
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


@pytest.fixture
def experiment(manifests, tiny_bundle):
    return Experiment(
        order=["second", "third"],
        methods=["fine-tuning", "ties"],
        manifests=manifests,
        base=str(tiny_bundle.folder),
        base_domain="first",
        fine_tuning={"epochs": 1, "learning_rate": 1e-3},
    )


@pytest.fixture(autouse=True)
def distillation_set(manifests, tiny_bundle, monkeypatch):
    """A small distillation set: the recordings of one domain."""
    tokenise = families.find(tiny_bundle).tokenise(tiny_bundle)
    found = load_examples(read_manifest(manifests["first"]), tokenise)
    monkeypatch.setattr(runner, "load_distillation_set", lambda _bundle: found)
    return found


ERRORS = {"wrong": [1], "words": [3]}


OF_TWO_UTTERANCES = {name: {"wrong": [1, 0], "words": [3, 3]} for name in ("first", "second", "third")}


def step_record(*, wrong=None, **changes):
    """The content of a `step-N.json` with something wrong."""
    one = ERRORS if wrong is None else {**ERRORS, "wrong": wrong}
    errors = dict.fromkeys(("first", "second", "third"), one)
    return json.dumps({"errors": errors, "seconds": 1.0, "stored_mb": 0.1, "peak_gb": 0.5, **changes})


def silent(_message):
    pass


def test_a_run_fills_the_matrix_and_a_second_run_computes_nothing(experiment, tmp_path, monkeypatch):
    messages = []
    run(experiment, tmp_path, messages.append, 2)
    assert messages[1:] == ["fine-tuning, seed 0 (1 of 2)", "ties, seed 0 (2 of 2)"]
    cell = Cell(experiment, RunFolder(tmp_path), "ties", 0)
    assert cell.wer.shape == (3, 3)
    assert np.isfinite(cell.wer).all()
    assert all(0 < mb < 1 for mb in cell.stored_mb)
    vectors = sorted((tmp_path / "cells" / "ties" / "seed-0" / "memory").iterdir())
    assert [TaskVector.load(path).origin.domain for path in vectors] == ["second", "third"]
    assert not list(tmp_path.rglob("theta-*"))
    results = write_results(experiment, tmp_path)
    assert results["methods"].keys() == {"fine-tuning", "ties"}
    monkeypatch.setattr(fine_tuner, "finetune", None)
    monkeypatch.setattr(preparation, "UtteranceTranscriber", None)
    monkeypatch.setattr(scoring, "UtteranceTranscriber", None)
    run(experiment, tmp_path, silent, 2)
    more = replace(experiment, methods=[*experiment.methods, "joint"])
    with pytest.raises(TypeError):  # a method may be added, and only it runs
        run(more, tmp_path, silent, 2)


def test_every_method_runs(experiment, tmp_path):
    others = [name for name in find_methods() if name not in experiment.methods]
    run(replace(experiment, methods=others, order=["second"], seeds=[3]), tmp_path, silent, 2)
    for name in others:
        record = json.loads((tmp_path / "cells" / name / "seed-3" / "step-1.json").read_text())
        assert record["errors"].keys() == ({"first", "second"} if find_methods()[name].is_one_model else {"second"})
        stores = name not in ("joint", "lora", "lwf", "update-only-encoder")
        assert (record["stored_mb"] > 0) == stores, name


def test_methods_that_begin_alike_share_their_first_fine_tuning(experiment, tmp_path, monkeypatch):
    finetune, calls = fine_tuner.finetune, []
    monkeypatch.setattr(fine_tuner, "finetune", lambda *a, **k: calls.append(1) or finetune(*a, **k))
    alike = replace(experiment, methods=["ties", "task-arithmetic"], order=["second", "third"])
    run(alike, tmp_path, silent, 2)
    assert len(calls) == 3
    assert not (tmp_path / "fine-tunings").exists()


def test_an_interrupted_run_gives_the_same_results(experiment, tmp_path, monkeypatch):
    one = replace(experiment, methods=["ties"])
    run(one, tmp_path / "whole", silent, 2)
    calls = []

    def failing_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise TrainingError("power cut")
        return finetune(*arguments, **options)

    finetune = fine_tuner.finetune
    monkeypatch.setattr(fine_tuner, "finetune", failing_once)
    with pytest.raises(TrainingError):
        run(one, tmp_path / "broken", silent, 2)
    run(one, tmp_path / "broken", silent, 2)
    assert len(calls) == 3  # the first step was not repeated
    vectors = [
        tmp_path / name / "cells" / "ties" / "seed-0" / "memory" / "2.safetensors" for name in ("whole", "broken")
    ]
    tensors = [TaskVector.load(path).tensors for path in vectors]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize(
    ("place", "content", "delete"),
    [
        ("experiment.json", '{"methods"', "with all its results"),
        ("experiment.json", "[]", "with all its results"),
        ("experiment.json", '{"methods": 5, "settings": 3}', "with all its results"),
        ("experiment.json", '{"methods": [{}], "settings": {}}', "with all its results"),
        ("experiment.json", '{"methods": [], "settings": {}, "contents": 5}', "with all its results"),
        ("prepared/second.json", "[[", "it"),
        ("prepared/second.json", "[1]", "it"),
        ("prepared/second.json", '[["a.wav", 5, 5, "a text"]]', "it"),
        ("cells/base/step-0.json", "{}", "it"),
        ("cells/base/step-0.json", '{"errors": {}}', "it"),
        ("cells/ties/seed-0/step-1.json", "{}", "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(errors=5), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(seconds=float("nan")), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(errors=OF_TWO_UTTERANCES), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(seconds="x"), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(errors={"second": ERRORS}), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(wrong=[1, 2]), "cells/ties/seed-0"),
        ("cells/ties/seed-0/step-1.json", step_record(wrong=[]), "cells/ties/seed-0"),
        ("cells/ties/seed-0/theta-1.safetensors", "", "cells/ties/seed-0"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_with_what_to_delete(
    experiment, tmp_path, monkeypatch, place, content, delete
):
    one = replace(experiment, methods=["ties"])
    monkeypatch.setattr(runner.Run, "_run_step", stop_at(2))
    with pytest.raises(TrainingError):
        run(one, tmp_path, silent, 2)
    monkeypatch.undo()
    (tmp_path / place).write_text(content)
    with pytest.raises(BadInputError, match=rf"{Path(place).name}: .*; delete .*{delete or tmp_path.name} and start"):
        run(one, tmp_path, silent, 2)
        write_results(one, tmp_path)


@pytest.mark.parametrize(
    ("method", "name"),
    [("ewc", "1.safetensors"), ("smear", "1.safetensors"), ("smear", "mean-1.safetensors")],
    ids=" ".join,
)
def test_a_damaged_file_of_a_method_is_named_with_what_to_delete(experiment, tmp_path, monkeypatch, method, name):
    one = replace(experiment, methods=[method])
    monkeypatch.setattr(runner.Run, "_run_step", stop_at(2))
    with pytest.raises(TrainingError):
        run(one, tmp_path, silent, 2)
    monkeypatch.undo()
    path = tmp_path / "cells" / method / "seed-0" / "memory" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BadInputError, match=rf"{name}: .*; delete .*cells/{method}/seed-0 and start"):
        run(one, tmp_path, silent, 2)


def test_a_damaged_file_of_a_finished_cell_is_reported_before_other_cells_run(experiment, tmp_path, monkeypatch):
    run(replace(experiment, methods=["ties"]), tmp_path, silent, 2)
    (tmp_path / "cells" / "ties" / "seed-0" / "step-2.json").write_text("")
    monkeypatch.setattr(runner.Run, "run_cell", None)
    with pytest.raises(BadInputError, match=r"step-2\.json: is damaged"):
        run(experiment, tmp_path, silent, 2)


def test_a_killed_step_is_counted_once_and_leaves_no_weights(experiment, tmp_path, monkeypatch):
    """Killed after the method stored its files, and, the second time, before old weights were deleted."""
    one = replace(experiment, methods=["ties"])
    score = scoring.Scorer.score
    calls = []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:  # of the base, and after each step
            raise TrainingError("power cut")
        return score(*arguments)

    monkeypatch.setattr(scoring.Scorer, "score", killed)
    with pytest.raises(TrainingError):
        run(one, tmp_path, silent, 2)
    cell = tmp_path / "cells" / "ties" / "seed-0"
    for name in ("theta-0.safetensors", ".theta-2.safetensors.0123456789abcdef.tmp", "memory/.2.safetensors.01.tmp"):
        (cell / name).write_bytes(b"left")
    run(one, tmp_path, silent, 2)
    stored = [json.loads((cell / f"step-{number}.json").read_text())["stored_mb"] for number in (1, 2)]
    sizes = [(cell / "memory" / f"{number}.safetensors").stat().st_size / 1e6 for number in (1, 2)]
    assert stored == pytest.approx(sizes)
    assert sorted(path.name for path in cell.iterdir()) == ["memory", "step-1.json", "step-2.json"]


def stop_at(last):
    """A replacement of `Run._run_step` that fails at a step."""
    run_step = runner.Run._run_step

    def step(self, method, seed, number, *arguments):
        if number == last:
            raise TrainingError("power cut")
        return run_step(self, method, seed, number, *arguments)

    return step


def test_a_lambda_by_layer_is_checked_before_anything_is_prepared(experiment, tmp_path):
    wrong = replace(experiment, settings={"ties": {"lam": {"encodr": 0.4, "*": 0.6}}})
    with pytest.raises(BadInputError, match=r"\[settings.ties\] lam: no layer of the model is named 'encodr'"):
        run(wrong, tmp_path / "out", silent, 2)
    assert not (tmp_path / "out").exists()


def test_a_recording_that_disappears_is_named_and_finished_steps_are_kept(experiment, manifests, tmp_path):
    domains = load_domains(experiment)
    lost = domains["third"].training[1].audio
    data = lost.read_bytes()
    interrupted = runner.Run(experiment, domains, tmp_path, 2)
    interrupted.score_base()
    lost.unlink()
    try:
        with pytest.raises(BadAudioError, match=lost.name):
            interrupted.run_cell("fine-tuning", 0)
        assert (tmp_path / "cells" / "fine-tuning" / "seed-0" / "step-1.json").is_file()
        with pytest.raises(BadInputError, match=rf"{lost.name} is missing"):
            run(experiment, tmp_path, silent, 2)
    finally:
        lost.write_bytes(data)
    run(experiment, tmp_path, silent, 2)


def test_a_folder_refuses_another_experiment_or_process(experiment, tmp_path):
    with open_run_folder(experiment, tmp_path):
        with pytest.raises(BadInputError, match="another process is running in this folder"):
            run(experiment, tmp_path, silent)
        record = json.loads((tmp_path / "experiment.json").read_text())
    assert record["order"] == ["second", "third"]
    with pytest.raises(BadInputError, match="another order"):
        run(replace(experiment, order=["third"]), tmp_path, silent)
    with pytest.raises(BadInputError, match=r"another settings\.ties"):
        run(replace(experiment, settings={"ties": {"lam": 0.1}}), tmp_path, silent)


def test_a_folder_refuses_a_manifest_that_has_changed(experiment, manifests, tmp_path):
    """Its results had the word errors of other test lines, side by side."""
    mine = tmp_path / "third.jsonl"
    mine.write_bytes(manifests["third"].read_bytes())
    changed = replace(experiment, manifests={**manifests, "third": mine})
    with open_run_folder(changed, tmp_path / "out"):
        pass
    with open_run_folder(changed, tmp_path / "out"):
        pass
    mine.write_bytes(mine.read_bytes() + b"\n")
    with pytest.raises(BadInputError, match="another manifest of third"), open_run_folder(changed, tmp_path / "out"):
        pass


def test_a_folder_refuses_another_base_of_the_same_name(experiment, tiny_bundle, tmp_path, monkeypatch):
    with open_run_folder(experiment, tmp_path / "out"):
        pass
    monkeypatch.setattr(run_folder, "find_bundle", lambda _name: SimpleNamespace(weights_hash="another"))
    with pytest.raises(BadInputError, match="another base model"), open_run_folder(experiment, tmp_path / "out"):
        pass


def test_a_folder_refuses_other_settings_of_a_method_that_was_left_out_meanwhile(experiment, tmp_path):
    with open_run_folder(experiment, tmp_path) as folder:
        folder.cell("ties", 0).mkdir(parents=True)
    with open_run_folder(replace(experiment, methods=["fine-tuning"]), tmp_path):
        pass
    with (
        pytest.raises(BadInputError, match=r"another settings\.ties"),
        open_run_folder(replace(experiment, settings={"ties": {"density": 0.1}}), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("kept", "reason"), [("train", 'no lines of split "test"'), ("test", 'no lines of split "train"')]
)
def test_a_missing_split_is_an_error_before_anything_runs(experiment, manifests, tmp_path, kept, reason):
    lines = manifests["second"].read_text().splitlines()
    path = manifests["second"].with_name(f"only-{kept}.jsonl")
    path.write_text("".join(line + "\n" for line in lines if json.loads(line)["split"] == kept))
    with pytest.raises(BadInputError, match=reason):
        run(replace(experiment, manifests={**manifests, "second": path}), tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()


def test_the_error_for_an_unknown_character_names_the_recording(experiment, manifests, tmp_path):
    path = manifests["second"].with_name("digits.jsonl")
    path.write_text(manifests["second"].read_text().replace("three four", "3 4"))
    with pytest.raises(BadInputError, match=r"second-1\.wav: its text has characters that the model cannot write: 3 4"):
        run(replace(experiment, manifests={**manifests, "second": path}), tmp_path, silent)


def test_a_sweep_fine_tunes_once_per_step(experiment, tmp_path, monkeypatch):
    calls = []
    finetune = fine_tuner.finetune
    monkeypatch.setattr(fine_tuner, "finetune", lambda *a, **k: calls.append(1) or finetune(*a, **k))
    grid = {"lambdas": (0.3, 0.9), "densities": (0.2, 1.0), "threads": 2}
    found = sweep(experiment, tmp_path, silent, **grid)
    assert len(calls) == 2
    assert [len(step["cells"]) for step in found["steps"]] == [4, 4]
    for step in found["steps"]:
        assert step["best"]["average_wer"] == min(cell["average_wer"] for cell in step["cells"])
    again = sweep(experiment, tmp_path, silent, **grid)
    assert len(calls) == 2
    assert again["steps"] == found["steps"]


def test_a_sweep_fine_tunes_again_if_only_its_weights_are_left(experiment, tmp_path, monkeypatch):
    one = replace(experiment, order=["second"])
    grid = {"lambdas": (0.3,), "densities": (0.2,), "threads": 2}
    found = sweep(one, tmp_path, silent, **grid)
    (tmp_path / "sweep" / "step-1.json").unlink()
    again = sweep(one, tmp_path, silent, **grid)
    assert again["steps"][0]["cells"] == found["steps"][0]["cells"]


@pytest.mark.parametrize(
    "record", [[1], {}, {"cells": 5}, {"cells": [1]}, {"cells": [{"lam": 0.1}]}, {"tuning_s": None}], ids=str
)
def test_a_damaged_file_of_a_sweep_is_named_with_what_to_delete(experiment, tmp_path, monkeypatch, record):
    one = replace(experiment, order=["second"])
    grid = {"lambdas": (0.3,), "densities": (0.2,), "threads": 2}
    sweep(one, tmp_path, silent, **grid)
    path = tmp_path / "sweep" / "step-1.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, **record} if record and isinstance(record, dict) else record))
    with pytest.raises(BadInputError, match=rf"step-1\.json: is damaged .*; delete {path.parent} and start"):
        sweep(one, tmp_path, silent, **grid)


def test_a_folder_in_the_place_of_a_result_is_reported_before_anything_runs(experiment, tmp_path):
    (tmp_path / "experiment.json").write_text("{}")
    (tmp_path / "summary.md").mkdir()
    with (
        pytest.raises(BadInputError, match=r"summary\.md: is a folder; nothing was changed"),
        open_run_folder(experiment, tmp_path),
    ):
        pass


@pytest.mark.parametrize(("method", "is_distilled"), [("fine-tuning", False), ("ties", True), ("joint", True)])
def test_every_method_but_plain_fine_tuning_is_distilled(
    experiment, tmp_path, monkeypatch, distillation_set, method, is_distilled
):
    seen = []

    def spy(*_arguments, distillation_set, **_options):
        seen.append(list(distillation_set))
        raise TrainingError("seen")

    monkeypatch.setattr(fine_tuner, "finetune", spy)
    with pytest.raises(TrainingError):
        run(replace(experiment, methods=[method]), tmp_path, silent)
    assert seen == [distillation_set if is_distilled else []]


def test_later_fine_tunings_keep_the_outputs_of_the_base(experiment, tmp_path, monkeypatch, distillation_set):
    finetune, seen = fine_tuner.finetune, []

    def spy(bundle, weights, *arguments, teacher, **options):
        seen.append((weights, teacher()))
        return finetune(bundle, weights, *arguments, teacher=teacher, **options)

    monkeypatch.setattr(fine_tuner, "finetune", spy)
    run(replace(experiment, methods=["task-arithmetic"]), tmp_path, silent)
    (base, first), (edited, second) = seen[:2]
    for name, tensor in base.items():
        np.testing.assert_array_equal(first[name], tensor)
        np.testing.assert_array_equal(second[name], tensor)
    assert any(np.any(edited[name] != tensor) for name, tensor in base.items())


def test_settings_reach_the_fine_tuning(experiment, tmp_path, monkeypatch):
    seen = []

    def spy(bundle, weights, training, held_out, settings, **_options):
        seen.append(settings)
        raise TrainingError("seen")

    monkeypatch.setattr(fine_tuner, "finetune", spy)
    with pytest.raises(TrainingError):
        run(replace(experiment, methods=["lora"]), tmp_path, silent)
    assert seen == [FineTuningSettings(epochs=1, learning_rate=1e-2, scope="lora", target_loss=0.0, seed=1)]


def test_an_edit_of_the_encoder_changes_nothing_else(experiment, tmp_path):
    one = replace(experiment, methods=["task-arithmetic"], settings={"task-arithmetic": {"scope": "encoder"}})
    run(one, tmp_path, silent, 2)
    edit = TaskVector.load(tmp_path / "cells" / "task-arithmetic" / "seed-0" / "memory" / "1.safetensors").tensors
    changed = {name for name, tensor in edit.items() if np.any(tensor)}
    assert changed
    assert all("encoder" in name.split(".") for name in changed)


def test_results_never_replace_a_manifest(experiment, manifests, tmp_path):
    mine = tmp_path / "results.json"
    mine.write_text(manifests["third"].read_text())
    changed = replace(experiment, manifests={**manifests, "third": mine})
    with pytest.raises(BadInputError, match="is an input; nothing was changed"), open_run_folder(changed, tmp_path):
        pass
    assert mine.read_text() == manifests["third"].read_text()


@pytest.mark.parametrize("name", ["results.json", "results.csv", "summary.md", "sweep.json"])
def test_files_that_no_run_has_written_are_not_replaced(experiment, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with (
        pytest.raises(BadInputError, match="no run has written it; nothing was changed"),
        open_run_folder(experiment, tmp_path),
    ):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}
    (tmp_path / name).unlink()
    with open_run_folder(experiment, tmp_path):
        (tmp_path / name).write_text("of a run")
    with open_run_folder(experiment, tmp_path):
        pass
