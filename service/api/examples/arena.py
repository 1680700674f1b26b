"""Battles, votes, ratings, leaderboard."""

from service.api.examples.example import DIGEST, Example, Examples

_BATTLE_ID = "battle-3f2a9c0d1e4b5a6978869504"
_MODELS = {"a": "support:3", "b": "smollm2-135m-instruct"}
_AT = "2026-11-23T05:00:00Z"
_BATTLE: dict[str, object] = {
    "id": _BATTLE_ID,
    "object": "arena.battle",
    "created_at": _AT,
    "messages": [{"role": "user", "content": "Where is my order?"}],
    "a": {"text": "Your order is on its way.", "finish_reason": "stop"},
    "b": {"text": "I cannot see your orders.", "finish_reason": "stop"},
    "generation": {"max_tokens": 64, "temperature": 0.0, "seed": None},
    "winner": None,
    "models": None,
}
_VOTE = {
    "id": "vote-5a6978869504c0d1e4b3f2a9",
    "object": "arena.vote",
    "created_at": _AT,
    "battle": _BATTLE_ID,
    "voter": "ann",
    "winner": "a",
    "comment": "b does not answer",
    "models": _MODELS,
}
_RATING = {
    "id": "rating-0d1e4b3f2a9c5a6978869504",
    "object": "arena.rating",
    "created_at": _AT,
    "battle": _BATTLE_ID,
    "side": "a",
    "voter": "ann",
    "score": 4,
    "comment": "",
    "text": "Your order is on its way.",
    "model": "support:3",
}
_SUITE = {
    "id": f"support@{DIGEST}",
    "object": "suite",
    "name": "support",
    "digest": DIGEST,
    "created_at": 1790000000,
    "description": "Saved answers",
    "tags": [],
    "num_cases": 18,
    "scorers": ["exact_match", "rouge_l"],
    "thresholds": {},
}
_STANDING = {
    "model": "support:3",
    "rank": 1,
    "bradley_terry": {"rating": 1062.4, "low": 1021.7, "high": 1108.9},
    "elo": {"rating": 1031.8, "low": 1018.2, "high": 1044.0},
    "wins": 41,
    "losses": 17,
    "ties": 9,
    "bounded": True,
    "num_ratings": 12,
    "mean_score": 4.1,
}

ARENA: Examples = {
    ("post", "/v1/arena/battles"): Example(
        request={"prompt": "Where is my order?", "models": [None, "support"], "max_tokens": 64}, response=_BATTLE
    ),
    ("get", "/v1/arena/battles"): Example(response={"object": "list", "data": [_BATTLE], "has_more": False}),
    ("get", "/v1/arena/battles/{battle_id}"): Example(response={**_BATTLE, "winner": "a", "models": _MODELS}),
    ("delete", "/v1/arena/battles/{battle_id}"): Example(
        response={"id": _BATTLE_ID, "object": "arena.battle", "deleted": True}
    ),
    ("post", "/v1/arena/votes"): Example(
        request={"battle": _BATTLE_ID, "winner": "a", "voter": "ann", "comment": "b does not answer"}, response=_VOTE
    ),
    ("get", "/v1/arena/votes"): Example(response={"object": "list", "data": [_VOTE], "has_more": False}),
    ("post", "/v1/arena/ratings"): Example(
        request={"battle": _BATTLE_ID, "side": "a", "score": 4, "voter": "ann"}, response=_RATING
    ),
    ("get", "/v1/arena/ratings"): Example(response={"object": "list", "data": [_RATING], "has_more": False}),
    ("post", "/v1/arena/cases"): Example(
        request={"suite": "support", "battle": _BATTLE_ID, "side": "a", "tags": ["orders"]}, response=_SUITE
    ),
    ("get", "/v1/arena/leaderboard"): Example(
        response={"object": "arena.leaderboard", "data": [_STANDING], "num_votes": 67, "comparable": True}
    ),
    ("get", "/v1/arena/export"): Example(),
}
