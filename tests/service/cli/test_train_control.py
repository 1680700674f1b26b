"""`lorad train` in a process of its own, ended in every way; what it left goes on to the uninterrupted result."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

FLAGS = (
    "--validation-fraction", "0.2", "--epochs", "20", "--batch-size", "4", "--rank", "2", "--dropout", "0.1",
    "--learning-rate", "0.05", "--eval-every", "1", "--save-every", "3", "--keep-checkpoints", "1",
    "--load-best-model-at-end", "--early-stopping-patience", "40", "--json",
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """An uninterrupted run, and how to start others like it."""

    folder: Path
    environment: dict[str, str]
    losses: dict[int, float]

    def start(self, output: Path, *more: str) -> "subprocess.Popen[str]":
        data = ("--data", str(self.folder / "rows.jsonl"), "--output", str(output))
        command = [sys.executable, "-c", "from service.cli.main import main; main()", "train", *data, *FLAGS, *more]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def losses(lines: Iterable[str]) -> dict[int, float]:
    """Of each step that was told; a line cut short by the end of the process is none."""
    events = [json.loads(line) for line in lines if line.endswith("}\n")]
    return {event["step"]: event["loss"] for event in events if event["event"] == "step"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Trained:
    folder = tmp_path_factory.mktemp("control")
    rows = [{"question": f"What is ticket {n} about?", "answer": f"refund {n}"} for n in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    environment = {**os.environ, "LORAD_HOME": str(folder / "home"), "LORAD_BASE_MODEL": str(tiny_base_folder)}
    environment.pop("LORAD_SERVER", None)
    with Trained(folder, environment, {}).start(folder / "whole") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    result = json.loads(out.splitlines()[-1])
    # The best state is not the last one, so that a resumed run has to find it too.
    assert result["published_step"] < result["steps"]
    return Trained(folder, environment, losses(out.splitlines(keepends=True)))


def interrupt_twice(process: "subprocess.Popen[str]") -> None:
    """The second while the first is still looked at."""
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("end", "at", "code"),
    [
        (lambda process: process.terminate(), 7, 75),
        (lambda process: process.send_signal(signal.SIGINT), 7, 130),
        (interrupt_twice, 7, 130),
        (lambda process: process.kill(), 2, -9),
        (lambda process: process.kill(), 20, -9),
    ],
    ids=["SIGTERM", "SIGINT", "SIGINT twice", "kill -9 before a checkpoint", "kill -9"],
)
def test_a_run_that_was_ended_resumes_to_the_uninterrupted_result(
    whole: Trained, tmp_path: Path, end: Callable[["subprocess.Popen[str]"], None], at: int, code: int
) -> None:
    output, before = tmp_path / "out", []
    with whole.start(output) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            before.append(line)
            if f'"event": "step", "step": {at},' in line:
                break
        end(process)
        before += process.stdout
        told = process.stderr.read()
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert not (output / "lorad.json").exists()

    with whole.start(output, "--resume") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert losses(before) | losses(out.splitlines(keepends=True)) == whole.losses
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (whole.folder / "whole", output)]
    assert weights[0] == weights[1]
    assert [path for path in output.rglob(".*") if path.is_dir()] == []
