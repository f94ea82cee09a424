"""Why a job does not move, and whether a project can work: usable without the command line."""
