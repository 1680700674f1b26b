"""A seed's prompt in other words; its answer is kept, so nothing is learnt that a person has not written."""

from random import Random
from typing import Final

from corpus.synthetic.drafts import Attempt, Draft, Dropped
from corpus.synthetic.literals import lost_literal
from corpus.synthetic.overlap import WordWeights
from corpus.synthetic.parsing import read_block, read_line
from corpus.synthetic.recipes.examples import continuation
from corpus.synthetic.recipes.recipe import RecipeName, one_line, turn_of
from corpus.synthetic.rows import RowWriter
from corpus.synthetic.seeds import Seed, SeedSet

_INTRO = "Each message is written again in other words, with the same meaning."
_HEADINGS = ("Message:", "In other words:")
_QUESTION_MARKS = ("?", "\uff1f")
_GENERAL = (
    ("How do I reset my password?", "What can I do if I forgot my password?"),
    (
        "Please cancel order 4471, I ordered twice.",
        "Order 4471 was a mistake, I had ordered already. Please cancel it.",
    ),
    ("Which hotels in Rome have a pool?", "List the hotels in Rome that have a swimming pool."),
)
"""Examples of the task; the set's own rows show its language and tone only where they share a class."""
_NUM_OWN = 1
_MIN_SHARED = 0.5
"""Of the seed's words by their weight; below, the model has begun to talk about something else."""
_MAX_LONGER = 2.5
"""A text so many times longer says more than its seed does."""


class Paraphrase:
    """Writes prompts anew.

    Args:
        seeds: Whose prompts.
        rows: Writes rows in the seeds' layout.
        seed: Of the seeds' order.
    """

    name: Final[RecipeName] = "paraphrase"

    def __init__(self, seeds: SeedSet, rows: RowWriter, seed: int) -> None:
        self._seeds = seeds
        self._rows = rows
        self._seed = seed
        self._weights = WordWeights(each.core for each in seeds.seeds)
        self._by_label: dict[str, list[Seed]] = {}
        if seeds.labels:
            for each in seeds.seeds:
                self._by_label.setdefault(str(each.record.label), []).append(each)

    def attempt(self, number: int, random: Random) -> Attempt:
        """Ask once for other words."""
        seed = self._seeds.seeds[turn_of(number, len(self._seeds.seeds), self._seed)]
        pairs = self._own_pairs(seed, random)
        shown = [(first.core, second.core) for first, second in pairs] + list(_GENERAL)
        reply = yield continuation(_INTRO, _HEADINGS, shown[: len(_GENERAL)], [seed.core], random)
        read = read_line if one_line(seed.core) else read_block
        text = read(reply, _HEADINGS)
        self._check(seed, text)
        record = self._rows.record(seed, self._seeds.messages(seed, text), seed.record.completion)
        others = [each.place for pair in pairs for each in pair]
        return Draft(record=record, sources=(seed.place, *others), source_text=seed.core)

    def _own_pairs(self, seed: Seed, random: Random) -> list[tuple[Seed, Seed]]:
        """Rows of one class that is not the seed's: they show the set's tone, and give no words away."""
        classes = [label for label, seeds in self._by_label.items() if len(seeds) > 1 and label != seed.record.label]
        chosen = random.sample(sorted(classes), min(_NUM_OWN, len(classes)))
        pairs = []
        for label in chosen:
            first, second = random.sample(self._by_label[label], 2)
            pairs.append((first, second))
        return pairs

    def _check(self, seed: Seed, text: str) -> None:
        if seed.core.rstrip().endswith(_QUESTION_MARKS) and not text.endswith(_QUESTION_MARKS):
            raise Dropped("other_kind", text)
        lost = lost_literal(seed.core, text)
        if lost is not None:
            raise Dropped("lost_literal", text, repr(lost))
        if len(text) > _MAX_LONGER * len(seed.core):
            raise Dropped("too_long", text, f"{len(text)} characters for {len(seed.core)}")
        if self._weights.share(seed.core, text) < _MIN_SHARED:
            raise Dropped("off_topic", text)
