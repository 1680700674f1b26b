from dataclasses import replace
from pathlib import Path

from service.jobs.queue import Claim
from service.jobs.stored_run import StoredRun
from storage.objects.local import LocalObjects
from tests.service.jobs.workplace import Workplace


def test_a_claim_that_is_over_deletes_nothing_of_the_next_one(place: Workplace, tmp_path: Path) -> None:
    """Both write down a step; the one that was stopped meanwhile then tidies up after its own."""
    objects = LocalObjects(tmp_path / "objects")
    early = Claim(job=place.make(), worker="early", token=1, checkpoint=None)
    late = replace(early, worker="late", token=2)
    runs = [StoredRun(objects, claim, tmp_path / claim.worker) for claim in (early, late)]
    for claim in (early, late):
        folder = tmp_path / claim.worker / "checkpoints" / f"step-{claim.token}"
        folder.mkdir(parents=True)
        (folder / "state").write_text(claim.worker)
    states = [run.store(claim.token) for run, claim in zip(runs, (early, late), strict=True)]

    runs[0].drop_unused(states[0])
    fresh = StoredRun(objects, replace(late, token=3), tmp_path / "next")
    fresh.fetch(states[1])
    assert (tmp_path / "next/checkpoints/step-2/state").read_text() == "late"

    runs[1].drop_unused(states[1])
    assert {key.split("/")[3] for key in objects.keys("jobs/")} == {"2"}
