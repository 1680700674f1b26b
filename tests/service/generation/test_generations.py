from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from service.generation.claims import GenerationClaim, GenerationClaims
from service.generation.errors import (
    GenerationStateError,
    StaleGenerationError,
    TooManyGenerationsError,
    UnknownGenerationError,
)
from service.generation.generation import NewGeneration
from service.generation.generations import Generations
from service.generation.outcome import Outcome
from service.generation.tables import GenerationRow
from storage.database import Database

BASE = "sha256:base"


@pytest.fixture
def generations(database: Database) -> Generations:
    return Generations(database, max_open=3)


@pytest.fixture
def claims(database: Database) -> GenerationClaims:
    return GenerationClaims(database, lease_seconds=60)


def claimed(claims: GenerationClaims) -> GenerationClaim:
    claim = claims.claim(BASE)
    assert claim is not None
    return claim


def lose(database: Database, generation_id: str) -> None:
    """As if its server had not been heard of for a lease."""
    with database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(GenerationRow).where(GenerationRow.id == generation_id).values(lease_until=past))


def test_a_generation_waits_runs_and_ends_with_its_file(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    made = generations.create("acme", new)
    assert (made.status, made.request) == ("queued", new.request)
    claim = claimed(claims)
    assert (claim.generation.id, claim.generation.status) == (made.id, "running")
    assert claims.claim(BASE) is None
    outcomes = claims.outcomes(claim)
    outcomes.add(Outcome(attempt=0, row={"prompt": "p"}))
    outcomes.add(Outcome(attempt=1, reason="empty", text="nothing"))
    outcomes.add(Outcome(attempt=1, reason="empty", text="nothing"))
    claims.end(claim, "completed", file_id="file-2")

    ended = generations.get("acme", made.id)
    assert (ended.status, ended.file_id, ended.kept, ended.attempts) == ("completed", "file-2", 1, 2)
    assert ended.dropped == {"empty": 1}
    assert ended.finished_at is not None
    assert generations.dropped("acme", made.id, 5) == ("nothing",)


def test_only_a_server_of_the_same_base_takes_it_up(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    generations.create("acme", new)

    assert claims.claim("sha256:other") is None


def test_a_server_that_was_thought_dead_changes_nothing(
    database: Database, generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    made = generations.create("acme", new)
    first = claimed(claims)
    claims.outcomes(first).add(Outcome(attempt=0, row={"prompt": "p"}))
    lose(database, made.id)
    second = claimed(claims)

    assert [outcome.attempt for outcome in claims.outcomes(second).known()] == [0]
    with pytest.raises(StaleGenerationError):
        claims.outcomes(first).add(Outcome(attempt=1, row={"prompt": "q"}))
    with pytest.raises(StaleGenerationError):
        claims.end(first, "completed")
    claims.renew(second)


def test_what_kills_servers_is_given_up(
    database: Database, generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    made = generations.create("acme", new)
    for _ in range(3):
        claimed(claims)
        lose(database, made.id)

    assert claims.claim(BASE) is None
    ended = generations.get("acme", made.id)
    assert ended.status == "failed"
    assert "3 servers in a row" in str(ended.error)


def test_a_server_that_shuts_down_lets_it_wait(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    made = generations.create("acme", new)
    for _ in range(5):
        claims.release(claimed(claims))

    assert generations.get("acme", made.id).status == "queued"


def test_a_cancelled_one_is_resumed_with_what_it_has(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    made = generations.create("acme", new)
    claim = claimed(claims)
    claims.outcomes(claim).add(Outcome(attempt=0, row={"prompt": "p"}))

    assert generations.cancel("acme", made.id).status == "cancelled"
    with pytest.raises(StaleGenerationError):
        claims.outcomes(claim).add(Outcome(attempt=1, row={"prompt": "q"}))
    with pytest.raises(GenerationStateError, match="is cancelled and cannot be cancelled"):
        generations.cancel("acme", made.id)
    assert generations.resume("acme", made.id).status == "queued"
    with pytest.raises(GenerationStateError, match="is queued and cannot be resumed"):
        generations.resume("acme", made.id)
    assert len(claims.outcomes(claimed(claims)).known()) == 1


def test_one_that_is_out_of_attempts_is_not_resumed(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    request = new.request.model_copy(update={"max_attempts": 1})
    made = generations.create("acme", replace(new, request=request))
    claim = claimed(claims)
    claims.outcomes(claim).add(Outcome(attempt=0, reason="empty"))
    claims.end(claim, "partial", error="1 attempt, the limit")

    with pytest.raises(GenerationStateError, match="is out of attempts and cannot be resumed"):
        generations.resume("acme", made.id)


def test_rows_without_their_file_are_worth_resuming_for(
    generations: Generations, claims: GenerationClaims, new: NewGeneration
) -> None:
    """The store was full, say, when the last attempt had been made."""
    request = new.request.model_copy(update={"max_attempts": 1})
    made = generations.create("acme", replace(new, request=request))
    claim = claimed(claims)
    claims.outcomes(claim).add(Outcome(attempt=0, row={"messages": []}))
    claims.end(claim, "failed", error="the store is full")

    assert generations.resume("acme", made.id).status == "queued"


def test_tenants_see_their_own_and_have_a_limit_each(generations: Generations, new: NewGeneration) -> None:
    mine = [generations.create("acme", new).id for _ in range(3)]
    with pytest.raises(TooManyGenerationsError, match="3 generations wait or run"):
        generations.create("acme", new)
    theirs = generations.create("other", new)

    first = generations.list("acme", limit=2)
    assert [each.id for each in first.data] == mine[:0:-1]
    assert first.has_more
    rest = generations.list("acme", limit=2, after=first.data[-1].id)
    assert ([each.id for each in rest.data], rest.has_more) == (mine[:1], False)
    for act in (generations.get, generations.cancel, generations.resume):
        with pytest.raises(UnknownGenerationError):
            act("acme", theirs.id)
