"""A large domain on several workers of a Ray cluster at once: Ray Train."""

from __future__ import annotations

from pathlib import Path

from editing.errors import TrainingError
from trainer.executors import CPUS
from trainer.host.job_training import finetune_job

LARGE_S = 2 * 3600.0  # of speech; below it, starting workers costs more than they save
MOST_WORKERS = 16
FAILURES = 3


def workers_for(seconds: float) -> int:
    """How many workers fine-tune on a domain: one, unless it is large and this process is part of a cluster.

    Args:
        seconds: of speech to train on.
    """
    try:
        import ray
    except ImportError:
        return 1
    if seconds < LARGE_S or not ray.is_initialized():
        return 1
    free = ray.available_resources()
    places = free.get("GPU", 0) or free.get("CPU", 0) // CPUS
    return max(1, min(MOST_WORKERS, int(places)))


def finetune_job_together(folder: Path, workers: int) -> None:
    """Fine-tunes on a job that is unpacked, with several workers that share its folder.

    If one dies, all start again, after the last checkpoint.

    Raises:
        TrainingError: they failed again and again.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    use_gpu = bool(ray.cluster_resources().get("GPU", 0))
    trainer = TorchTrainer(
        _finetune_share,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": CPUS, **({"GPU": 1} if use_gpu else {})}
        ),
        run_config=RunConfig(storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=FAILURES)),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray Train has several, of no common kind
        raise TrainingError(f"{workers} workers could not learn it: {str(error).splitlines()[0]}") from error


def _finetune_share(config: dict[str, str]) -> None:
    """What each worker does."""
    finetune_job(Path(config["folder"]))
