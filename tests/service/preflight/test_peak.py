"""The estimate beside what a run of the embedded base really took, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_estimated_peak_is_that_of_a_run_within_a_factor_of_one_and_a_half(
    smollm2: Path, tmp_path: Path, quantization: str
) -> None:
    rows = [{"question": f"Count from {n} on.", "answer": " ".join(map(str, range(n, n + 120)))} for n in range(8)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    base = ("--base-model", str(smollm2), "--quantization", quantization, "--device", "cpu")
    checked = lorad("data", "check", file, *base, "--json")
    trained = lorad("train", "--data", file, "--output", tmp_path / "out", "--max-steps", 1, *base, "--json")
    expected = json.loads(checked)["estimate"]["needs_bytes"]
    measured = json.loads(trained.splitlines()[-1])["peak_memory_bytes"]
    assert measured / 1.5 < expected < measured * 1.5


def lorad(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from service.cli.main import main; main()", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
