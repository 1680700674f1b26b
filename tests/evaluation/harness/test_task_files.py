from collections.abc import Callable
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from evaluation.harness.catalogue import BENCHMARKS, benchmark
from evaluation.harness.errors import BenchmarkDataError, UnknownBenchmarkError
from evaluation.harness.task_files import write_tasks


def test_the_harness_reads_the_local_rows_under_its_own_definitions(
    write_data: Callable[..., Path], tmp_path: Path
) -> None:
    names = [name for name in BENCHMARKS if name != "arc_challenge"]
    write_tasks([benchmark(name) for name in names], write_data(), tmp_path / "tasks")
    tasks = TaskManager(include_path=tmp_path / "tasks", include_defaults=False).load(names)["tasks"]
    prompts = {name: [task.doc_to_text(doc) for doc in task.eval_docs] for name, task in tasks.items()}
    assert sorted(prompts) == [
        *("arc_easy", "gsm8k", "hellaswag", "mmlu_anatomy", "mmlu_virology", "truthfulqa_mc1", "truthfulqa_mc2"),
    ]
    assert prompts["arc_easy"][0] == "Question: What is the text?\nAnswer:"
    assert prompts["hellaswag"] == [
        "Say hello: The user says hello. He",
        "Orders: The order is in the ticket. The refund",
    ]
    assert prompts["mmlu_anatomy"] == ["What is 1?\nA. one\nB. two\nC. a ticket\nD. four\nAnswer:"]
    arc, truthful = tasks["arc_easy"], tasks["truthfulqa_mc1"]
    assert [arc.doc_to_target(doc) for doc in arc.eval_docs] == [2, 0, 1]
    assert truthful.doc_to_choice(truthful.eval_docs[0])[0] == "a tiny test model"


def test_without_local_files_the_definitions_are_the_harness_own(tmp_path: Path) -> None:
    write_tasks([benchmark("arc_easy"), benchmark("mmlu")], None, tmp_path)
    index = TaskManager(include_path=tmp_path, include_defaults=False).task_index
    assert index["arc_easy"].cfg["dataset_path"] == "allenai/ai2_arc"
    assert len([name for name in index if name.startswith("mmlu_") and "tasks" not in name]) == 57 + 4
    assert index["mmlu_virology"].cfg["dataset_path"] == "cais/mmlu"


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("arc_challenge", {}, "no folder arc_challenge or ARC-Challenge"),
        ("gsm8k", {"gsm8k/train.jsonl": []}, r"gsm8k needs .*train\.jsonl, which is not there"),
        (
            "gsm8k",
            {"gsm8k/test.jsonl": [{"question": "?", "answer": "#### 4"}, {"question": "?"}]},
            r"test\.jsonl:2 .*'a",
        ),
        ("arc_easy", {"arc_easy/test.jsonl": [{"question": 5}]}, r"test\.jsonl:1 is no row of arc_easy"),
    ],
)
def test_data_that_cannot_be_used_are_refused_by_file_and_line(
    name: str, changed: dict[str, list[object]], message: str, write_data: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkDataError, match=message):
        write_tasks([benchmark(name)], write_data(changed), tmp_path / "tasks")


def test_a_file_without_rows_is_refused(write_data: Callable[..., Path], tmp_path: Path) -> None:
    data = write_data()
    (data / "gsm8k" / "test.jsonl").write_text("")
    with pytest.raises(BenchmarkDataError, match="has no rows"):
        write_tasks([benchmark("gsm8k")], data, tmp_path / "tasks")


def test_an_unknown_name_brings_the_nearest_one() -> None:
    with pytest.raises(UnknownBenchmarkError, match="'arc_eazy' is no benchmark; did you mean 'arc_easy'"):
        benchmark("arc_eazy")
