"""Data-parallel fine-tuning of a large domain on several workers of a Ray cluster, with Ray Train."""

from __future__ import annotations

from pathlib import Path

from editing.errors import TrainingError, first_line
from trainer.executors import CPUS_PER_TASK
from trainer.host.job_training import finetune_job

MIN_SPEECH_S = 2 * 3600.0  # below this, starting more workers costs more time than they save
MAX_WORKERS = 16
MAX_FAILURES = 3  # restarts of all workers after one has died


def workers_for(seconds: float) -> int:
    """The number of workers for a domain: one, unless the domain is large and this process is part of a cluster.

    Args:
        seconds: seconds of training speech.
    """
    try:
        import ray
    except ImportError:
        return 1
    if seconds < MIN_SPEECH_S or not ray.is_initialized():
        return 1
    free = ray.available_resources()
    slots = free.get("GPU", 0) or free.get("CPU", 0) // CPUS_PER_TASK
    return max(1, min(MAX_WORKERS, int(slots)))


def finetune_job_together(folder: Path, workers: int) -> None:
    """Fine-tunes for an unpacked job with several workers that share its folder.

    If a worker dies, all workers restart from the last checkpoint.

    Raises:
        TrainingError: the workers failed more than `MAX_FAILURES` times.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    use_gpu = bool(ray.cluster_resources().get("GPU", 0))
    trainer = TorchTrainer(
        _finetune_share,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": CPUS_PER_TASK, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=MAX_FAILURES)),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray Train raises exceptions without a common base class
        raise TrainingError(f"fine-tuning with {workers} workers failed: {first_line(error)}") from error


def _finetune_share(config: dict[str, str]) -> None:
    """The training function of each worker."""
    finetune_job(Path(config["folder"]))
