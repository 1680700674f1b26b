import os
from pathlib import Path

from service.jobs.leftovers import clear_leftovers, sweep_stores
from service.jobs.opening import open_bench
from service.jobs.queue import Progress
from tests.service.jobs.workplace import Workplace


def test_what_dead_workers_and_cancelled_jobs_left_is_cleared(place: Workplace) -> None:
    bench = open_bench(place.settings, place.registry)
    workspaces = place.settings.job_workspaces
    job = place.make()
    first = bench.queue.claim("w")
    assert first is not None
    key = f"jobs/default/{job.id}/1/state-2.json"
    with bench.objects.write(key) as file:
        file.write(b"{}")
    bench.queue.record(first, Progress(step=2, state_key=key))
    bench.queue.put_back(first, "again")
    second = bench.queue.claim("w")
    assert second is not None
    held, left, logs = (
        workspaces / job.id / str(second.token),
        workspaces / job.id / str(first.token),
        workspaces / "logs",
    )
    for folder in (held, left, logs / "1"):
        folder.mkdir(parents=True)

    clear_leftovers(bench.queue, bench.objects, workspaces)
    assert (held.exists(), left.exists(), (logs / "1").exists()) == (True, False, True)
    assert bench.objects.exists(key)

    bench.queue.put_back(second, "again")
    place.jobs.cancel("default", job.id)
    clear_leftovers(bench.queue, bench.objects, workspaces)
    assert not held.exists()
    assert not bench.objects.exists(key)
    assert bench.queue.ended_with_state() == []


def test_bytes_without_a_row_go_after_a_day_and_copies_of_deleted_files_at_once(place: Workplace) -> None:
    bench = open_bench(place.settings, place.registry)
    kept = place.upload()
    copy = place.files.local_copy("default", kept)
    orphan = copy.with_name(f"file-{'0' * 24}.jsonl")
    orphan.write_text("{}")
    for name in ("1" * 24, "2" * 24):
        with bench.objects.write(f"files/default/file-{name}") as file:
            file.write(b"{}")
    _age(place.settings.home, f"file-{'1' * 24}")
    _age(place.settings.home, kept)
    unfinished = bench.objects.write("files/default/x")
    unfinished.__enter__()
    (staged,) = place.settings.home.glob("**/~staging/*")
    os.utime(staged, (1, 1))

    sweep_stores(bench.registry, bench.files, bench.objects)
    assert sorted(bench.objects.keys("files/")) == sorted([f"files/default/{kept}", f"files/default/file-{'2' * 24}"])
    assert (copy.exists(), orphan.exists(), staged.exists()) == (True, False, False)


def _age(home: Path, name: str) -> None:
    (path,) = (path for path in home.glob(f"**/{name}") if path.is_file())
    os.utime(path, (1, 1))
