"""What a finetuning job is asked for: OpenAI's fields, and LoRA's beside them. No tensors."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from adapters.errors import InvalidNameError
from adapters.reference import check_name
from training.config import AskedConfig

Auto = Literal["auto"]

_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512
_MAX_FILES = 64
_FROM_ELSEWHERE = {"method": "method.type", "seed": "seed"}
"""Settings of a run that the request has a word of its own for."""
_SAME = {"n_epochs": "epochs", "batch_size": "batch_size", "learning_rate_multiplier": "learning_rate"}
"""OpenAI's hyperparameters, and the setting that each decides."""


def _adapter_name(value: str) -> str:
    return _checked_name(value, "suffix")


def _alias_name(value: str) -> str:
    return _checked_name(value, "gate")


def _checked_name(value: str, what: str) -> str:
    try:
        return check_name(value, what)
    except InvalidNameError as error:
        raise PydanticCustomError("name", "{reason}", {"reason": str(error)}) from error


def _bounded_metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _MAX_PAIRS:
        raise PydanticCustomError("metadata", f"has {len(value)} pairs, {_MAX_PAIRS} are allowed")
    for key, text in value.items():
        if not 0 < len(key) <= _MAX_KEY or len(text) > _MAX_VALUE:
            raise PydanticCustomError(
                "metadata",
                f"keys have 1 to {_MAX_KEY} characters and values at most {_MAX_VALUE}; look at {key[:70]!r}",
            )
        if not is_metadata_key(key):
            message = "keys hold no quotation mark, backslash or control character; look at {key}"
            raise PydanticCustomError("metadata", message, {"key": repr(key)})
    return value


def is_metadata_key(key: str) -> bool:
    """Whether it can be looked for in every database: as a path into JSON it needs no escapes."""
    return 0 < len(key) <= _MAX_KEY and key.isprintable() and not set(key) & {'"', "\\"}


def _blamed(parameter: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_value", "{reason}", {"reason": message, "parameter": parameter})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Hyperparameters(_Strict):
    """OpenAI's; `auto` leaves a value to lorad."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"
    """Times the default learning rate."""


class PreferenceHyperparameters(Hyperparameters):
    """Those of preference pairs."""

    beta: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"
    """How dear it is to leave the base."""


class Supervised(_Strict):
    """Learn the answers."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Preference(_Strict):
    """Learn to prefer one answer to another."""

    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Method(_Strict):
    """How a job learns."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Preference | None = None

    @model_validator(mode="after")
    def _check_part(self) -> "Method":
        other = "dpo" if self.type == "supervised" else "supervised"
        if getattr(self, other) is not None:
            raise PydanticCustomError("method", f"type is {self.type}, so leave out {other}")
        return self


class WeightedFile(_Strict):
    """One file of a mixture."""

    file: str = Field(min_length=1, max_length=64)
    weight: float = Field(default=1.0, gt=0, le=1000)
    """How often its rows are drawn in an epoch; 0.5 draws half of them."""


class JobRequest(_Strict):
    """The body of `POST /v1/fine_tuning/jobs`. Unknown keys are refused by name."""

    model: str = Field(min_length=1, max_length=255)
    """The base's public id."""
    training_file: str | None = Field(default=None, min_length=1, max_length=64)
    training_files: Annotated[tuple[WeightedFile, ...], Field(min_length=1, max_length=_MAX_FILES)] | None = None
    """Instead of `training_file`: several files, with weights."""
    validation_file: str | None = Field(default=None, min_length=1, max_length=64)
    suffix: Annotated[str, AfterValidator(_adapter_name)] | None = None
    """The adapter's name; by default the job's id."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Of the order of rows and the first weights; by default 0."""
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    """OpenAI's older place for them; beside `method` it is refused."""
    lora: AskedConfig = AskedConfig()
    """Settings of the run as `lorad train` has them: rank, alpha, learning_rate, …"""
    metadata: Annotated[dict[str, str], AfterValidator(_bounded_metadata)] | None = None
    gate: Annotated[str, AfterValidator(_alias_name)] | None = None
    """An alias of `suffix` that has a gate: the finished adapter is put before it."""
    priority: int = Field(default=0, ge=-100, le=100)
    """Among the tenant's own jobs the highest goes first."""
    integrations: Annotated[tuple[JsonValue, ...], Field(max_length=0)] | None = None
    """Not supported: null or an empty list."""

    @model_validator(mode="after")
    def _check_choices(self) -> "JobRequest":
        if (self.training_file is None) == (self.training_files is None):
            raise _blamed("training_file", "give either training_file or training_files")
        if self.method is not None and self.hyperparameters is not None:
            raise _blamed("hyperparameters", "give hyperparameters within method, not beside it")
        if self.gate is not None and self.suffix is None:
            raise _blamed("suffix", "give the adapter's name as suffix: a gate is on an alias of that adapter")
        for setting, place in _FROM_ELSEWHERE.items():
            if setting in self.lora.model_fields_set:
                raise _blamed(f"lora.{setting}", f"give {place} instead of lora.{setting}")
        for name, setting in _SAME.items():
            if getattr(self.asked_hyperparameters, name) != "auto" and setting in self.lora.model_fields_set:
                raise _blamed(f"lora.{setting}", f"give either hyperparameters.{name} or lora.{setting}")
        return self

    @property
    def asked_hyperparameters(self) -> Hyperparameters:
        """From whichever place they were given in."""
        if self.method is None:
            return self.hyperparameters or Hyperparameters()
        part = self.method.dpo if self.method.type == "dpo" else self.method.supervised
        return Hyperparameters() if part is None else part.hyperparameters

    @property
    def training(self) -> tuple[WeightedFile, ...]:
        """The files to learn from."""
        if self.training_files is not None:
            return self.training_files
        assert self.training_file is not None
        return (WeightedFile(file=self.training_file),)

    def named_files(self) -> Iterator[tuple[str, str]]:
        """Each parameter that names a file, with the file's id."""
        if self.training_file is not None:
            yield "training_file", self.training_file
        for at, each in enumerate(self.training_files or ()):
            yield f"training_files.{at}.file", each.file
        if self.validation_file is not None:
            yield "validation_file", self.validation_file

    def config(self) -> AskedConfig:
        """The settings of the run that the job is."""
        given = self.asked_hyperparameters
        values: dict[str, Any] = {"batch_size": "auto", "learning_rate": "auto"}
        values |= self.lora.model_dump(exclude_unset=True)
        values |= {"method": "dpo" if self.method is not None and self.method.type == "dpo" else "sft"}
        values |= {"seed": self.seed or 0}
        if given.n_epochs != "auto":
            values["epochs"] = given.n_epochs
        if given.batch_size != "auto":
            values["batch_size"] = given.batch_size
        if given.learning_rate_multiplier != "auto":
            default = AskedConfig.model_fields["learning_rate"].default
            values["learning_rate"] = default * given.learning_rate_multiplier
        if isinstance(given, PreferenceHyperparameters) and given.beta != "auto":
            values["dpo_beta"] = given.beta
        return AskedConfig.model_validate(values)
