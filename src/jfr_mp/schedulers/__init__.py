"""Schedulers joined to hosts: the scripts they get, submitting, asking, cancelling."""

from jfr_mp.schedulers.queue_manager import JobStatus, QueueManager
from jfr_mp.schedulers.script import default_command, job_script
from jfr_mp.schedulers.submission import Submission, forget_submission

__all__ = ["JobStatus", "QueueManager", "Submission", "default_command", "forget_submission", "job_script"]
