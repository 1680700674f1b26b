"""From rows to a promoted adapter and back, with the real base, worker, training, evaluation and gate."""

import os
from pathlib import Path

import pytest

from benchmarks.promotion import Pair, Plan, Promotion, read_rows, sampled, serving, shuffled
from service.settings import Settings
from tests.conftest import REPOSITORY


@pytest.mark.slow
@pytest.mark.skipif("LORAD_TEST_LONG" not in os.environ, reason="trains three times: minutes; set LORAD_TEST_LONG=1")
def test_the_better_is_promoted_the_spoiled_refused_and_a_rollback_restores_every_token(
    tmp_path: Path, smollm2: Path
) -> None:
    folder = REPOSITORY / "examples" / "text_to_sql"
    plan = Plan(
        train=sampled(read_rows(folder / "train.jsonl"), 96, None),
        test=sampled(read_rows(folder / "test.jsonl"), 32, None),
        short_steps=3,
        long_steps=16,
        # Without answers to generate, and with differences after a few steps already.
        metric="token_accuracy",
        max_tokens=24,
        num_probes=4,
    )
    settings = Settings(home=tmp_path / "home", base_home=smollm2.parent, device="cpu", port=0, workers=1)
    with serving(settings) as client:
        candidates, wrong = Promotion(client, plan).run()
    assert wrong == []
    assert [each.version for each in candidates] == ["candidate:1", "candidate:2", "candidate:3"]
    assert "'token_accuracy >= prod' does not hold" in candidates[2].check["reason"]


def test_every_prompt_gets_another_rows_answer_where_there_is_one() -> None:
    rows = [Pair(str(number), f"answer {number % 3}") for number in range(30)]
    spoiled = shuffled(rows)
    assert sorted(pair.answer for pair in spoiled) == sorted(row.answer for row in rows)
    assert all(mine.answer != row.answer for mine, row in zip(spoiled, rows, strict=True))
