"""Runs a job with the pipeline that it is for."""

from pathlib import Path

from ml_collections import ConfigDict

from msst_jax.models.precision import products_at
from msst_jax.pipelines import export_masks, photo, photo_feedforward, photo_folder, sweep, video
from msst_jax.pipelines.job import Job, MasksJob, VideoJob
from msst_jax.presets.validation import check_config


def run_job(config: ConfigDict, job: Job) -> int:
    """Checks the config, runs the job, writes everything; returns the exit code.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    check_config(config)
    with products_at(config.precision):
        return _run(config, job)


def _run(config: ConfigDict, job: Job) -> int:
    if isinstance(job, VideoJob):
        return video.run(config, job)
    if isinstance(job, MasksJob):
        return export_masks.run(config, job)
    if job.model:
        return photo_feedforward.run(config, job)
    if job.sweep:
        return sweep.run(config, job)
    if Path(job.photo).is_dir():
        return photo_folder.run(config, job)
    return photo.run(config, job)
