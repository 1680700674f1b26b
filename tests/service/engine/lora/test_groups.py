import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.lora.groups import Group


def group(*sizes: int) -> Group:
    return Group(tuple(f"layer{at}" for at in range(len(sizes))), 4, sizes)


def test_a_group_goes_by_the_name_of_its_first_part() -> None:
    assert group(2, 3).name == "layer0"


@pytest.mark.parametrize(
    ("sizes", "features", "pieces"),
    [
        ((64,), 64, (0,)),
        ((96, 96), 96, (0, 1)),
        ((576, 192, 192), 192, (0, 0, 0, 1, 2)),
        ((6, 4), 2, (0, 0, 0, 1, 1)),
        ((3, 2), 1, (0, 0, 0, 1, 1)),
    ],
)
def test_pieces_are_as_large_as_divides_every_part(
    sizes: tuple[int, ...], features: int, pieces: tuple[int, ...]
) -> None:
    assert (group(*sizes).piece_features, group(*sizes).pieces) == (features, pieces)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_each_output_belongs_to_the_part_of_its_piece(sizes: list[int]) -> None:
    made = group(*sizes)
    by_piece = [part for part in made.pieces for _ in range(made.piece_features)]
    by_column = [part for part, columns in enumerate(made.columns) for _ in range(columns.start, columns.stop)]
    assert by_piece == by_column == [part for part, size in enumerate(sizes) for _ in range(size)]
    assert made.columns[0].start == 0
