from collections.abc import Sequence

import pytest

from corpus.messages import Message
from evaluation.errors import JudgeRefusedError
from evaluation.judging.judge import Grade, Verdict, Winner
from evaluation.judging.pairwise import Pair, compare_pairs, summarise

QUESTION = ({"role": "user", "content": "2 + 2?"},)


class Scripted:
    """Judges by what is written for each order of two answers."""

    name = "scripted"

    def __init__(self, verdicts: dict[tuple[str, str], Winner | None]) -> None:
        self.verdicts = verdicts

    def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
        assert question == QUESTION
        return Verdict(winner=self.verdicts[first, second], reason="as written")

    def grade(self, question: Sequence[Message], answer: str, reference: str | None, criteria: Sequence[str]) -> Grade:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("forth", "back", "winner", "agrees"),
    [
        ("first", "second", "first", True),
        ("second", "first", "second", True),
        ("tie", "tie", "tie", True),
        ("first", "first", "tie", False),
        ("second", "second", "tie", False),
        ("first", "tie", "tie", False),
        ("first", None, None, None),
        (None, None, None, None),
    ],
)
def test_a_win_counts_when_it_holds_in_both_orders(
    forth: Winner | None, back: Winner | None, winner: Winner | None, agrees: bool | None
) -> None:
    judge = Scripted({("4", "5"): forth, ("5", "4"): back})
    [verdict] = compare_pairs(judge, [Pair(question=QUESTION, first="4", second="5")])
    assert (verdict.winner, verdict.agrees) == (winner, agrees)


def test_the_summary_tells_wins_agreement_and_what_could_not_be_read() -> None:
    verdicts: dict[tuple[str, str], Winner | None] = {}
    for number, (forth, back) in enumerate(
        [("first", "second"), ("first", "first"), ("second", "first"), ("tie", None)]
    ):
        verdicts[str(number), "x"], verdicts["x", str(number)] = forth, back  # type: ignore[assignment]
    pairs = [Pair(question=QUESTION, first=str(number), second="x") for number in range(4)]
    summary = summarise(compare_pairs(Scripted(verdicts), pairs))
    assert (summary.num_pairs, summary.unreadable) == (4, 1)
    assert (summary.first_wins, summary.second_wins, summary.ties) == (1, 1, 1)
    assert summary.agreement == pytest.approx(2 / 3)
    assert summary.win_rate == 0.5


def test_no_pairs_have_no_rates() -> None:
    assert summarise([]).agreement is None
    assert summarise([]).win_rate is None


def test_equal_answers_are_a_tie_that_nobody_is_asked_about() -> None:
    [verdict] = compare_pairs(Scripted({}), [Pair(question=QUESTION, first="4", second=" 4\n")])
    assert (verdict.winner, verdict.agrees) == ("tie", True)


def test_a_pair_that_the_judge_refuses_costs_the_others_nothing() -> None:
    class Picky(Scripted):
        def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
            if "long" in first + second:
                raise JudgeRefusedError(self.name, "it answered with status 413")
            return super().compare(question, first, second)

    judge = Picky({("4", "5"): "first", ("5", "4"): "second"})
    found = compare_pairs(judge, [Pair(question=QUESTION, first=first, second="5") for first in ("long", "4")])
    assert [verdict.winner for verdict in found] == [None, "first"]
    assert "413" in found[0].forth.reason


def test_judging_ends_where_its_listener_says_so() -> None:
    told: list[tuple[int, int]] = []

    def listen(done: int, total: int) -> None:
        told.append((done, total))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compare_pairs(Scripted({}), [Pair(question=QUESTION, first="4", second="5")] * 100, listen)
    assert told[0] == (0, 100)
    assert len(told) < 100
