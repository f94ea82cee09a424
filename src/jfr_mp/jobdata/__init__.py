"""The data exchanged between the runner and a job: the files of a run directory, their formats and their meaning."""
