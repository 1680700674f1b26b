"""What every place for outcomes keeps to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from service.generation.claims import GenerationClaims
from service.generation.generation import NewGeneration
from service.generation.generations import Generations
from service.generation.journal import open_journal
from service.generation.outcome import Outcome, Outcomes
from storage.database import Database

Open = Callable[[], AbstractContextManager[Outcomes]]

KEPT = Outcome(attempt=0, row={"prompt": "é", "provenance": {"seeds": ["a:1"]}})
DROPPED = Outcome(attempt=1, reason="empty", text="nothing")


@pytest.fixture(params=["journal", "database"])
def open_outcomes(request: pytest.FixtureRequest, tmp_path: Path, database: Database, new: NewGeneration) -> Open:
    """Opens the same outcomes anew each time."""
    if request.param == "journal":
        return lambda: open_journal(tmp_path / "new.jsonl", "digest")
    Generations(database).create("acme", new)
    claims = GenerationClaims(database, lease_seconds=60)
    claim = claims.claim("sha256:base")
    assert claim is not None

    @contextmanager
    def opened() -> Iterator[Outcomes]:
        yield claims.outcomes(claim)

    return opened


def test_what_was_added_is_there_for_the_next(open_outcomes: Open) -> None:
    with open_outcomes() as outcomes:
        assert list(outcomes.known()) == []
        outcomes.add(KEPT)
        outcomes.add(DROPPED)
        assert list(outcomes.known()) == [KEPT, DROPPED]
    with open_outcomes() as outcomes:
        assert list(outcomes.known()) == [KEPT, DROPPED]


def test_an_attempt_is_kept_once(open_outcomes: Open) -> None:
    with open_outcomes() as outcomes:
        outcomes.add(KEPT)
        outcomes.add(Outcome(attempt=0, reason="empty"))
    with open_outcomes() as outcomes:
        outcomes.add(KEPT)
        assert list(outcomes.known()) == [KEPT]
