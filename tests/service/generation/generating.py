"""Generates into a journal and says after each outcome how many there are; a test kills it in the middle."""

import sys
from pathlib import Path

from service.generation.journal import open_journal
from service.generation.material import Material, NamedFile, prepare
from service.generation.outcome import Tally
from service.generation.plan import Plan
from service.generation.request import GenerationOptions
from service.generation.run import generate
from tests.service.generation.conftest import RuleWriter


def main() -> None:
    """Takes the seeds and the output."""
    seeds, output = map(Path, sys.argv[1:])
    options = GenerationOptions(recipe="self-instruct", count=60, language=False)
    prepared = prepare(options, Material(seeds=[NamedFile(seeds, "seeds.jsonl")]))
    plan = Plan(prepared=prepared, options=options, writer=RuleWriter())

    def say(tally: Tally) -> None:
        sys.stdout.write(f"{tally.attempts}\n")
        sys.stdout.flush()

    with open_journal(output, plan.digest) as journal:
        generate(plan, journal, say, lambda: False)


if __name__ == "__main__":
    main()
