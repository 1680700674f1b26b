"""Votes as preference pairs, in the layout that `corpus.preferences` reads: rows for DPO."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from evaluation.arena.battle import Answer, Ballot, Battle

Ballots = Callable[[], Iterable[Ballot]]
"""One of each battle, from the start each time it is called."""


def preference_pairs(ballots: Ballots, min_margin: int = 1) -> Iterator[dict[str, Any]]:
    """Turn battles into rows: the conversation, the preferred answer and the other one.

    Battles of the same conversation and the same two answers make one row of all their votes, so that no row says the
    opposite of another. Left out are those that were tied or won by less, preferred answers that were cut off at their
    length, which would be learnt as whole ones, and answers that are blank or, but for the space around them, the same.

    Args:
        ballots: read twice, so that only digests are held in memory.
        min_margin: by how many votes an answer has to lead, at least 1.
    """
    totals: dict[bytes, Counter[str]] = defaultdict(Counter)
    for ballot in ballots():
        totals[_digest(ballot.battle)].update(_by_answer(ballot))
    for ballot in ballots():
        battle = ballot.battle
        # A battle that has come since is in the next export.
        total = totals.pop(_digest(battle), None)
        if total is None:
            continue
        a, b = total[_name(battle.a)], total[_name(battle.b)]
        chosen, rejected = (battle.a, battle.b) if a > b else (battle.b, battle.a)
        if abs(a - b) >= min_margin and _teaches(chosen, rejected):
            votes = {"a": a, "b": b, "tie": total["tie"]}
            yield {
                "prompt": [dict(message) for message in battle.messages],
                "chosen": chosen.text,
                "rejected": rejected.text,
                "chosen_model": chosen.model,
                "rejected_model": rejected.model,
                "votes": {side: count for side, count in votes.items() if count},
                "battle": battle.id,
            }


def _by_answer(ballot: Ballot) -> Counter[str]:
    names = {"a": _name(ballot.battle.a), "b": _name(ballot.battle.b), "tie": "tie"}
    return Counter({names[winner]: count for winner, count in ballot.counts.items()})


def _name(answer: Answer) -> str:
    """Sides change from battle to battle; model and text do not."""
    return json.dumps([answer.model, answer.text])


def _digest(battle: Battle) -> bytes:
    told = [[dict(message) for message in battle.messages], sorted([_name(battle.a), _name(battle.b)])]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()


def _teaches(chosen: Answer, rejected: Answer) -> bool:
    one, other = chosen.text.strip(), rejected.text.strip()
    return bool(one and other) and one != other and chosen.finish_reason != "length"
