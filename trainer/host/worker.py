"""The worker: runs a job from its folder and writes the result there.

It needs only the folder, so it can run in its own process on any machine that shares the folder. If it
dies, another worker resumes from the last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from device_app.audio.samples import duration_s
from editing.errors import AsrEdgeError
from editing.privacy import private_folder
from trainer.host.job_folder import JobFolder
from trainer.host.job_training import finetune_job
from trainer.host.ray_train import finetune_job_together, workers_for


def run_job(folder: Path) -> None:
    """Runs a job from its `request.json` and `dataset.tar`; writes `result.json` and, on success, the task vector.

    Errors of the job itself become its result. Only errors that another attempt might not meet are raised.

    Raises:
        OSError: the folder cannot be read or written.
    """
    private_folder(folder)  # in a new process too, which does not know that the folder is private
    job = JobFolder(folder)
    with job.locked():  # an abandoned worker may still be running
        if job.has_result() or not job.has_request():
            return  # finished, or cancelled
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
