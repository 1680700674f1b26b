"""TRL's SFTTrainer over given token rows: `trl_worker.py PLAN.json RESULT.json`, in TRL's own environment.

The rows come as tokens with their labels, so that every side learns from the same.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer


class StepSeconds(TrainerCallback):
    """The time between the beginning and the end of optimizer steps."""

    def __init__(self) -> None:
        self.total = 0.0
        self._began = 0.0

    def on_step_begin(self, *_args: object, **_others: object) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def on_step_end(self, *_args: object, **_others: object) -> None:
        """A step ends."""
        self.total += time.perf_counter() - self._began


def main() -> None:
    """Trains, and writes what was measured."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(plan["threads"])
    packing = plan["layout"] == "packed"
    rows = json.loads(Path(plan["rows"]).read_text())
    examples = [
        {"input_ids": ids, "labels": [token if flag else -100 for token, flag in zip(ids, labelled, strict=True)]}
        for ids, labelled in rows
    ]
    config = SFTConfig(
        output_dir=plan["output"],
        per_device_train_batch_size=1 if packing else plan["batch_size"],
        max_length=plan["pack_tokens"],
        packing=packing,
        train_sampling_strategy="sequential" if plan["in_order"] else "random",
        num_train_epochs=1,
        learning_rate=plan["learning_rate"],
        lr_scheduler_type="cosine",
        # Below 1 transformers takes it for a share of all steps; its first step of a warm-up has the rate zero.
        warmup_steps=plan["warmup_ratio"],
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=plan["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    model = AutoModelForCausalLM.from_pretrained(plan["base"], dtype=torch.float32, **_quantized(plan["quantization"]))
    lora = LoraConfig(
        r=plan["rank"], lora_alpha=plan["alpha"], target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.0
    )
    seconds = StepSeconds()
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(examples),
        peft_config=lora,
        callbacks=[seconds],
    )
    trainer.train()
    trainer.save_model(plan["output"])
    result = {
        "tokens": sum(len(ids) for ids, _ in rows),
        "seconds": seconds.total,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    Path(sys.argv[2]).write_text(json.dumps(result))


def _quantized(quantization: str) -> dict[str, object]:
    if quantization == "none":
        return {}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    }


if __name__ == "__main__":
    main()
