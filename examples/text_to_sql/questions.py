"""Templates and fillings turned into questions with their SQL."""

import itertools
import random
import string
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slots import SLOTS, Filling

TEMPLATES = Path(__file__).with_name("templates.toml")
SLOT_OF_PLACEHOLDER = {key: slot for slot, fillings in SLOTS.items() for key in fillings[0]}


@dataclass(frozen=True, kw_only=True)
class Template:
    """One kind of question: several wordings of it and the SQL that answers each of them."""

    name: str
    sql: str
    questions: tuple[str, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots its SQL mentions, in a fixed order."""
        used = {SLOT_OF_PLACEHOLDER[key] for _, key, _, _ in string.Formatter().parse(self.sql) if key}
        return tuple(sorted(used))

    def fillings(self) -> Iterator[Filling]:
        """Yield every combination of values of its slots."""
        for parts in itertools.product(*(SLOTS[slot] for slot in self.slots)):
            yield {key: value for part in parts for key, value in part.items()}

    def answer(self, filling: Filling) -> str:
        """Return the SQL for a filling, with quotes inside values doubled as SQL wants them."""
        return self.sql.format(**{key: value.replace("'", "''") for key, value in filling.items()})

    def ask(self, filling: Filling, rng: random.Random) -> str:
        """Return the question in one of the wordings."""
        return rng.choice(self.questions).format(**filling)


def load_templates() -> tuple[Template, ...]:
    """Read the hand-written templates."""
    rows = tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))["template"]
    return tuple(Template(name=row["name"], sql=row["sql"], questions=tuple(row["questions"])) for row in rows)


def normalised(question: str) -> str:
    """Return the question without case, punctuation and spacing, as duplicates are compared."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())
