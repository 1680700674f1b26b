import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.judging.judge import Winner
from evaluation.judging.parsing import read_marks, read_winner


@pytest.mark.parametrize(
    ("reply", "winner"),
    [
        ("Both are fine.\n[[A]]", "first"),
        ("[[b]]", "second"),
        ("At first [[A]] seemed right, but: [[B]]", "second"),
        ("[[C]]", "tie"),
        ("[[ Answer A ]]", "first"),
        ("I weigh both.\n**Verdict:** B", "second"),
        ("Winner: tie.", "tie"),
        ("My verdict is: A", "first"),
        ('{"reason": "shorter", "winner": "B"}', "second"),
        ('Here:\n```json\n{"verdict": "tie", "why": {"a": 1}}\n```', "tie"),
        ("B is more complete.\nB", "second"),
        ("<think>[[A]] perhaps</think>\n[[B]]", "second"),
        ("<think>[[A]] and never an end", None),
        ("A better answer would name the year.", None),
        ("Answer A is good and answer B is better.", None),
        ("[[A or B]]", None),
        ("", None),
        ("   \n", None),
        ('{"winner": 1}', None),
        ("{" * 5000, None),
    ],
)
def test_winners(reply: str, winner: Winner | None) -> None:
    assert read_winner(reply) == winner


@pytest.mark.parametrize(
    ("reply", "count", "marks"),
    [
        ("Good.\n[[1: 4]], [[2: 5]]", 2, (4, 5)),
        ("[[2: 5]] [[1: 4/5]]", 2, (4, 5)),
        ("1: 4\n2: 3.5/5", 2, (4, 3.5)),
        ('{"marks": [3, 4]}', 2, (3, 4)),
        ('{"scores": {"1": 3, "2": 4}}', 2, (3, 4)),
        ('{"score": 2}', 1, (2,)),
        ("[[4]]", 1, (4,)),
        ("Fine.\nScore: 4 out of 5", 1, (4,)),
        ("**Rating: 3**", 1, (3,)),
        ("Nice.\n5/5", 1, (5,)),
        ("1.5", 1, (1.5,)),
        ("**1.5**", 1, (1.5,)),
        ("[[1.5]]", 1, (1.5,)),
        ("1.5/5", 1, (1.5,)),
        ("1.5 out of 5", 1, (1.5,)),
        ("Score: 1.5", 1, (1.5,)),
        ("[[1: 1.5]]", 1, (1.5,)),
        ("1. 4", 1, (4,)),
        ("**1.** 4/5", 1, (4,)),
        ("1: 2\n[[4]]", 1, (4,)),
        ("1. 1.5\n2. 4", 2, (1.5, 4)),
        ("1.5\n2.5", 2, None),
        ("[[1: 4]]", 2, None),
        ("[[1: 6]]", 1, None),
        ("[[0]]", 1, None),
        ("Score: 9", 1, None),
        ('{"score": true}', 1, None),
        ("It has 4 legs.", 1, None),
        ("", 1, None),
    ],
)
def test_marks(reply: str, count: int, marks: tuple[float, ...] | None) -> None:
    assert read_marks(reply, count) == marks


@given(st.text(alphabet='[]{}AB12:5/\n <>think"winer', max_size=60))
def test_no_reply_breaks_the_readers(reply: str) -> None:
    assert read_winner(reply) in ("first", "second", "tie", None)
    assert read_marks(reply, 2) is None or len(read_marks(reply, 2) or ()) == 2
