"""Where continuations of one context stand, and what they see."""

import torch

from service.engine.branches import Branches

BRANCHES = Branches(3, ((7, 8, 9), (10,), (11, 12), (13,)))
"""Slots: 0 1 2 are the context, 3 4 the first continuation's, 5 the third's."""


def test_every_continuation_begins_where_the_context_ends() -> None:
    assert BRANCHES.token_ids == (7, 8, 11)
    assert BRANCHES.positions(0, 6) == [0, 1, 2, 3, 4, 3]
    assert [BRANCHES.branch(slot) for slot in range(6)] == [-1, -1, -1, 0, 0, 2]


def test_a_branch_sees_the_context_and_itself() -> None:
    seen = BRANCHES.seen_NC(3, 6, None, torch.device("cpu")).int().tolist()
    assert seen == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 1]]


def test_a_window_is_one_of_positions() -> None:
    seen = BRANCHES.seen_NC(4, 6, 2, torch.device("cpu")).int().tolist()
    assert seen == [[0, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1]]


def test_each_token_of_each_continuation_is_predicted_once() -> None:
    whole = BRANCHES.targets(0, 6)
    assert whole == [(2, 7), (2, 10), (2, 11), (2, 13), (3, 8), (4, 9), (5, 12)]
    for cut in range(7):
        assert BRANCHES.targets(0, cut) + BRANCHES.targets(cut, 6) == whole
    found = BRANCHES.split([token for _, token in whole])
    assert found == [[7, 8, 9], [10], [11, 12], [13]]
