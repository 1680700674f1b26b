"""Write train.jsonl and test.jsonl: support tickets, and the JSON object that routes each.

Run `python make.py`; it always writes the same bytes. The labels follow from the text by the rules in README.md.
"""

import argparse
import json
import random
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

SEED = 11
MATERIAL = Path(__file__).with_name("material.toml")
TICKETS_PER_TEXT = {"train": 5, "test": 3}
TEST_FRACTION = 0.2
PERSON_SIGNALS = ("asks_person", "repeated", "threat")
Row = dict[str, str]
Signals = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One hand-written problem and the labels that follow from it alone."""

    queue: str
    product: str
    severity: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Side:
    """The material of one side of the split; the two sides share no issue and no telling sentence."""

    issues: list[Issue]
    signals: Signals


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Greetings and closings; they say nothing about the labels, so both sides use them."""

    greetings: list[str]
    closings: list[str]


def divide(values: list[str]) -> tuple[list[str], list[str]]:
    """Return the values for training and, at least one, for testing: the last ones as written."""
    num_test = max(1, round(len(values) * TEST_FRACTION))
    return values[:-num_test], values[-num_test:]


def load_material() -> tuple[Side, Side, Frame]:
    """Read the hand-written material and divide it."""
    material = tomllib.loads(MATERIAL.read_text(encoding="utf-8"))
    issues: tuple[list[Issue], list[Issue]] = ([], [])
    for entry in material["issue"]:
        for side, texts in zip(issues, divide(entry["texts"]), strict=True):
            labels = {key: entry[key] for key in ("queue", "product", "severity")}
            side += [Issue(**labels, text=text) for text in texts]
    halves = {name: divide(sentences) for name, sentences in material["signals"].items()}
    train, test = (
        Side(issues=side, signals={name: half[index] for name, half in halves.items()})
        for index, side in enumerate(issues)
    )
    return train, test, Frame(**material["frame"])


def priority(severity: str, chosen: set[str]) -> str:
    """Return the priority: a deadline makes it at least high, patience lowers normal to low."""
    if "deadline" in chosen and severity in ("low", "normal"):
        return "high"
    if "patience" in chosen and severity == "normal":
        return "low"
    return severity


def needs_human(severity: str, chosen: set[str]) -> bool:
    """Tell whether a person must answer: danger or an intruder, asked for, third contact, or about to leave."""
    return severity == "urgent" or not chosen.isdisjoint(PERSON_SIGNALS)


def choose_signals(issue: Issue, rng: random.Random) -> set[str]:
    """Return the kinds of sentences that go with an issue, only such as people would write beside it."""
    chosen = set()
    if rng.random() < 0.25:
        chosen.add("deadline")
    elif issue.severity in ("low", "normal") and rng.random() < 0.3:
        chosen.add("patience")
    if issue.severity != "low" and "patience" not in chosen and rng.random() < 0.4:
        chosen.add(rng.choice(PERSON_SIGNALS))
    if rng.random() < 0.35:
        chosen.add("neutral")
    return chosen


def misspell(text: str, rng: random.Random) -> str:
    """Return the text with one or two slips of the finger, in longer words only."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    for index in rng.sample(long, min(len(long), rng.choice((1, 1, 2)))):
        word, at = words[index], rng.randrange(1, len(words[index]) - 2)
        slips = (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
        words[index] = rng.choice(slips)
    return " ".join(words)


def handwriting(text: str, rng: random.Random) -> str:
    """Return the text as one of several people would type it."""
    if rng.random() < 0.3:
        text = misspell(text, rng)
    habit = rng.random()
    if habit < 0.1:
        return text.lower()
    if habit < 0.16:
        return text.replace(". ", "... ")
    if habit < 0.2:
        return text.replace("'", "").replace(",", "")
    return text


def ticket(issue: Issue, side: Side, frame: Frame, rng: random.Random) -> Row:
    """Return one ticket around an issue, with its labels."""
    chosen = choose_signals(issue, rng)
    sentences = [rng.choice(side.signals[kind]).format(order=rng.randrange(10_000, 99_999)) for kind in sorted(chosen)]
    rng.shuffle(sentences)
    lead = sentences.pop() if sentences and rng.random() < 0.2 else None
    parts = [part for part in (lead, issue.text, *sentences) if part]
    body = handwriting(" ".join(parts), rng)
    if rng.random() < 0.5:
        body = rng.choice(frame.greetings) + rng.choice((" ", "\n")) + body
    if rng.random() < 0.4:
        body += rng.choice((" ", "\n")) + rng.choice(frame.closings)
    labels = {
        "queue": issue.queue,
        "priority": priority(issue.severity, chosen),
        "product": issue.product,
        "needs_human": needs_human(issue.severity, chosen),
    }
    return {"prompt": body, "completion": json.dumps(labels, separators=(",", ":"))}


def normalised(text: str) -> str:
    """Return the text without case, punctuation and spacing, as duplicates are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


def tickets(side: Side, frame: Frame, per_text: int, rng: random.Random) -> list[Row]:
    """Return up to `per_text` tickets for each text of one side, in random order, no two alike."""
    rows: dict[str, Row] = {}
    for issue in side.issues:
        for _ in range(per_text):
            row = ticket(issue, side, frame, rng)
            rows.setdefault(normalised(row["prompt"]), row)
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    return shuffled


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode())


def main() -> None:
    """Parse the flags, write the files and print their sizes."""
    parser = argparse.ArgumentParser(description="Write the ticket-routing example: train.jsonl and test.jsonl.")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="folder (default: beside this script)"
    )
    folder = parser.parse_args().output
    train, test, frame = load_material()
    rng = random.Random(SEED)
    for name, side in (("train", train), ("test", test)):
        rows = tickets(side, frame, TICKETS_PER_TEXT[name], rng)
        write(folder / f"{name}.jsonl", rows)
        print(f"{name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
