"""Answers batches with plain PEFT, a line of JSON for each: `python -m peers.peft_worker BASE ADAPTERS THREADS`."""

import json
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch
from peers.side import NUM_ADAPTERS
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


class Worker:
    """The model with its adapters."""

    def __init__(self, base: str, adapters: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._model = PeftModel.from_pretrained(model, f"{adapters}/a0", adapter_name="a0").eval()
        for index in range(1, NUM_ADAPTERS):
            self._model.load_adapter(f"{adapters}/a{index}", f"a{index}")

    def answer(self, line: dict[str, Any]) -> float:
        """Seconds for a whole batch, from text to tokens."""
        names: list[str | None] = line["adapters"]
        with self._model.disable_adapter() if names[0] is None else nullcontext():
            start = time.perf_counter()
            batch = self._tokenizer(line["prompts"], return_tensors="pt", padding=True)
            # One adapter is the active one, the others are named row by row: the latter is slower.
            mixed = {"adapter_names": names} if len(set(names)) > 1 else {}
            self._model.generate(
                **batch, **mixed, max_new_tokens=line["new_tokens"], min_new_tokens=line["new_tokens"], do_sample=False
            )
            return time.perf_counter() - start


def main() -> None:
    """Reads batches until standard input ends."""
    base, adapters, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    worker = Worker(base, adapters)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": worker.answer(json.loads(line))}), flush=True)


if __name__ == "__main__":
    main()
