"""lm-evaluation-harness with its own `hf` backend, one model after another: the run that `lorad benchmark` replaces.

`python -m peers.harness_worker BASE TASKS TASK LIMIT BATCH_SIZE ADAPTER…`; `-` for an adapter is the base alone. Prints
a line of JSON for each model. Loading a model is timed apart from asking it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager


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
        tasks["tasks"][task].set_config(key="num_fewshot", value=0)
        found = evaluate(model, tasks, limit=int(limit), bootstrap_iters=1)
        ended = time.perf_counter()
        assert found is not None
        samples = found["samples"][task]
        line = {
            "model": "base" if adapter == "-" else Path(adapter).name,
            "load_seconds": loaded - started,
            "seconds": ended - loaded,
            "accuracy": found["results"][task]["acc,none"],
            "responses": [[list(each[0]) for each in sample["resps"]] for sample in samples],
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
