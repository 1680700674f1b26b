"""New tasks after the example of the seeds (Wang and others 2022): first a prompt, then its answer.

Where the seeds have classes the class is drawn first and a prompt of it is written, as the paper does: asked the other
way round, a model gives most prompts the same class.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from corpus.synthetic.drafts import Attempt, Draft
from corpus.synthetic.parsing import read_block, read_line
from corpus.synthetic.recipes.examples import continuation, numbered
from corpus.synthetic.recipes.recipe import RecipeName, one_line, turn_of
from corpus.synthetic.rows import RowWriter
from corpus.synthetic.seeds import Seed, SeedSet

_HEADINGS = ("Task:", "Answer:")
_NUM_SHOWN = 6
_MAX_SHOWN_CHARACTERS = 6000
"""Of all examples together; long ones are shown fewer at a time."""


class SelfInstruct:
    """Writes prompts like the seeds', and answers like theirs.

    Args:
        seeds: The examples.
        rows: Writes rows in the seeds' layout.
        seed: Of the order in which seeds lead.
    """

    name: Final[RecipeName] = "self-instruct"

    def __init__(self, seeds: SeedSet, rows: RowWriter, seed: int) -> None:
        self._seeds = seeds
        self._rows = rows
        self._seed = seed

    def attempt(self, number: int, random: Random) -> Attempt:
        """Ask for a prompt and, unless its class is known, for the answer."""
        lead = self._seeds.seeds[turn_of(number, len(self._seeds.seeds), self._seed)]
        shown = self._shown(lead, random)
        cores = [seed.core for seed in shown]
        reply = yield numbered(self._intro(lead), cores, random)
        core = read_line(reply) if one_line(*cores) else read_block(reply)
        answer = lead.record.completion
        if not self._seeds.labels:
            examples = [(seed.core, seed.record.completion) for seed in shown]
            reply = yield continuation("Tasks and their answers.", _HEADINGS, examples, [core], random)
            answers = [seed.record.completion for seed in shown]
            answer = (read_line if one_line(*answers) else read_block)(reply, _HEADINGS)
        record = self._rows.record(lead, self._seeds.messages(lead, core), answer)
        return Draft(record=record, sources=tuple(seed.place for seed in shown), source_text=lead.core)

    def _intro(self, lead: Seed) -> str:
        if not self._seeds.labels:
            return "A list of different tasks:"
        return f"Different messages about {str(lead.record.label).replace('_', ' ')}:"

    def _shown(self, lead: Seed, random: Random) -> Sequence[Seed]:
        """The lead first in rank and last in the list, where a model looks most."""
        labels = self._seeds.labels
        others = [
            seed
            for seed in self._seeds.seeds
            if seed is not lead and (not labels or seed.record.label == lead.record.label)
        ]
        random.shuffle(others)
        shown, left = [lead], _MAX_SHOWN_CHARACTERS - _size(lead)
        for seed in others[: _NUM_SHOWN - 1]:
            if _size(seed) <= left:
                shown.append(seed)
                left -= _size(seed)
        return shown[::-1]


def _size(seed: Seed) -> int:
    return len(seed.core) + len(seed.record.completion)
