from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from corpus.synthetic.judging import Judging, Opinion
from service.generation.outcome import Outcome, Tally
from service.generation.run import WAVE, generate
from tests.service.generation.conftest import Interrupted, MakePlan, RuleWriter


@dataclass
class Memory:
    """Outcomes that live as long as the test."""

    outcomes: list[Outcome] = field(default_factory=list)

    def known(self) -> list[Outcome]:
        return list(self.outcomes)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Kept ones, without the time at which they were made."""
        kept = [dict(outcome.row) for outcome in self.outcomes if outcome.row is not None]
        return [{**row, "provenance": {**row["provenance"], "at": None}} for row in kept]


def ignore(_tally: Tally) -> None:
    pass


def never() -> bool:
    return False


def test_as_many_rows_as_wanted_are_kept_and_the_others_are_counted(make_plan: MakePlan) -> None:
    memory = Memory()
    told: list[tuple[int, int]] = []

    tally = generate(make_plan(RuleWriter()), memory, lambda each: told.append((each.kept, each.attempts)), never)

    assert (tally.kept, len(memory.rows)) == (12, 12)
    assert tally.attempts == len(memory.outcomes) == 12 + sum(tally.dropped.values())
    assert tally.dropped["too_short"] > 0
    assert told[0] == (0, 0)
    assert told[-1] == (12, tally.attempts)
    assert [outcome.attempt for outcome in memory.outcomes] == list(range(tally.attempts))


def test_every_row_says_where_it_comes_from(make_plan: MakePlan) -> None:
    memory = Memory()
    generate(make_plan(RuleWriter(), seed=4, temperature=0.3), memory, ignore, never)

    for outcome in memory.outcomes:
        if outcome.row is None:
            continue
        provenance = outcome.row["provenance"]
        assert provenance["recipe"] == "self-instruct"
        assert (provenance["model"], provenance["digest"]) == ("rule:1", "sha256:" + "1" * 64)
        assert set(provenance["seeds"]) <= {f"seeds.jsonl:{line}" for line in (1, 2, 3, 4)}
        assert provenance["attempt"] == outcome.attempt
        assert provenance["sampling"] == {"temperature": 0.3, "seed": 4}
        assert provenance["at"].endswith("+00:00")


def test_dropped_rows_say_what_they_were(make_plan: MakePlan) -> None:
    memory = Memory()
    generate(make_plan(RuleWriter()), memory, ignore, never)

    dropped = [outcome for outcome in memory.outcomes if outcome.reason == "too_short"]
    assert dropped[0].text.endswith(": No.")


@pytest.mark.parametrize("breaks_after", [1, WAVE - 3, WAVE, 2 * WAVE - 1])
def test_a_run_that_was_broken_off_goes_on_to_the_same_rows(make_plan: MakePlan, breaks_after: int) -> None:
    whole = Memory()
    generate(make_plan(RuleWriter(), count=20), whole, ignore, never)
    broken = Memory()
    with pytest.raises(Interrupted):
        generate(make_plan(RuleWriter(breaks_after=breaks_after), count=20), broken, ignore, never)
    before = len(broken.outcomes)

    writer = RuleWriter()
    generate(make_plan(writer, count=20), broken, ignore, never)

    assert broken.rows == whole.rows
    assert len(writer.asked) >= len(broken.outcomes) - before
    assert len({ask.seed for ask in writer.asked}) == len(writer.asked)


def test_more_rows_are_made_by_going_on(make_plan: MakePlan) -> None:
    memory, whole = Memory(), Memory()
    generate(make_plan(RuleWriter(), count=5), memory, ignore, never)
    generate(make_plan(RuleWriter(), count=9), memory, ignore, never)
    generate(make_plan(RuleWriter(), count=9), whole, ignore, never)

    assert memory.rows == whole.rows


def test_it_ends_after_the_most_attempts(make_plan: MakePlan) -> None:
    tally = generate(make_plan(RuleWriter(), max_attempts=10), Memory(), ignore, never)

    assert tally.attempts == 10
    assert tally.kept < 12


def test_it_ends_where_the_end_is_asked_for(make_plan: MakePlan) -> None:
    memory = Memory()
    tally = generate(make_plan(RuleWriter()), memory, ignore, lambda: len(memory.outcomes) == 4)

    assert tally.attempts == len(memory.outcomes) == 4


def test_a_judge_decides_last_and_is_named(make_plan: MakePlan) -> None:
    rated: list[str] = []

    def rate(draft: Any) -> Opinion:
        rated.append(draft.record.prompt)
        return Opinion(score=0.9 if len(rated) % 2 else 0.2, reason="so so")

    memory = Memory()
    tally = generate(make_plan(RuleWriter(), Judging(name="j", rate=rate, least=0.5)), memory, ignore, never)

    assert tally.dropped["judge"] == len(rated) // 2
    assert "No." not in rated
    assert memory.rows[0]["provenance"]["judge"] == {"name": "j", "score": 0.9, "reason": "so so"}


def test_a_judge_that_is_down_drops_no_row(make_plan: MakePlan) -> None:
    def rate(_draft: Any) -> Opinion:
        raise Interrupted

    memory = Memory()
    with pytest.raises(Interrupted):
        generate(make_plan(RuleWriter(), Judging(name="j", rate=rate, least=0.5)), memory, ignore, never)

    assert all(outcome.reason == "too_short" for outcome in memory.outcomes)


def test_plans_differ_by_what_rows_depend_on_and_not_by_how_many_are_wanted(make_plan: MakePlan) -> None:
    digest: Callable[..., str] = lambda **options: make_plan(RuleWriter(), **options).digest  # noqa: E731

    assert digest() == digest(count=3, max_attempts=7)
    others = [digest(seed=1), digest(temperature=0.1), digest(max_similarity=0.5), digest(recipe="paraphrase")]
    others.append(make_plan(RuleWriter(digest="sha256:2")).digest)
    assert len({digest(), *others}) == 6
