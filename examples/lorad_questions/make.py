"""Write train.jsonl and test.jsonl: questions about lorad and the short answer to each.

Run `python make.py`; it always writes the same bytes. Of each fact one question, chosen by the seed, is for testing.
"""

import argparse
import json
import random
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

SEED = 5
MATERIAL = Path(__file__).with_name("facts.toml")
MIN_QUESTIONS = 5
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing to know about lorad, and the ways to ask for it."""

    name: str
    answer: str
    questions: list[str]


def load_facts() -> list[Fact]:
    """Read the hand-written facts."""
    material = tomllib.loads(MATERIAL.read_text(encoding="utf-8"))
    return [Fact(**entry) for entry in material["fact"]]


def normalised(text: str) -> str:
    """Return the text without case, punctuation and spacing, as duplicates are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


def check(facts: list[Fact]) -> None:
    """Refuse a fact with too few questions, and names, answers or questions that stand there twice."""
    for fact in facts:
        if len(fact.questions) < MIN_QUESTIONS:
            raise ValueError(f"fact {fact.name!r} has {len(fact.questions)} questions: write at least {MIN_QUESTIONS}")
    questions = [question for fact in facts for question in fact.questions]
    for what, texts in (
        ("name", [fact.name for fact in facts]),
        ("answer", [fact.answer for fact in facts]),
        ("question", questions),
    ):
        keys = [normalised(text) for text in texts]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise ValueError(f"{what} {repeated[0]!r} occurs more than once: change it in {MATERIAL.name}")


def make(facts: list[Fact]) -> tuple[list[Row], list[Row]]:
    """Return the training and the test rows: every fact on both sides, no question on both."""
    train: list[Row] = []
    test: list[Row] = []
    for fact in facts:
        # Seeded by the name too: a new fact leaves the choice for all others as it was.
        held_out = random.Random(f"{SEED} {fact.name}").choice(fact.questions)
        for question in fact.questions:
            side = test if question == held_out else train
            side.append({"question": question, "answer": fact.answer})
    rng = random.Random(SEED)
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode())


def main() -> None:
    """Parse the flags, write the files and print their sizes."""
    parser = argparse.ArgumentParser(description="Write the example about lorad itself: train.jsonl and test.jsonl.")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="folder (default: beside this script)"
    )
    folder = parser.parse_args().output
    facts = load_facts()
    check(facts)
    for name, rows in zip(("train", "test"), make(facts), strict=True):
        write(folder / f"{name}.jsonl", rows)
        print(f"{name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
