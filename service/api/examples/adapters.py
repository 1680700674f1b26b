"""Adapters: versions, aliases, places."""

from service.api.examples.example import BASE_DIGEST, DIGEST, Example, Examples

_VERSION = {
    "id": "support:3",
    "object": "adapter.version",
    "name": "support",
    "number": 3,
    "checkpoint_step": None,
    "digest": DIGEST,
    "base_name": "smollm2-135m-instruct",
    "base_digest": BASE_DIGEST,
    "rank": 16,
    "size_bytes": 19_543_212,
    "created_at": "2026-11-23T01:00:00Z",
    "source": "train",
    "job_id": "ftjob-1f0e2d3c4b5a69788796a5b4",
    "data_digest": DIGEST,
    "metrics": {"valid_loss": 1.21, "tokens_per_second": 240.5},
    "lineage": {"job": "ftjob-1f0e2d3c4b5a69788796a5b4", "data_digest": DIGEST},
    "aliases": ["prod"],
    "tags": {"stage": "gold"},
    "residency": "store",
    "pinned": False,
}
_PLACED = {"number": 3, "digest": DIGEST, "residency": "store", "pinned": False}
_ADAPTER = {
    "id": "support",
    "object": "adapter",
    "name": "support",
    "created_at": "2026-11-20T01:00:00Z",
    "num_versions": 1,
    "latest": _VERSION,
    "versions": [_PLACED],
    "aliases": {"prod": 3},
    "keep_versions": None,
    "matches": [3],
}
_EVENT = {
    "id": 12,
    "object": "adapter.event",
    "kind": "set",
    "at": "2026-11-23T01:05:00Z",
    "actor": "acme",
    "reason": "better on refunds",
    "alias": "prod",
    "from_number": 2,
    "number": 3,
    "job_id": None,
    "details": {},
}
_LINEAGE = {
    "object": "adapter.lineage",
    "id": "support:3",
    "digest": DIGEST,
    "base_digest": BASE_DIGEST,
    "data_digest": DIGEST,
    "data": [{"path": "support.jsonl", "digest": DIGEST, "weight": 1.0}],
    "job_id": "ftjob-1f0e2d3c4b5a69788796a5b4",
    "ancestors": [{"name": "support:2", "digest": DIGEST, "id": "support:2", "job_id": None, "data_digest": DIGEST}],
    "evaluations": [
        {
            "evaluation": "eval-3c1f0e2d4b5a69788796a5b4",
            "suite": "returns",
            "suite_digest": DIGEST,
            "num_cases": 120,
            "finished_at": "2026-11-20T01:10:00Z",
            "metrics": {"exact_match": 0.81},
        }
    ],
}

ADAPTERS: Examples = {
    ("get", "/v1/adapters"): Example(response={"object": "list", "data": [_ADAPTER], "has_more": False}),
    ("post", "/v1/adapters"): Example(request={"file": "support.tar.gz", "name": "support"}, response=_VERSION),
    ("get", "/v1/adapters/{name}"): Example(response=_ADAPTER),
    ("delete", "/v1/adapters/{name}"): Example(response={"id": "support", "object": "adapter", "deleted": True}),
    ("get", "/v1/adapters/{name}/versions"): Example(response={"object": "list", "data": [_VERSION]}),
    ("get", "/v1/adapters/{name}/versions/{number}"): Example(response=_VERSION),
    ("delete", "/v1/adapters/{name}/versions/{number}"): Example(
        response={"id": "support:3", "object": "adapter.version", "deleted": True}
    ),
    ("get", "/v1/adapters/{name}/versions/{number}/download"): Example(),
    ("get", "/v1/adapters/{name}/versions/{number}/archive"): Example(),
    ("post", "/v1/adapters/import"): Example(request={"file": "support-3.tar.gz", "name": ""}, response=_VERSION),
    ("post", "/v1/adapters/{name}/promote"): Example(
        request={"moves": [{"alias": "prod", "version": 3, "expected": 2}], "reason": "better on refunds"},
        response={"object": "list", "data": [_VERSION]},
    ),
    ("get", "/v1/adapters/{name}/history"): Example(response={"object": "list", "data": [_EVENT], "has_more": False}),
    ("get", "/v1/adapters/{name}/versions/{number}/lineage"): Example(response=_LINEAGE),
    ("put", "/v1/adapters/{name}/versions/{number}/tags/{key}"): Example(
        request={"value": "gold", "reason": "passed the suite"}, response=_VERSION
    ),
    ("delete", "/v1/adapters/{name}/versions/{number}/tags/{key}"): Example(response={**_VERSION, "tags": {}}),
    ("put", "/v1/adapters/{name}/retention"): Example(
        request={"keep": 5, "reason": "small disk"}, response={**_ADAPTER, "keep_versions": 5}
    ),
    ("post", "/v1/adapters/{name}/prune"): Example(
        request={"keep": 2, "checkpoints": True, "dry_run": True},
        response={"object": "adapter.pruned", "dry_run": True, "deleted": ["support:1", "support:ckpt-step-100"]},
    ),
    ("put", "/v1/adapters/{name}/pin"): Example(
        request={"version": 3}, response={**_VERSION, "residency": "device", "pinned": True}
    ),
    ("delete", "/v1/adapters/{name}/pin"): Example(response={"object": "list", "unpinned": ["support:3"]}),
    ("put", "/v1/adapters/{name}/aliases/{alias}"): Example(
        request={"version": 3, "reason": "better on refunds"}, response=_VERSION
    ),
    ("delete", "/v1/adapters/{name}/aliases/{alias}"): Example(
        response={"id": "support@prod", "object": "adapter.alias", "deleted": True}
    ),
    ("post", "/v1/adapters/{name}/rollback"): Example(
        request={"alias": "prod", "reason": "worse on refunds"}, response=_VERSION
    ),
    ("post", "/v1/load_lora_adapter"): Example(
        request={"lora_name": "support@prod"}, response={**_VERSION, "residency": "device", "pinned": True}
    ),
    ("post", "/v1/unload_lora_adapter"): Example(
        request={"lora_name": "support"}, response={"object": "list", "unloaded": ["support:3"]}
    ),
}
