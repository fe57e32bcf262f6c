"""A worker: takes a job from its folder and leaves the result there.

It is given nothing but the folder, so it runs in a process of its own on this machine or on any that
shares the folder; if it dies, another one goes on after its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from device_app.audio.samples import duration_s
from editing.errors import AsrEdgeError
from editing.files import private_folder
from trainer.host.job_folder import JobFolder
from trainer.host.job_training import finetune_job
from trainer.host.ray_train import finetune_job_together, workers_for


def work(folder: Path) -> None:
    """Does a job, whose folder has `request.json` and `dataset.tar`; leaves `result.json` and perhaps a vector.

    What is wrong with the job is its result, too; only what another attempt might mend is raised.

    Raises:
        OSError: the folder cannot be read or written.
    """
    private_folder(folder)  # this may be a process of its own
    job = JobFolder(folder)
    with job.locked():  # a worker that was given up may still be at it
        if job.has_result() or not job.has_request():
            return  # it has finished, or the job was cancelled
        try:
            seconds = sum(duration_s(one.file) for one in job.unpack())
            workers = workers_for(seconds)
            if workers > 1:
                finetune_job_together(folder, workers)
            else:
                finetune_job(folder)
        except AsrEdgeError as error:
            if isinstance(error, OSError):
                raise
            job.write_error(error)
