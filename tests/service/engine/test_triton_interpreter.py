import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNEL_TESTS = (
    HERE / "lora" / "test_triton_kernels.py",
    HERE / "lora" / "test_triton_routing.py",
    HERE / "model" / "test_triton_attention.py",
    HERE / "model" / "test_acceleration.py",
)


@pytest.mark.slow
def test_kernels_pass_their_tests_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    # A process of its own: triton decides at its import whether it compiles or interprets.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE)}
    selection = (
        "-m",
        "gpu",
        "-k",
        "not cuda_graph",
        "-p",
        "triton_interpreter",
        "-p",
        "no:cacheprovider",
        "--noconftest",
    )
    command = (sys.executable, "-m", "pytest", "-q", *selection, *map(str, KERNEL_TESTS))
    done = subprocess.run(command, env=environment, cwd=HERE.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
