from pathlib import Path

import psutil
import torch

from service.preflight.machine import container_room, machine_memory


def test_the_host_has_what_is_free_and_what_this_process_holds() -> None:
    found = machine_memory(torch.device("cpu"))
    assert 0 < found.resident_bytes < found.free_bytes <= psutil.virtual_memory().total


def limits(folder: Path, most: str) -> Path:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    return folder


def test_a_container_has_its_limit_without_what_is_used_and_cannot_be_given_up(tmp_path: Path) -> None:
    assert container_room(limits(tmp_path, "1000")) == 500
    assert container_room(limits(tmp_path, "100")) == 0


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    assert container_room(limits(tmp_path, "max")) is None
    assert container_room(tmp_path / "absent") is None
