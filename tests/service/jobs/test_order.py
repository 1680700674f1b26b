from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.order import Waiting, choose, place

waiting = st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(
    lambda tenants: [Waiting(id=str(number), tenant=tenant) for number, tenant in enumerate(tenants)]
)


@given(waiting, st.dictionaries(st.sampled_from("abc"), st.integers(0, 4)), st.integers(1, 4))
def test_the_tenant_with_the_fewest_running_jobs_is_next(
    jobs: list[Waiting], running: dict[str, int], limit: int
) -> None:
    chosen = choose(jobs, running, {}, limit)
    allowed = [job for job in jobs if running.get(job.tenant, 0) < limit]
    if chosen is None:
        assert not allowed
        return
    assert running.get(chosen.tenant, 0) == min(running.get(job.tenant, 0) for job in allowed)
    assert chosen == next(job for job in jobs if job.tenant == chosen.tenant)


def test_of_equals_the_one_served_longest_ago_is_next() -> None:
    now = datetime.now(UTC)
    jobs = [Waiting(id=tenant, tenant=tenant) for tenant in "abc"]
    assert choose(jobs, {}, {"a": now, "b": now - timedelta(hours=1), "c": now}, 9) == jobs[1]
    assert choose(jobs, {}, {"a": now, "b": now}, 9) == jobs[2]


@given(waiting)
def test_places_are_those_of_tenants_in_turn(jobs: list[Waiting]) -> None:
    places = {job.id: place(job.id, jobs) for job in jobs}
    assert sorted(places.values()) == list(range(1, len(jobs) + 1))
    served: Counter[str] = Counter()
    rounds = []
    for job in sorted(jobs, key=lambda job: places[job.id]):
        rounds.append(served[job.tenant])
        served[job.tenant] += 1
    assert rounds == sorted(rounds)
