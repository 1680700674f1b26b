"""A model that answers by script, and seeds with classes."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from corpus.records import Record
from corpus.synthetic.drafts import Draft
from corpus.synthetic.recipes.recipe import Recipe
from corpus.synthetic.seeds import SeedSet, seeds_of
from corpus.synthetic.writing import Ask, Reply

BANKING = [
    ("Where is my new card?", "card_arrival"),
    ("My card has not come yet, when will it?", "card_arrival"),
    ("How do I cancel a transfer?", "cancel_transfer"),
    ("Please stop the transfer of 50 EUR to Ana.", "cancel_transfer"),
]


class Scripted:
    """Plays a model that answers with given texts, and keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        self._replies: Iterator[str] = iter(replies)
        self.asks: list[Ask] = []

    def draft(self, recipe: Recipe, number: int = 0) -> Draft:
        """Carry one attempt through."""
        attempt = recipe.attempt(number, Random(number))
        ask = next(attempt)
        while True:
            self.asks.append(ask)
            try:
                ask = attempt.send(Reply(text=next(self._replies), finish_reason="stop"))
            except StopIteration as end:
                draft: Draft = end.value
                return draft


@pytest.fixture
def banking(chat: Callable[..., Record]) -> SeedSet:
    """Four rows of two classes."""
    return seeds_of([chat(text, label, line, label) for line, (text, label) in enumerate(BANKING, start=1)])
