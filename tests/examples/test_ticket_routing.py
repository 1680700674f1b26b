import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "ticket_routing"
SIDES = ("train", "test")
ALLOWED: dict[str, set[Any]] = {
    "queue": {"technical", "billing", "shipping", "returns", "account"},
    "priority": {"urgent", "high", "normal", "low"},
    "product": {"thermostat", "camera", "doorbell", "hub", "app", "subscription", "none"},
    "needs_human": {True, False},
}


def rows(side: str) -> list[dict[str, str]]:
    lines = (FOLDER / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


@pytest.mark.parametrize("side", SIDES)
def test_running_the_script_again_reproduces_the_file_byte_for_byte(tmp_path: Path, side: str) -> None:
    command = [sys.executable, "-B", str(FOLDER / "make.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / f"{side}.jsonl").read_bytes() == (FOLDER / f"{side}.jsonl").read_bytes()


@pytest.mark.parametrize("side", SIDES)
def test_every_completion_is_one_compact_object_of_allowed_values(side: str) -> None:
    for row in rows(side):
        labels = json.loads(row["completion"])
        assert list(labels) == list(ALLOWED)
        assert all(labels[key] in allowed for key, allowed in ALLOWED.items())
        assert isinstance(labels["needs_human"], bool)
        assert row["completion"] == json.dumps(labels, separators=(",", ":"))


def test_every_label_is_trained_and_tested() -> None:
    for side in SIDES:
        completions = [json.loads(row["completion"]) for row in rows(side)]
        assert {key: {labels[key] for labels in completions} for key in ALLOWED} == ALLOWED


@pytest.mark.parametrize("side", SIDES)
def test_a_ticket_names_no_product_but_the_one_of_its_label(side: str) -> None:
    for row in rows(side):
        labelled = json.loads(row["completion"])["product"]
        for other in ALLOWED["product"] - {labelled, "none"}:
            assert not re.search(rf"\b{other}s?\b", row["prompt"], re.IGNORECASE), row["prompt"]


@pytest.mark.parametrize("side", SIDES)
def test_what_is_urgent_needs_a_human(side: str) -> None:
    completions = [json.loads(row["completion"]) for row in rows(side)]
    assert all(labels["needs_human"] for labels in completions if labels["priority"] == "urgent")


def test_no_ticket_occurs_twice() -> None:
    prompts = [normalised(row["prompt"]) for side in SIDES for row in rows(side)]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("side", SIDES)
def test_the_data_card_states_the_number_of_rows(side: str) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"`{side}.jsonl` ({len(rows(side))} rows)" in card
