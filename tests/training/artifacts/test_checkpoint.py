import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from training.artifacts import checkpoint
from training.artifacts.checkpoint import Checkpoints, Progress
from training.errors import CheckpointError

REPOSITORY = Path(__file__).parents[3]


def progress(step: int) -> Progress:
    return Progress(step=step, trained_tokens=10 * step, seconds=1.5, base_valid_loss=None, train_loss=2.0)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"a": torch.ones(2)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "run-1", 2)


def copy_into(adapter: Path, folder: Path) -> None:
    shutil.copytree(adapter, folder, dirs_exist_ok=True)


def save(checkpoints: Checkpoints, adapter: Path, step: int) -> Path:
    return checkpoints.save(partial(copy_into, adapter), {"w/step": torch.tensor(float(step))}, progress(step))


def test_a_checkpoint_gives_back_what_was_saved(checkpoints: Checkpoints, adapter: Path) -> None:
    torch.manual_seed(11)
    folder = save(checkpoints, adapter, 3)
    drawn = torch.rand(4)
    torch.manual_seed(12)
    found = checkpoints.resume()
    assert found is not None
    assert (found.folder, found.progress) == (folder, progress(3))
    assert found.optimizer["w/step"].item() == 3
    assert torch.equal(torch.rand(4), drawn)


def test_nothing_is_resumed_where_nothing_is(checkpoints: Checkpoints) -> None:
    assert checkpoints.resume() is None


def test_the_newest_is_by_number_not_by_name(checkpoints: Checkpoints, adapter: Path) -> None:
    save(checkpoints, adapter, 9)
    save(checkpoints, adapter, 10)
    found = checkpoints.resume()
    assert found is not None
    assert found.progress.step == 10


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "random.safetensors"]
)
def test_a_file_that_changed_is_refused_by_name(checkpoints: Checkpoints, adapter: Path, name: str) -> None:
    folder = save(checkpoints, adapter, 1)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(CheckpointError, match=name):
        checkpoints.resume()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_missing_file_is_refused_with_a_way_out(checkpoints: Checkpoints, adapter: Path, name: str) -> None:
    (save(checkpoints, adapter, 1) / name).unlink()
    with pytest.raises(CheckpointError, match="delete it to resume from an earlier one"):
        checkpoints.resume()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {}}', '{"files": [], "fingerprint": ""}'])
def test_a_state_that_cannot_be_read_is_refused(checkpoints: Checkpoints, adapter: Path, content: str) -> None:
    (save(checkpoints, adapter, 1) / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.resume()


def test_another_runs_checkpoint_is_refused_with_both_fingerprints(
    checkpoints: Checkpoints, adapter: Path, tmp_path: Path
) -> None:
    save(checkpoints, adapter, 1)
    with pytest.raises(CheckpointError, match="fingerprint run-1, this run run-2"):
        Checkpoints(tmp_path / "checkpoints", "run-2", 2).resume()


def test_a_kill_while_one_is_written_leaves_the_one_before(
    checkpoints: Checkpoints, adapter: Path, tmp_path: Path
) -> None:
    save(checkpoints, adapter, 1)
    script = f"""
import shutil, time
from pathlib import Path
import torch
from training.artifacts import checkpoint
genuine = checkpoint.save_file
def slow(tensors, path):
    genuine(tensors, path)
    time.sleep(60)
checkpoint.save_file = slow
folder, adapter = Path({str(tmp_path / "checkpoints")!r}), Path({str(adapter)!r})
state = checkpoint.Progress(step=2, trained_tokens=1, seconds=1.0, base_valid_loss=None, train_loss=1.0)
def copy(to):
    shutil.copytree(adapter, to, dirs_exist_ok=True)
checkpoint.Checkpoints(folder, "run-1", 1).save(copy, {{"w/step": torch.tensor(2.0)}}, state)
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "checkpoints").glob(".step-2.*/optimizer.safetensors")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    found = checkpoints.resume()
    assert found is not None
    assert found.progress == progress(1)
    # And the run goes on over what the kill left.
    save(checkpoints, adapter, 2)
    resumed = checkpoints.resume()
    assert resumed is not None
    assert resumed.progress.step == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_leaves_the_one_before_and_says_so(
    checkpoints: Checkpoints, adapter: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    kept = save(checkpoints, adapter, 1)

    def full(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(CheckpointError, match=r"step-2 cannot be written: .*No space left.*--resume"):
            save(checkpoints, adapter, 2)
    assert list(kept.parent.iterdir()) == [kept]
    found = checkpoints.resume()
    assert found is not None
    assert found.progress == progress(1)
