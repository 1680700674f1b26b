from typing import Any

import pytest
from pydantic import ValidationError

from service.jobs.request import JobRequest

BODY = {"model": "tiny", "training_file": "file-1"}


def request(**fields: Any) -> JobRequest:
    return JobRequest.model_validate({**BODY, **fields})


def test_what_is_left_open_is_left_to_lorad() -> None:
    config = request().config()
    assert (config.learning_rate, config.batch_size, config.method) == ("auto", "auto", "sft")


def test_openais_hyperparameters_decide_the_runs_settings() -> None:
    given = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 2}
    for fields in (
        {"hyperparameters": given},
        {"method": {"type": "supervised", "supervised": {"hyperparameters": given}}},
    ):
        config = request(**fields, seed=7).config()
        assert (config.epochs, config.batch_size, config.learning_rate, config.seed) == (2, 4, 1e-3, 7)


def test_preference_pairs_have_a_beta() -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3}}}
    config = request(method=method).config()
    assert (config.method, config.dpo_beta) == ("dpo", 0.3)


def test_lora_settings_are_those_of_the_command_line() -> None:
    config = request(lora={"rank": 4, "alpha": 8, "learning_rate": 1e-3}).config()
    assert (config.rank, config.alpha, config.learning_rate) == (4, 8, 1e-3)


@pytest.mark.parametrize(
    ("fields", "place", "said"),
    [
        ({"lora": {"rank": 0}}, ("lora", "rank"), "greater than or equal to 1"),
        ({"lora": {"rnak": 8}}, ("lora", "rnak"), "Extra inputs"),
        ({"lora": {"seed": 8}}, (), "give seed instead"),
        ({"lora": {"epochs": 2}, "hyperparameters": {"n_epochs": 3}}, (), "either hyperparameters.n_epochs or"),
        ({"suffix": "No Spaces"}, ("suffix",), "is not valid"),
        ({"suffix": "support", "gate": "No Spaces"}, ("gate",), "is not valid"),
        ({"gate": "prod"}, (), "a gate is on an alias of that adapter"),
        ({"sufix": "x"}, ("sufix",), "Extra inputs"),
        ({"hyperparameters": {"n_epochs": 51}}, ("hyperparameters", "n_epochs"), ""),
        ({"method": {"type": "supervised", "dpo": {}}}, ("method",), "leave out dpo"),
        ({"method": {"type": "supervised"}, "hyperparameters": {}}, (), "within method"),
        ({"training_files": [{"file": "file-2"}]}, (), "either training_file or training_files"),
        ({"training_file": None}, (), "either training_file or training_files"),
        ({"metadata": {str(number): "x" for number in range(17)}}, ("metadata",), "16 are allowed"),
        ({"metadata": {"k" * 65: "x"}}, ("metadata",), "1 to 64"),
        ({"metadata": {'n"': "x"}}, ("metadata",), "no quotation mark"),
        ({"metadata": {"n\n": "x"}}, ("metadata",), "control character"),
        ({"integrations": [{"type": "wandb"}]}, ("integrations",), ""),
        ({"seed": -1}, ("seed",), ""),
    ],
)
def test_what_cannot_be_run_is_refused_by_its_name(fields: dict[str, Any], place: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        request(**fields)
    error = caught.value.errors()[0]
    assert error["loc"][: len(place)] == place
    assert said in error["msg"]


def test_a_request_is_the_same_after_it_was_stored() -> None:
    made = request(lora={"rank": 4}, metadata={"a": "b"}, hyperparameters={"n_epochs": "auto"}, suffix="x")
    stored = made.model_dump(mode="json", exclude_unset=True)
    assert JobRequest.model_validate(stored) == made


def test_what_openais_client_may_leave_empty_means_nothing() -> None:
    made = request(seed=None, integrations=[], metadata=None, method=None, suffix=None)
    assert made.config().seed == 0


def test_several_files_carry_weights() -> None:
    made = request(training_file=None, training_files=[{"file": "file-1"}, {"file": "file-2", "weight": 0.5}])
    assert [(each.file, each.weight) for each in made.training] == [("file-1", 1.0), ("file-2", 0.5)]
    assert list(made.named_files()) == [("training_files.0.file", "file-1"), ("training_files.1.file", "file-2")]
