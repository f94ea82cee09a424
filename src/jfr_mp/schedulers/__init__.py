"""Schedulers on hosts: building scripts, submitting jobs, asking for their states, and cancelling them."""

from jfr_mp.schedulers.dialect import JobStatus
from jfr_mp.schedulers.queue_manager import QueueManager
from jfr_mp.schedulers.script import default_command, job_script

__all__ = ["JobStatus", "QueueManager", "default_command", "job_script"]
