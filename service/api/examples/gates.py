"""Gates on aliases, and candidates that came before them."""

from service.api.examples.example import Example, Examples

_NAME = "/v1/adapters/{name}/gates"
_ALIAS = f"{_NAME}/{{alias}}"
_POLICY = "promote to prod on tickets if exact_match >= prod and no suite drops > 1 point"
_GATE: dict[str, object] = {
    "object": "gate",
    "adapter": "support",
    "alias": "prod",
    "policy": _POLICY,
    "definition": {
        "alias": "prod",
        "suites": ["tickets"],
        "conditions": [
            {
                "kind": "metric",
                "metric": "exact_match",
                "comparison": ">=",
                "to": "prod",
                "margin": 0.0,
                "suite": None,
                "significant": False,
            },
            {"kind": "no_drop", "margin": 0.01, "metric": None, "significant": False},
        ],
    },
    "suites": ["tickets"],
    "set_by": "acme",
    "updated_at": 1_795_409_000,
}
_FINDING = {
    "condition": "exact_match >= prod",
    "holds": True,
    "suite": "tickets",
    "metric": "exact_match",
    "candidate": 0.91,
    "wanted": 0.84,
    "against": "support:2",
    "current": 0.84,
    "difference": {
        "delta": 0.07,
        "low": 0.02,
        "high": 0.12,
        "p_value": 0.012,
        "test": "mcnemar",
        "verdict": "better",
        "num_cases": 144,
    },
}
_CHECK: dict[str, object] = {
    "id": "gate-1f0e2d3c4b5a69788796a5b4",
    "object": "gate.check",
    "adapter": "support",
    "alias": "prod",
    "policy": _POLICY,
    "candidate": "support:3",
    "before": "support:2",
    "status": "promoted",
    "evaluations": {"tickets": "eval-5a6978869504c0d1e4b3f2a9"},
    "reason": "promoted: 'exact_match >= prod' holds: exact_match 0.91 on tickets, support:2 has 0.84 (+0.07, "
    "95% interval +0.02 to +0.12, p 0.012: better)",
    "findings": [_FINDING],
    "asked_by": "acme",
    "job_id": None,
    "created_at": 1_795_409_100,
    "finished_at": 1_795_409_131,
}
_WAITING = {
    **_CHECK,
    "before": None,
    "status": "waiting",
    "evaluations": {},
    "reason": None,
    "findings": None,
    "finished_at": None,
}

GATES: Examples = {
    ("get", _NAME): Example(response={"object": "list", "data": [_GATE]}),
    ("put", _ALIAS): Example(
        request={
            "policy": "promote to prod if exact_match >= prod and no suite drops > 1 point",
            "suites": ["tickets"],
        },
        response=_GATE,
    ),
    ("get", _ALIAS): Example(response=_GATE),
    ("delete", _ALIAS): Example(response={"id": "support@prod", "object": "gate", "deleted": True}),
    ("post", f"{_ALIAS}/run"): Example(request={"version": 3}, response=_WAITING),
    ("get", f"{_ALIAS}/checks"): Example(response={"object": "list", "data": [_CHECK], "has_more": False}),
    ("get", f"{_ALIAS}/checks/{{check_id}}"): Example(response=_CHECK),
}
