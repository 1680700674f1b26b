import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus.dataset import load
from evaluation.arena.battle import Ballot, Battle, Winner
from evaluation.arena.pairs import preference_pairs
from tests.evaluation.arena.conftest import QUESTION, answer


def ballot(
    counts: Mapping[Winner, int],
    b: str = "no",
    *,
    system: str = "Be short.",
    turned: bool = False,
    finish: str = "stop",
) -> Ballot:
    """Where `a:1` says yes on side a, and the base something on side b; the other way round if `turned`."""
    sides = dataclasses.replace(answer("a:1", "yes"), finish_reason=finish), answer("base", b)
    battle = Battle(
        id="battle-1",
        created_at=datetime.now(UTC),
        messages=({"role": "system", "content": system}, *QUESTION),
        a=sides[turned],
        b=sides[not turned],
        generation={},
    )
    return Ballot(battle, counts)


def rows(*ballots: Ballot, min_margin: int = 1) -> list[dict[str, Any]]:
    return list(preference_pairs(lambda: ballots, min_margin))


def test_the_answer_with_more_votes_is_chosen() -> None:
    first, second = rows(ballot({"a": 2, "b": 1, "tie": 5}), ballot({"b": 1}, system="Be long."))

    assert (first["chosen"], first["rejected"], first["chosen_model"]) == ("yes", "no", "a:1")
    assert (second["chosen"], second["rejected"], second["chosen_model"]) == ("no", "yes", "base")


def test_what_teaches_nothing_is_left_out() -> None:
    undecided: list[Mapping[Winner, int]] = [{"tie": 3}, {"a": 1, "b": 1}, {}]
    ballots = [ballot(counts, system=str(at)) for at, counts in enumerate(undecided)]
    alike = [ballot({"a": 1}, "yes"), ballot({"a": 1}, " yes\n"), ballot({"a": 1}, " \n")]

    assert rows(*ballots, *alike, ballot({"a": 1}, finish="length")) == []


def test_a_margin_can_be_asked_for() -> None:
    ballots = [ballot({"a": 3, "b": 1}), ballot({"a": 2, "b": 1}, system="Be long.")]

    assert [row["votes"] for row in rows(*ballots, min_margin=2)] == [{"a": 3, "b": 1}]


def test_battles_of_the_same_answers_make_one_row_of_all_their_votes() -> None:
    """On whichever side they stood: two rows that say the opposite would teach nothing."""
    [row] = rows(ballot({"a": 2, "tie": 1}), ballot({"b": 1}, turned=True), ballot({"b": 2, "tie": 1}, turned=True))

    assert (row["chosen"], row["votes"]) == ("yes", {"a": 5, "tie": 2})
    assert rows(ballot({"a": 1}), ballot({"a": 1}, turned=True)) == []


def test_the_rows_are_read_as_preferences(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows(ballot({"a": 1}), ballot({"a": 1}, system="Be long.")))
    )

    records = load(path).records

    assert len(records) == 2
    assert [message["role"] for message in records[0].messages] == ["system", "user", "assistant"]
    assert records[0].completion == "yes"
    assert records[0].rejected is not None
    assert records[0].rejected["content"] == "no"
