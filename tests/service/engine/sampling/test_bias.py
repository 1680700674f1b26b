import torch

from service.engine.sampling.bias import Bias, add_biases


def test_each_row_gets_its_own() -> None:
    logits = torch.zeros(3, 4)
    add_biases(logits, [(0, Bias.of([(1, 2.0)])), (2, Bias.of([(0, -1.0), (3, 5.0)]))])
    assert logits.tolist() == [[0, 2, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 5]]


def test_a_token_named_twice_gets_the_sum() -> None:
    logits = torch.zeros(1, 2)
    add_biases(logits, [(0, Bias.of([(1, 2.0), (1, 3.0)]))])
    assert logits.tolist() == [[0, 5]]


def test_what_is_barred_stays_barred_whatever_the_bias() -> None:
    logits = torch.zeros(1, 2)
    add_biases(logits, [(0, Bias.of([(1, 100.0)]) + Bias.of([(1, -float("inf"))]))])
    assert logits.tolist() == [[0, -float("inf")]]


def test_no_bias_changes_nothing() -> None:
    logits = torch.ones(2, 2)
    add_biases(logits, [])
    assert logits.tolist() == [[1, 1], [1, 1]]
