"""lm-evaluation-harness with its own `hf` backend, one model after another: the run that `lorad benchmark` replaces.

`python -m peers.harness_worker BASE TASKS TASK LIMIT BATCH_SIZE ADAPTER…`; `-` for an adapter is the base alone. Prints
a line of JSON for each model. Loading a model is timed apart from asking it.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

_FEWSHOT_SEED = 1234
"""The harness's own command's."""


def main() -> None:
    """Measures each model."""
    base, tasks_folder, task, limit, batch_size, *adapters = sys.argv[1:]
    manager = TaskManager(include_path=tasks_folder, include_defaults=False)
    for adapter in adapters:
        started = time.perf_counter()
        settings: dict[str, Any] = {"pretrained": base, "dtype": "float32", "device": "cpu"}
        if adapter != "-":
            settings["peft"] = adapter
        model = HFLM(batch_size=int(batch_size), **settings)
        loaded = time.perf_counter()
        tasks = manager.load([task])
        for each in tasks["tasks"].values():
            if each.get_config("num_fewshot") is None:
                each.set_config(key="num_fewshot", value=0)
            each.set_fewshot_seed(seed=_FEWSHOT_SEED)
        found = evaluate(model, tasks, limit=int(limit), bootstrap_iters=1)
        ended = time.perf_counter()
        assert found is not None
        line = {
            "model": "base" if adapter == "-" else Path(adapter).name,
            "load_seconds": loaded - started,
            "seconds": ended - loaded,
            "metrics": dict(_metrics(found["results"][task])),
            "responses": {
                f"{name}/{sample['doc_id']}/{sample['filter']}": [each for given in sample["resps"] for each in given]
                for name, samples in found["samples"].items()
                for sample in samples
            },
        }
        print(json.dumps(line), flush=True)


def _metrics(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Without standard errors, under the names that `lorad benchmark` gives them."""
    for key, value in values.items():
        name, _, kind = key.partition(",")
        if kind and isinstance(value, int | float) and not name.endswith("_stderr"):
            yield (name if kind == "none" else key), float(value)


if __name__ == "__main__":
    main()
