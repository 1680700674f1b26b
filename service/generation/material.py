"""Files to plans: seeds or documents, held-out rows, the recipe over them and the sieve behind it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from corpus.columns import BY_NAME, ColumnMapping
from corpus.dataset import load
from corpus.records import Record
from corpus.synthetic.documents import read_passages
from corpus.synthetic.recipes.paraphrase import Paraphrase
from corpus.synthetic.recipes.questions import Questions
from corpus.synthetic.recipes.recipe import Recipe
from corpus.synthetic.recipes.self_instruct import SelfInstruct
from corpus.synthetic.rows import RowWriter
from corpus.synthetic.seeds import renamed, seeds_of
from corpus.synthetic.sieve import Sieve
from service.generation.plan import Prepared
from service.generation.request import GenerationOptions


@dataclass(frozen=True)
class NamedFile:
    """A file, and what its owner calls it."""

    path: Path
    name: str

    @classmethod
    def of(cls, path: Path) -> "NamedFile":
        """A file that is called by its path."""
        return cls(path, str(path))


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a generation works with."""

    seeds: Sequence[NamedFile]
    """Rows, or documents where the recipe asks about those; at least one file."""
    held_out: Sequence[NamedFile] = ()
    columns: ColumnMapping = BY_NAME
    skip_bad: bool = False


def prepare(options: GenerationOptions, material: Material) -> Prepared:
    """Reads the files.

    Raises:
        CorpusError: a file cannot be read, or the recipe cannot work with it.
    """
    held_out = [record for file in material.held_out for record in _records(file, material)]
    recipe, sieve = _recipe(options, material, held_out)
    identity = {
        "options": options.model_dump(mode="json", exclude={"count", "max_attempts"}),
        "seeds": [[file.name, _digest(file.path)] for file in material.seeds],
        "held_out": [_digest(file.path) for file in material.held_out],
        "columns": asdict(material.columns),
    }
    return Prepared(recipe=recipe, sieve=sieve, identity=identity)


def _recipe(options: GenerationOptions, material: Material, held_out: Sequence[Record]) -> tuple[Recipe, Sieve]:
    if options.recipe == "questions":
        passages = [passage for file in material.seeds for passage in read_passages(file.path, file.name)]
        texts = [passage.text for passage in passages]
        return Questions(passages, options.seed), Sieve(None, held_out, options.sieve, texts)
    seeds = seeds_of([record for file in material.seeds for record in _records(file, material)])
    kind = Paraphrase if options.recipe == "paraphrase" else SelfInstruct
    return kind(seeds, RowWriter(seeds), options.seed), Sieve(seeds, held_out, options.sieve)


def _records(file: NamedFile, material: Material) -> list[Record]:
    return [renamed(record, file.name) for record in load(file.path, material.columns, material.skip_bad).records]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
