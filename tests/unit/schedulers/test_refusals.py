from __future__ import annotations

import pytest

from jfr_mp.schedulers.refusals import Refusal, classify

LIMIT, AWAY, BAD, UNCLEAR = Refusal.LIMIT, Refusal.AWAY, Refusal.BAD, Refusal.UNCLEAR
POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("said", "refusal", "line"),
    [
        # Slurm: the same last line for a full queue and for a job that is too long
        (
            f"sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}",
            LIMIT,
            f"QOSMaxSubmitJobPerUserLimit; {POLICY}",
        ),
        (f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}", LIMIT, f"AssocMaxSubmitJobLimit; {POLICY}"),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\nsbatch: error: {POLICY}", LIMIT, None),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: {POLICY}", BAD, None),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", LIMIT, None),
        (
            "Welcome to the machine!\nsbatch: error: invalid partition specified: x\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            BAD,
            "invalid partition specified: x; Batch job submission failed: Invalid partition name specified",
        ),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", BAD, None),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds)", BAD, None),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", BAD, None),
        ('sbatch: unrecognized option \'--foo\'\nTry "sbatch --help" for more information', BAD, None),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", AWAY, None),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", AWAY, None),
        ("sbatch: error: Munge encode failed: Failed to access \"/run/munge\": No such file", AWAY, None),
        ("sbatch: error: Unknown host\nsbatch: fatal: Could not establish a configuration source", AWAY, None),
        # Grid Engine
        (
            "Unable to run job: job rejected: Only 2 jobs are allowed per user (current job count: 2).\nExiting.",
            LIMIT,
            "Unable to run job: job rejected: Only 2 jobs are allowed per user (current job count: 2).",
        ),
        ('Unable to run job: Job was rejected because job requests unknown queue "x"\nExiting.', BAD, None),
        ("error: commlib error: got select error (Connection refused)", AWAY, None),
        # PBS and Torque
        ("qsub: would exceed complex's per-user limit of jobs in 'Q' state", LIMIT, None),
        ("qsub: Maximum number of jobs already in queue", LIMIT, "Maximum number of jobs already in queue"),
        ("qsub: submit error (Maximum number of jobs already in queue for user MSG=total number)", LIMIT, None),
        ("qsub: Unknown queue", BAD, "Unknown queue"),
        ("qsub: Job violates queue and/or server resource limits", BAD, None),
        ("Connection refused\nqsub: cannot connect to server pbs (errno=111)", AWAY, None),
        # Nobody knows
        ("Segmentation fault", UNCLEAR, "Segmentation fault"),
        ("", UNCLEAR, ""),
        ("x" * 9000, UNCLEAR, "x" * 500),
    ],
)  # fmt: skip
def test_a_message(said: str, refusal: Refusal, line: str | None) -> None:
    weighed, one_line = classify(said)
    assert weighed is refusal
    assert "\n" not in one_line
    assert line is None or one_line == line
