"""Whose turn it is: tenants in turn, and within a tenant by priority, then age."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job that could run."""

    id: str
    tenant: str


def choose(
    waiting: Sequence[Waiting], running: Mapping[str, int], served: Mapping[str, datetime], limit: int
) -> Waiting | None:
    """The next job to run: of the tenant with the fewest running ones, or else of the one served longest ago.

    Args:
        waiting: by priority and age.
        running: jobs by tenant.
        served: when a tenant's newest job began.
        limit: of a tenant's running jobs.
    """
    allowed = (each for each in waiting if running.get(each.tenant, 0) < limit)
    # The first of equals: within a tenant the order stays.
    return min(allowed, key=lambda each: (running.get(each.tenant, 0), served.get(each.tenant, _NEVER)), default=None)


def place(job_id: str, waiting: Sequence[Waiting]) -> int:
    """Where a job stands if every tenant's first job goes before anybody's second: 1 is next.

    Args:
        job_id: one of `waiting`.
        waiting: by priority and age.
    """
    rounds, seen = dict[str, int](), Counter[str]()
    for each in waiting:
        rounds[each.id] = seen[each.tenant]
        seen[each.tenant] += 1
    in_order = sorted(waiting, key=lambda each: rounds[each.id])
    return 1 + [each.id for each in in_order].index(job_id)
