"""The keys of PEFT's `adapter_config.json` that lorad reads, with the types PEFT gives them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.errors import InvalidAdapterError
from adapters.files import CONFIG


class PeftValues(BaseModel):
    """Typed view of a parsed configuration; other keys were judged before (`peft_keys.check_keys`)."""

    # Strict: a rank of "8" or true is a mistake, not a number.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    r: int
    lora_alpha: float
    target_modules: list[str] | str
    lora_dropout: float | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    base_model_name_or_path: str | None = None

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "PeftValues":
        """Check the types of a parsed `adapter_config.json`.

        Raises:
            InvalidAdapterError: names the key and the value that does not fit.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part)[:60] for part in first["loc"])
            raise InvalidAdapterError(f"{CONFIG}: {where} = {str(first['input'])[:80]!r}: {first['msg']}") from error

    def fields(self) -> dict[str, Any]:
        """The same under the names of `LoraConfig`."""
        layers = self.layers_to_transform
        return {
            "rank": self.r,
            "alpha": self.lora_alpha,
            "target_modules": _names(self.target_modules),
            "rslora": bool(self.use_rslora),
            "dora": bool(self.use_dora),
            "rank_pattern": self.rank_pattern or {},
            "alpha_pattern": self.alpha_pattern or {},
            "exclude_modules": _names(self.exclude_modules or ()),
            # PEFT takes an empty list for no restriction.
            "layers_to_transform": (layers,) if isinstance(layers, int) else tuple(layers or ()) or None,
            "layers_pattern": _listed(self.layers_pattern or ()),
            "dropout": self.lora_dropout or 0.0,
            "base_model_name": self.base_model_name_or_path,
        }


def _names(value: list[str] | tuple[str, ...] | str) -> tuple[str, ...] | str:
    return value if isinstance(value, str) else tuple(sorted(set(value)))


def _listed(value: list[str] | tuple[str, ...] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
