"""Evaluations and suites."""

from service.api.examples.example import BASE_DIGEST, DIGEST, Example, Examples

_RUN_ID = "eval-3c1f0e2d4b5a69788796a5b4"
_BASELINE_ID = "eval-9b1deb4d3b7d4bad9bdd2b0d"
_BASE = "smollm2-135m-instruct"
_ANSWER = {
    "index": 0,
    "text": "Within 14 days.",
    "finish_reason": "stop",
    "tokens": 6,
    "seconds": 0.41,
    "loss": 0.82,
    "labelled_tokens": 6,
    "scores": {"exact_match": 1.0},
    "details": {},
    "findings": [],
    "error": None,
}
_CASE = {"prompt": "How long may I return it?", "completion": "Within 14 days."}
_RESULT = {
    "model": "support:3",
    "metrics": {"loss": 0.82, "exact_match": 1.0},
    "cases": [_ANSWER],
    "prompt_tokens": 38,
    "completion_tokens": 6,
    "labelled_tokens": 6,
    "tokens_per_second": 14.6,
    "tags": {"returns": {"loss": 1.31, "exact_match": 0.5}},
    "confusion": None,
}
_RUN: dict[str, object] = {
    "id": _RUN_ID,
    "object": "evaluation",
    "status": "completed",
    "suite": {"name": "returns", "digest": DIGEST, "num_cases": 1},
    "models": [{"asked": "support@prod", "model": "support:3", "digest": BASE_DIGEST}],
    "scorers": [{"name": "loss", "params": {}}, {"name": "exact_match", "params": {}}],
    "judge": None,
    "generation": {"max_tokens": 64, "temperature": 0.0, "seed": None, "stop": []},
    "created_at": 1790000000,
    "started_at": 1790000001,
    "finished_at": 1790000009,
    "progress": {"done": 1, "total": 1},
    "error": None,
    "results": [{**_RESULT, "cases": []}],
}
_OPEN = {**_RUN, "status": "queued", "started_at": None, "finished_at": None, "results": None}
_EVENT = {
    "id": "evalevent-7",
    "object": "evaluation.event",
    "created_at": 1790000009,
    "level": "info",
    "message": "The evaluation is completed",
    "data": None,
}
_DIFFERENCE = {
    "metric": "exact_match",
    "before": 0.62,
    "after": 0.81,
    "delta": 0.19,
    "low": 0.11,
    "high": 0.27,
    "p_value": 0.0002,
    "p_adjusted": 0.0004,
    "test": "mcnemar",
    "verdict": "better",
    "num_cases": 120,
}
_SUITE = {
    "id": f"returns@{DIGEST}",
    "object": "suite",
    "name": "returns",
    "digest": DIGEST,
    "created_at": 1790000000,
    "description": "What customers ask about returns.",
    "tags": ["support"],
    "num_cases": 1,
    "scorers": ["exact_match"],
    "thresholds": {"exact_match": 0.8},
}
_CONTENT = {
    "name": "returns",
    "description": "What customers ask about returns.",
    "scorers": [{"name": "exact_match"}],
    "thresholds": {"exact_match": 0.8},
    "tags": ["support"],
    "cases": [_CASE],
}

EVALUATION: Examples = {
    ("post", "/evaluate"): Example(
        request={"models": [None, "support@prod"], "cases": [_CASE], "metrics": ["loss", "exact_match"]},
        response={**_RUN, "results": [_RESULT]},
    ),
    ("get", "/evaluations"): Example(response={"object": "list", "data": [_RUN], "has_more": False}),
    ("get", "/evaluations/{run_id}"): Example(response=_RUN),
    ("delete", "/evaluations/{run_id}"): Example(response={"id": _RUN_ID, "object": "evaluation", "deleted": True}),
    ("post", "/evaluations/{run_id}/cancel"): Example(response={**_OPEN, "status": "cancelled"}),
    ("post", "/evaluations/{run_id}/resume"): Example(response=_OPEN),
    ("get", "/evaluations/{run_id}/events"): Example(response={"object": "list", "data": [_EVENT], "has_more": False}),
    ("get", "/evaluations/{run_id}/cases"): Example(
        response={
            "object": "list",
            "data": [
                {
                    "object": "evaluation.case",
                    "index": 0,
                    "model": "support:3",
                    "case": _CASE,
                    "answer": _ANSWER,
                }
            ],
            "has_more": False,
        }
    ),
    ("get", "/evaluations/{run_id}/compare"): Example(
        response={
            "object": "list",
            "data": [
                {
                    "object": "evaluation.comparison",
                    "before": {"evaluation": _BASELINE_ID, "model": _BASE},
                    "after": {"evaluation": _RUN_ID, "model": "support:3"},
                    "differences": [_DIFFERENCE],
                }
            ],
        }
    ),
    ("post", "/evaluations/{run_id}/judge"): Example(
        request={"with": _BASELINE_ID, "judge": "grader"},
        response={
            "object": "list",
            "data": [
                {
                    "object": "evaluation.preference",
                    "judge": "grader:1",
                    "before": {"evaluation": _BASELINE_ID, "model": _BASE},
                    "after": {"evaluation": _RUN_ID, "model": "support:3"},
                    "num_cases": 64,
                    "after_wins": 41,
                    "before_wins": 9,
                    "ties": 13,
                    "unreadable": 1,
                    "agreement": 0.84,
                    "win_rate": 0.754,
                    "p_value": 0.000006,
                    "verdict": "better",
                    "cases": [{"index": 0, "winner": "after", "agrees": True, "reasons": ["A", "B"]}],
                }
            ],
        },
    ),
    ("get", "/evaluations/{run_id}/report"): Example(),
    ("post", "/suites"): Example(request=_CONTENT, response=_SUITE),
    ("get", "/suites"): Example(response={"object": "list", "data": [_SUITE]}),
    ("get", "/suites/{name}"): Example(response={**_SUITE, "content": _CONTENT}),
    ("delete", "/suites/{name}"): Example(response={"object": "suite", "name": "returns", "deleted": [DIGEST]}),
}
