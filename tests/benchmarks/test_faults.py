import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_is_lost_at_small_counts(smollm2: Path) -> None:
    """One fault of each kind; `docs/results.md` has many of each."""
    counts = ["--kills", "3", "--durable", "1", "--sleeps", "1", "--disks", "1", "--databases", "1", "--stores", "1"]
    script = REPOSITORY / "benchmarks" / "faults.py"
    run = subprocess.run(
        [sys.executable, "-P", script, "--base", smollm2, *counts],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines()[2:]]
    times = {name: int(count) for name, count, *_ in rows}
    # A disk may be full only when the job has written all it needs.
    assert times.pop("disk full") <= 1
    assert times == {
        "killed at random": 3,
        "killed at a durable call": 2,
        "stopped past the lease": 1,
        "database down for 5 s": 1,
        "S3 down for 5 s": 1,
    }
    assert all(wrong == "0" for _, _, *counted, _ in rows for wrong in counted)
