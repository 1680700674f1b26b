"""New rows from a model."""

from service.api.examples.example import Example, Examples

_ID = "gen-4c5b6a79880f1e2d3c4b5a69"
_REQUEST = {
    "recipe": "paraphrase",
    "count": 200,
    "seeds": ["file-9f8e7d6c5b4a39281706f5e4"],
    "held_out": ["file-0f1e2d3c4b5a697887968574"],
    "writer": "operator",
    "seed": 7,
}
_STORED = {
    **_REQUEST,
    "max_attempts": None,
    "temperature": 0.7,
    "form": "text",
    "max_similarity": 0.7,
    "min_characters": None,
    "max_characters": None,
    "language": True,
    "min_judged": 0.5,
    "model": None,
    "judged_by": "nobody",
    "judge": None,
    "filename": None,
}
_QUEUED: dict[str, object] = {
    "id": _ID,
    "object": "data.generation",
    "status": "queued",
    "request": _STORED,
    "model": "large-instruct",
    "digest": None,
    "judge": None,
    "created_at": 1790000000,
    "started_at": None,
    "finished_at": None,
    "kept": 0,
    "attempts": 0,
    "dropped": {},
    "file_id": None,
    "error": None,
}
_ENDED = {
    **_QUEUED,
    "status": "completed",
    "started_at": 1790000001,
    "finished_at": 1790000391,
    "kept": 200,
    "attempts": 263,
    "dropped": {"seed": 38, "repeated": 19, "held_out": 6},
    "file_id": "file-5a69788796857463524130f1",
}
_CANCELLED = {
    **_ENDED,
    "status": "cancelled",
    "kept": 31,
    "attempts": 48,
    "dropped": {"seed": 12, "repeated": 5},
    "file_id": None,
}

GENERATIONS: Examples = {
    ("post", "/v1/data/generate"): Example(request=_REQUEST, response=_QUEUED),
    ("get", "/v1/data/generations"): Example(response={"object": "list", "data": [_ENDED], "has_more": False}),
    ("get", "/v1/data/generations/{generation_id}"): Example(
        response={**_ENDED, "examples": ["it says what a seed says (train.jsonl:8, 0.86): Where is the card now?"]}
    ),
    ("post", "/v1/data/generations/{generation_id}/cancel"): Example(response=_CANCELLED),
    ("post", "/v1/data/generations/{generation_id}/resume"): Example(
        response={**_CANCELLED, "status": "queued", "finished_at": None}
    ),
}
