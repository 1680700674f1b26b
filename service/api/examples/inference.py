"""Operations and inference."""

from service.api.examples.example import BASE_DIGEST, DIGEST, Example, Examples

_MODEL = {
    "id": "support",
    "object": "model",
    "created": 1790000000,
    "owned_by": "lorad",
    "root": DIGEST,
    "parent": "smollm2-135m-instruct",
    "max_model_len": 8192,
}
_BASE = {**_MODEL, "id": "smollm2-135m-instruct", "root": BASE_DIGEST, "parent": None}
_USAGE = {
    "prompt_tokens": 36,
    "completion_tokens": 9,
    "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 0},
}
_OUTPUT = {
    "prompt_index": 0,
    "adapter": "support",
    "choice_index": 0,
    "version": "support:3",
    "digest": DIGEST,
    "merged": None,
    "text": "Your order is on its way.",
    "logprobs": None,
    "finish_reason": "stop",
    "usage": _USAGE,
}

INFERENCE: Examples = {
    ("get", "/live"): Example(response={"status": "alive"}),
    ("get", "/health"): Example(response={"status": "ready"}),
    ("get", "/version"): Example(response={"version": "0.1.0"}),
    ("get", "/metrics"): Example(),
    ("post", "/generate"): Example(
        request={"prompt": "Where is my order?", "adapters": [None, "support"], "max_tokens": 32, "temperature": 0},
        response={
            "id": "gen-5f0c",
            "outputs": [
                {**_OUTPUT, "adapter": None, "version": None, "digest": None, "text": "I cannot see your orders."},
                _OUTPUT,
            ],
        },
    ),
    ("post", "/v1/chat/completions"): Example(
        request={
            "model": "support@prod",
            "messages": [{"role": "user", "content": "Where is my order?"}],
            "max_tokens": 32,
            "temperature": 0,
        },
        response={
            "id": "chatcmpl-9d2c",
            "object": "chat.completion",
            "created": 1790000000,
            "model": "support:3",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Your order is on its way.", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
            "system_fingerprint": None,
        },
    ),
    ("post", "/v1/completions"): Example(
        request={"model": "smollm2-135m-instruct", "prompt": "Once upon a time", "max_tokens": 9},
        response={
            "id": "cmpl-77e0",
            "object": "text_completion",
            "created": 1790000000,
            "model": "smollm2-135m-instruct",
            "choices": [
                {"index": 0, "text": ", in a small village nestled", "logprobs": None, "finish_reason": "length"}
            ],
            "usage": _USAGE,
            "system_fingerprint": None,
        },
    ),
    ("get", "/v1/models"): Example(response={"object": "list", "data": [_BASE, _MODEL]}),
    ("get", "/v1/models/{model}"): Example(response=_MODEL),
}
