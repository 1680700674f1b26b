from collections.abc import Sequence

import pytest

from corpus.messages import Message
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
