"""The real llama.cpp reads what was written and says what the adapter says; skipped where it is not at hand.

`LORAD_TEST_LLAMA_SERVER` names the binary.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from base.rendering import create_renderer
from service.export.gguf.export import export_gguf
from service.export.material import Material
from service.export.unmerged import applied

SERVER = os.environ.get("LORAD_TEST_LLAMA_SERVER", "")
QUESTIONS = (
    "What is the capital of France?",
    "List 3 colours, and the year 1984.",
    "Say « hello » in Chinese: 你好 🙂",
)
NUM_TOKENS = 24

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SERVER, reason="LORAD_TEST_LLAMA_SERVER names no llama-server")]


@contextmanager
def served(model: Path) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """llama-server with the model loaded, and a way to post to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [SERVER, "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--ctx-size", "512"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(SERVER).parent)}

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer

    with subprocess.Popen(
        [*command, "--parallel", "1", "--no-warmup"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, "llama-server ended"
                    time.sleep(0.1)
            yield post
        finally:
            process.terminate()


def test_llama_cpp_answers_with_the_file_as_the_adapter_does(
    smollm2: Path, make_adapter: Callable[..., Path], material: Callable[..., Material], tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter", seed=11, base=smollm2, rank=8)
    given = material(adapter, smollm2)
    export_gguf(given, tmp_path / "model.gguf", "f32", "cpu", lambda _line: None)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    renderer = create_renderer(tokenizer)
    with served(tmp_path / "model.gguf") as post, applied(model, given.weights, given.checked.config):
        for question in QUESTIONS:
            messages = [{"role": "user", "content": question}]
            ids = renderer.prompt(messages)
            prompt = tokenizer.decode(ids)
            assert post("/apply-template", {"messages": messages})["prompt"] == prompt
            assert post("/tokenize", {"content": prompt, "parse_special": True})["tokens"] == ids
            body = {"prompt": ids, "n_predict": NUM_TOKENS, "temperature": 0, "return_tokens": True}
            answer = post("/completion", body)["tokens"]
            with torch.no_grad():
                rest = torch.tensor([ids + answer])
                logits = model(rest).logits[0, len(ids) - 1 : -1]
            assert len(answer) == NUM_TOKENS or answer[-1] in renderer.identity.end_of_turn_ids
            for at, token in enumerate(answer):
                best = logits[at].topk(2)
                assert token == best.indices[0] or best.values[0] - best.values[1] < 1e-3, question
