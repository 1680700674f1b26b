"""Models that write by rule, seeds on disk and a database."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corpus.synthetic.judging import Judging
from corpus.synthetic.writing import Ask, Reply
from service.generation.generation import NewGeneration
from service.generation.material import Material, NamedFile, prepare
from service.generation.plan import Plan
from service.generation.request import GenerationOptions, GenerationRequest
from storage.database import Database

SEEDS = """\
{"text": "Where is the card that I ordered last week?", "label": "card_arrival"}
{"text": "My new card has not come yet.", "label": "card_arrival"}
{"text": "How do I cancel a transfer to a friend?", "label": "cancel_transfer"}
{"text": "Please stop the transfer that I made today.", "label": "cancel_transfer"}
"""
_WORDS = ("parcel", "letter", "branch", "phone", "money", "window", "agent", "street", "bottle", "garden", "engine")


class Interrupted(Exception):
    """Stands for whatever ends a process."""


@dataclass
class RuleWriter:
    """Writes words drawn by an ask's seed, which are too short for every third ask; answers come in reverse order."""

    name: str = "rule:1"
    digest: str | None = "sha256:" + "1" * 64
    asked: list[Ask] = field(default_factory=list)
    breaks_after: int | None = None
    """Replies, before it raises."""

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """See `corpus.synthetic.writing.Writer`."""
        for position, ask in reversed(list(enumerate(asks))):
            if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
                raise Interrupted
            self.asked.append(ask)
            yield position, Reply(text=_text(ask.seed), finish_reason="stop")


def _text(seed: int) -> str:
    drawn = [_WORDS[seed // len(_WORDS) ** place % len(_WORDS)] for place in range(7)]
    return "No." if seed % 3 == 0 else f"{' '.join(drawn)} {seed}"


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Four rows of two classes."""
    path = tmp_path / "seeds.jsonl"
    path.write_text(SEEDS)
    return path


MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(seeds: Path) -> MakePlan:
    """`make_plan(writer, judging=None, **options)`: self-instruct over the seeds."""

    def make(writer: RuleWriter, judging: Judging | None = None, **options: object) -> Plan:
        values = {"recipe": "self-instruct", "count": 12, "language": False, **options}
        asked = GenerationOptions.model_validate(values)
        prepared = prepare(asked, Material(seeds=[NamedFile(seeds, "seeds.jsonl")]))
        return Plan(prepared=prepared, options=asked, writer=writer, judging=judging)

    return make


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Migrated."""
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def new() -> NewGeneration:
    """One that a server could carry out."""
    request = GenerationRequest(recipe="paraphrase", count=3, seeds=["file-1"])
    return NewGeneration(request=request, model="tiny", digest="sha256:1", judge=None, base_digest="sha256:base")
