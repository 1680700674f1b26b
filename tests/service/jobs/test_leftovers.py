from service.jobs.leftovers import clear_leftovers
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
