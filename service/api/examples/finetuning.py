"""Files, jobs, events, checkpoints, estimates."""

from service.api.examples.example import DIGEST, Example, Examples

_FILE_ID = "file-9b1deb4d3b7d4bad9bdd2b0d"
_JOB_ID = "ftjob-1f0e2d3c4b5a69788796a5b4"
_BASE = "smollm2-135m-instruct"
_FILE = {
    "id": _FILE_ID,
    "object": "file",
    "bytes": 48213,
    "created_at": 1790000000,
    "filename": "support.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "status_details": None,
    "expires_at": None,
    "digest": DIGEST,
}
_CHOICES = [
    {"name": "batch_size", "value": 8, "reason": "the most that LoRA gains from; needs 1.4 of 14.2 GiB free"},
    {"name": "learning_rate", "value": 0.00055, "reason": "5e-4 x (2000 / 576) ^ 0.0775; hidden size 576"},
]
_ESTIMATE: dict[str, object] = {
    "steps_per_epoch": 40,
    "steps": 120,
    "tokens": 61240,
    "labelled_tokens": 20411,
    "seconds": None,
    "needs_bytes": 1503238553,
    "free_bytes": 15247343616,
    "fits": True,
    "remedies": [],
    "adapter_bytes": 19537920,
}
_REPORT = {
    "refused": False,
    "base": {"name": _BASE, "context_tokens": 8192, "template": "chat", "quantization": "none"},
    "max_length": 1024,
    "train": {"num_rows": 320, "num_usable": 320, "findings": []},
    "validation": None,
    "estimate": _ESTIMATE,
    "choices": _CHOICES,
    "config": {"epochs": 3.0, "batch_size": 8, "learning_rate": 0.00055, "rank": 16},
    "findings": [],
}
_REQUEST = {
    "model": _BASE,
    "training_file": _FILE_ID,
    "suffix": "support",
    "seed": 7,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    "lora": {"rank": 16, "alpha": 32},
    "metadata": {"ticket": "OPS-7"},
}
_JOB = {
    "id": _JOB_ID,
    "object": "fine_tuning.job",
    "created_at": 1790000100,
    "started_at": 1790000103,
    "finished_at": None,
    "status": "running",
    "model": _BASE,
    "fine_tuned_model": None,
    "organization_id": "default",
    "training_file": _FILE_ID,
    "training_files": None,
    "validation_file": None,
    "result_files": [],
    "hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"},
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    "lora": {"rank": 16, "alpha": 32},
    "suffix": "support",
    "gate": None,
    "seed": 7,
    "priority": 0,
    "metadata": {"ticket": "OPS-7"},
    "integrations": None,
    "trained_tokens": None,
    "error": None,
    "estimated_finish": 1790000400,
    "queue_position": None,
    "progress": {"step": 30, "total_steps": 120, "eta_seconds": 225},
}
_STOPPED = {**_JOB, "estimated_finish": None}
_EVENT = {
    "id": "ftevent-412",
    "object": "fine_tuning.job.event",
    "created_at": 1790000175,
    "level": "info",
    "message": "step 30 of 120: train loss 1.4312",
    "type": "metrics",
    "data": {"step": 30, "train_loss": 1.4312},
}
_CHECKPOINT = {
    "id": "ftckpt_5f4e3d2c1b0a9988776655aa",
    "object": "fine_tuning.job.checkpoint",
    "created_at": 1790000200,
    "fine_tuned_model_checkpoint": "support:ckpt-step-40",
    "fine_tuning_job_id": _JOB_ID,
    "step_number": 40,
    "metrics": {"step": 40, "train_loss": 1.3871, "valid_loss": 1.4402},
}

FINETUNING: Examples = {
    ("post", "/v1/files"): Example(request={"file": "support.jsonl", "purpose": "fine-tune"}, response=_FILE),
    ("get", "/v1/files"): Example(
        response={"object": "list", "data": [_FILE], "has_more": False, "first_id": _FILE_ID, "last_id": _FILE_ID}
    ),
    ("get", "/v1/files/{file_id}"): Example(response=_FILE),
    ("delete", "/v1/files/{file_id}"): Example(response={"id": _FILE_ID, "object": "file", "deleted": True}),
    ("get", "/v1/files/{file_id}/content"): Example(),
    ("get", "/v1/files/{file_id}/report"): Example(response=_REPORT),
    ("post", "/v1/fine_tuning/jobs"): Example(
        request=_REQUEST,
        response={**_STOPPED, "status": "queued", "started_at": None, "queue_position": 1, "progress": None},
    ),
    ("get", "/v1/fine_tuning/jobs"): Example(response={"object": "list", "data": [_JOB], "has_more": False}),
    ("get", "/v1/fine_tuning/jobs/{job_id}"): Example(response=_JOB),
    ("post", "/v1/fine_tuning/jobs/{job_id}/cancel"): Example(response={**_STOPPED, "status": "cancelled"}),
    ("post", "/v1/fine_tuning/jobs/{job_id}/pause"): Example(response={**_STOPPED, "status": "paused"}),
    ("post", "/v1/fine_tuning/jobs/{job_id}/resume"): Example(
        response={**_STOPPED, "status": "queued", "queue_position": 1}
    ),
    ("get", "/v1/fine_tuning/jobs/{job_id}/events"): Example(
        response={"object": "list", "data": [_EVENT], "has_more": True}
    ),
    ("get", "/v1/fine_tuning/jobs/{job_id}/checkpoints"): Example(
        response={
            "object": "list",
            "data": [_CHECKPOINT],
            "has_more": False,
            "first_id": _CHECKPOINT["id"],
            "last_id": _CHECKPOINT["id"],
        }
    ),
    ("post", "/v1/fine_tuning/estimate"): Example(
        request=_REQUEST,
        response={
            "object": "fine_tuning.estimate",
            "refused": False,
            "tokens": 61240,
            "labelled_tokens": 20411,
            "steps": 120,
            "steps_per_epoch": 40,
            "seconds": None,
            "memory": {"needs_bytes": 1503238553, "free_bytes": 15247343616, "fits": True, "remedies": []},
            "adapter_bytes": 19537920,
            "auto": _CHOICES,
            "findings": [],
        },
    ),
}
