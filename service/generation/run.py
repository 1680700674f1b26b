"""The loop: attempts in waves through the model, then one by one and in order through the sieve and to the disk.

Outcomes are settled in the order of the attempts, whatever order the model answers in. So a run that was killed and
taken up again keeps the rows that one without a break would have kept.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from random import Random

from corpus.findings import shortened
from corpus.synthetic.drafts import Attempt, Draft, Dropped
from corpus.synthetic.provenance import Provenance, judged, moment, with_provenance
from corpus.synthetic.rows import read_back
from corpus.synthetic.writing import Ask
from service.generation.outcome import Outcome, Outcomes, Tally
from service.generation.plan import Plan

WAVE = 16
"""Attempts in the model's batch at once; a kill costs at most their answers."""
_TEXT_CHARACTERS = 400

OnProgress = Callable[[Tally], None]


def generate(plan: Plan, outcomes: Outcomes, on_progress: OnProgress, should_stop: Callable[[], bool]) -> Tally:
    """Make attempts until enough rows are kept, `max_attempts` are made, or the end is asked for.

    Raises:
        WriterUnavailableError: The model does not answer.
        JudgeUnavailableError: The judge does not.
        EngineError: The engine has ended.
    """
    options = plan.options
    tally = _replayed(plan, outcomes)
    on_progress(tally)
    while tally.kept < options.count and tally.attempts < options.most_attempts and not should_stop():
        numbers = range(tally.attempts, min(tally.attempts + WAVE, options.most_attempts))
        for number, ended in _wave(plan, numbers):
            outcome = _settled(plan, number, ended)
            outcomes.add(outcome)
            tally.count(outcome)
            on_progress(tally)
            if tally.kept == options.count or should_stop():
                break
    return tally


def rows_of(outcomes: Outcomes) -> list[dict[str, object]]:
    """Return the rows that were kept, in order."""
    return [dict(outcome.row) for outcome in outcomes.known() if outcome.row is not None]


def _replayed(plan: Plan, outcomes: Outcomes) -> Tally:
    tally = Tally()
    for outcome in outcomes.known():
        tally.count(outcome)
        if outcome.row is not None:
            plan.prepared.sieve.keep(read_back(outcome.row, outcome.attempt + 1), f"attempt {outcome.attempt}")
    return tally


def _wave(plan: Plan, numbers: Sequence[int]) -> Iterator[tuple[int, Draft | Dropped]]:
    """Carry attempts through together; yield each with its number, in order, as soon as those before it have ended."""
    live: dict[int, tuple[Attempt, Ask]] = {}
    ended: dict[int, Draft | Dropped] = {}
    for number in numbers:
        attempt = plan.prepared.recipe.attempt(number, Random(f"{plan.options.seed}\n{number}"))
        live[number] = (attempt, next(attempt))
    due = iter(numbers)
    head = next(due, None)
    while live:
        asked, live = list(live.items()), {}
        for position, reply in plan.writer.write([ask for _, (_, ask) in asked]):
            number, (attempt, _) = asked[position]
            try:
                live[number] = (attempt, attempt.send(reply))
            except StopIteration as end:
                ended[number] = end.value
            except Dropped as dropped:
                ended[number] = dropped
            while head in ended:
                yield head, ended.pop(head)
                head = next(due, None)
    assert head is None, "every attempt ends"


def _settled(plan: Plan, number: int, ended: Draft | Dropped) -> Outcome:
    if isinstance(ended, Dropped):
        return _dropped(number, ended)
    try:
        plan.prepared.sieve.check(ended)
        opinion = None if plan.judging is None else plan.judging.check(ended)
    except Dropped as dropped:
        return _dropped(number, dropped)
    plan.prepared.sieve.keep(ended.record, f"attempt {number}")
    provenance = Provenance(
        recipe=plan.prepared.recipe.name,
        model=plan.writer.name,
        digest=plan.writer.digest,
        seeds=ended.sources,
        attempt=number,
        sampling={"temperature": plan.options.temperature, "seed": plan.options.seed},
        at=moment(datetime.now(UTC)),
        judge=None if plan.judging is None or opinion is None else judged(plan.judging.name, opinion),
    )
    return Outcome(attempt=number, row=with_provenance(ended, provenance))


def _dropped(number: int, dropped: Dropped) -> Outcome:
    text = f"{dropped}: {shortened(dropped.text, _TEXT_CHARACTERS)}" if dropped.text else str(dropped)
    return Outcome(attempt=number, reason=dropped.reason, text=text)
