from corpus.outliers import MIN_VALUES, length_outliers


def test_far_lengths_are_found_the_farthest_first() -> None:
    usual = [90 + n for n in range(40)]
    assert length_outliers([*usual, 5000, 2, 100_000]) == [42, 40, 41]


def test_a_long_tail_is_not_an_outlier() -> None:
    assert length_outliers([round(10 * 1.1**n) for n in range(40)]) == []


def test_one_word_more_among_equal_lengths_is_no_outlier() -> None:
    assert length_outliers([*[12] * 40, 17]) == []
    assert length_outliers([*[12] * 40, 120]) == [40]


def test_few_values_have_no_outliers() -> None:
    assert length_outliers([1] * (MIN_VALUES - 2) + [10_000]) == []
