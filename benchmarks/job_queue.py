"""500 jobs, four workers: `python -P benchmarks/job_queue.py [--database URL] [--jobs 500] [--workers 4]`.

Workers are processes that claim, report a step and succeed; nothing is trained. Prints how long a claim takes, how even
the tenants' turns are, and whether any job was lost or done twice. Without `--database` a SQLite file is made. (`-P`
keeps `benchmarks/training.py` from being taken for the package.)
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime

from sqlalchemy import select

from service.files.tables import FileRow
from service.jobs.jobs import Jobs
from service.jobs.queue import Progress, Queue, QueueLimits
from service.jobs.request import JobRequest
from storage.database import Database

TENANTS = 5
_JOB_SECONDS = 0.02


def main() -> None:
    """Prints one Markdown table; exits 1 where a job was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="an empty one")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite:///{folder}/jobs.db"
        database = Database(url)
        database.migrate()
        _fill(database, options.jobs)
        started = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.workers) as pool:
            found = pool.starmap(_work, [(url, f"w{number}") for number in range(options.workers)])
        seconds = time.perf_counter() - started
        database.dispose()
    claims = sorted((taken for each in found for taken in each), key=lambda taken: taken["at"])
    done = Counter(taken["job"] for taken in claims)
    twice, lost = sum(count > 1 for count in done.values()), options.jobs - len(done)
    took = sorted(taken["seconds"] * 1e3 for taken in claims)
    print("| database | jobs | workers | claim p50 / p99 / most, ms | lost | twice | furthest from equal turns | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    spread = f"{statistics.median(took):.1f} / {took[int(0.99 * len(took))]:.1f} / {took[-1]:.1f}"
    print(
        f"| {url.split(':')[0]} | {options.jobs} | {options.workers} | {spread} | {lost} | {twice} "
        f"| {_unevenness(claims)} | {seconds:.1f} |"
    )
    sys.exit(1 if lost or twice else 0)


def _fill(database: Database, num_jobs: int) -> None:
    """Tenants of very different greed, the greediest first."""
    jobs = Jobs(database, max_jobs=num_jobs)
    for tenant in range(TENANTS):
        with database.session() as session:
            session.add(
                FileRow(
                    id=f"file-{tenant}", tenant=f"t{tenant}", filename="a.jsonl", purpose="fine-tune", bytes=1,
                    digest="0" * 64, created_at=datetime.now(UTC), status="processed",
                )
            )  # fmt: skip
    shares = [2 ** (TENANTS - tenant) for tenant in range(TENANTS)]
    for number in range(num_jobs):
        tenant = next(at for at in range(TENANTS) if number * sum(shares) < num_jobs * sum(shares[: at + 1]))
        jobs.create(f"t{tenant}", JobRequest(model="x", training_file=f"file-{tenant}"))


def _work(url: str, name: str) -> list[dict[str, object]]:
    database = Database(url)
    queue, taken = Queue(database, QueueLimits()), []
    # A connection of its own is made before anything is measured.
    with database.reading() as session:
        session.execute(select(1))
    while True:
        started = time.perf_counter()
        claim = queue.claim(name)
        seconds = time.perf_counter() - started
        if claim is None:
            break
        taken.append({"job": claim.job.id, "tenant": claim.job.tenant, "seconds": seconds, "at": time.time()})
        queue.record(claim, Progress(step=1))
        time.sleep(_JOB_SECONDS)
        queue.succeed(claim, "x:1", 1)
    database.dispose()
    return taken


def _unevenness(claims: list[dict[str, object]]) -> int:
    """While a tenant has jobs waiting: the most by which another was served more often since."""
    last = {taken["tenant"]: at for at, taken in enumerate(claims)}
    served: dict[object, int] = defaultdict(int)
    worst = 0
    for at, taken in enumerate(claims):
        served[taken["tenant"]] += 1
        waiting = [tenant for tenant, end in last.items() if end > at]
        if waiting:
            worst = max(worst, max(served.values()) - min(served[tenant] for tenant in waiting))
    return worst


if __name__ == "__main__":
    main()
