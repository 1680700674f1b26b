"""What all recipes share."""

from random import Random
from typing import Literal, Protocol, get_args

from corpus.synthetic.drafts import Attempt

RecipeName = Literal["paraphrase", "self-instruct", "questions"]
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)


class Recipe(Protocol):
    """A way to new rows. Stateless: an attempt depends on its number and its random numbers alone."""

    @property
    def name(self) -> RecipeName:
        """Goes into every row's provenance."""

    def attempt(self, number: int, random: Random) -> Attempt:
        """Begin an attempt; the same number and random state ask the same."""


def turn_of(number: int, count: int, seed: int) -> int:
    """Return whose turn it is among `count`: each comes once a round, in another order every round."""
    turn, place = divmod(number, count)
    order = list(range(count))
    Random(f"{seed}\n{turn}").shuffle(order)
    return order[place]


def one_line(*texts: str) -> bool:
    """Say whether all texts are single lines, so that a line's end may end what is written."""
    return not any("\n" in text.strip() for text in texts)
