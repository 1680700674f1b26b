"""Two answers held against each other in both orders, and how far the judge can be trusted on it.

Judges prefer a place as much as an answer (Zheng et al. 2023, "Judging LLM-as-a-Judge", section 3.4): a win counts when
the judge sticks to it with the answers changed over; otherwise it is a tie.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from corpus.messages import Message
from evaluation.errors import JudgeRefusedError
from evaluation.judging.judge import Judge, Verdict, Winner

_AT_ONCE = 8
_SAME = Verdict(winner="tie", reason="The answers are equal.")
_TURNED: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two answers to one question."""

    question: tuple[Message, ...]
    first: str
    second: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PairVerdict:
    """What a judge makes of a pair."""

    forth: Verdict
    """With the pair's first answer first."""
    back: Verdict
    """With its second answer first; its winner is named by that order."""

    @property
    def winner(self) -> Winner | None:
        """Who wins in both orders; a tie where the orders disagree, None where one of them cannot be read."""
        if self.agrees is None:
            return None
        return self.forth.winner if self.agrees else "tie"

    @property
    def agrees(self) -> bool | None:
        """Whether both orders give the same winner; None where one of them cannot be read."""
        if self.forth.winner is None or self._turned is None:
            return None
        return self.forth.winner == self._turned

    @property
    def _turned(self) -> Winner | None:
        return None if self.back.winner is None else _TURNED[self.back.winner]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairwiseSummary:
    """Many pairs."""

    num_pairs: int
    first_wins: int
    second_wins: int
    ties: int
    """Pairs whose orders disagree among them."""
    unreadable: int
    """Pairs of which the verdict cannot be read in one of the orders."""
    agreement: float | None
    """Of the pairs that can be read in both orders, the share with one winner in both; None without any."""
    win_rate: float | None
    """Of the first answer: wins and half the ties, over all that can be read; None without any."""


def compare_both_orders(judge: Judge, pair: Pair) -> PairVerdict:
    """Asks the judge twice.

    Raises:
        JudgeUnavailableError: it cannot be asked.
    """
    return PairVerdict(
        forth=judge.compare(pair.question, pair.first, pair.second),
        back=judge.compare(pair.question, pair.second, pair.first),
    )


def compare_pairs(
    judge: Judge, pairs: Sequence[Pair], on_progress: Callable[[int, int], None] | None = None
) -> list[PairVerdict]:
    """Asks about every pair, several at once; in the order of the pairs.

    The judge is not asked about equal answers, which are a tie. A pair that it refuses has no verdict that can be read.

    Args:
        judge: who is asked.
        pairs: about these.
        on_progress: told before each pair how many are done, and of how many; what it raises ends the rest.

    Raises:
        JudgeUnavailableError: it cannot be asked; what it had said of other pairs is lost.
        Whatever `on_progress` raises.
    """
    done = count()

    def verdict(pair: Pair) -> PairVerdict:
        if on_progress is not None:
            on_progress(next(done), len(pairs))
        if pair.first.strip() == pair.second.strip():
            return PairVerdict(forth=_SAME, back=_SAME)
        try:
            return compare_both_orders(judge, pair)
        except JudgeRefusedError as error:
            refused = Verdict(winner=None, reason=str(error))
            return PairVerdict(forth=refused, back=refused)

    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="judge")
    try:
        return [asked.result() for asked in [pool.submit(verdict, pair) for pair in pairs]]
    finally:
        pool.shutdown(cancel_futures=True)


def summarise(verdicts: Iterable[PairVerdict]) -> PairwiseSummary:
    """Counts wins and agreement."""
    found = list(verdicts)
    winners = [verdict.winner for verdict in found]
    agreements = [verdict.agrees for verdict in found if verdict.agrees is not None]
    first, second, ties = (winners.count(which) for which in ("first", "second", "tie"))
    readable = first + second + ties
    return PairwiseSummary(
        num_pairs=len(found),
        first_wins=first,
        second_wins=second,
        ties=ties,
        unreadable=winners.count(None),
        agreement=sum(agreements) / len(agreements) if agreements else None,
        win_rate=(first + ties / 2) / readable if readable else None,
    )
