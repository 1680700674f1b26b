"""What a training run is told. Imports no tensors: the command line and HTTP validate with it."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError


def _auto_or(number: str) -> WrapValidator:
    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            # A union would tell of each of its members.
            raise PydanticCustomError("auto_or_number", f"Input should be auto, or {number}") from None

    return WrapValidator(check)


_Rate = Annotated[float, Field(gt=0, le=1)]
_Size = Annotated[int, Field(ge=1, le=4096)]


class AskedConfig(BaseModel):
    """What one LoRA run is asked for: the numbers of a `TrainingConfig`, some of which may be left to lorad.

    Unknown keys are refused; the defaults train a usable adapter on a few hundred rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["sft", "dpo"] = "sft"
    """Learn the answers, or learn to prefer the chosen to the rejected ones (DPO, arXiv:2305.18290)."""
    dpo_beta: float = Field(default=0.1, gt=0, le=100)
    """DPO: how dear it is to leave the reference model, which is the base with the adapter off."""
    dpo_label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """DPO: the assumed share of pairs whose order is wrong."""

    epochs: float = Field(default=3.0, gt=0, le=100)
    """Passes over the training rows; a fraction ends within one."""
    max_steps: int | None = Field(default=None, ge=1)
    """Ends after so many optimizer steps, if `epochs` has not ended before."""
    batch_size: Annotated[_Size | Literal["auto"], _auto_or("a whole number from 1 to 4096")] = 8
    """Rows of one forward and backward pass when padded; an optimizer step takes this times `gradient_accumulation`.
    `auto`: by the rows there are and the memory that is free."""
    gradient_accumulation: int = Field(default=1, ge=1, le=4096)
    """Passes of one optimizer step; the loss is weighted by labelled tokens over all of them."""
    layout: Literal["packed", "padded"] = "packed"
    """How a step's rows lie in memory: end to end in as few packs as they fit, each row blind to the others, or side by
    side with padding, those of like length together. The loss is the same."""
    length_buckets: bool = False
    """Padded: steps take rows of like length, so that there is little padding; they are less mixed for it."""
    pack_tokens: int = Field(default=2048, ge=8, le=1_048_576)
    """Most tokens of one pass when packed, a longer row excepted: memory depends on it, the result does not."""
    activation_checkpointing: bool = False
    """Keep no activations within a layer and compute them again in backward: about a third slower, far less memory."""
    max_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Tokens of a row, at most the base's context; what is beyond is cut off and counted."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: float = Field(default=32.0, gt=0, le=4096)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of linear modules, or their last parts (`q_proj`); `all-linear` is every one but the output head."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) rather than alpha / rank (arXiv:2312.03732)."""
    dora: bool = False
    """Learn a magnitude per output beside the low-rank direction (arXiv:2402.09353)."""

    init: Literal["default", "pissa", "olora"] = "default"
    """How the matrices begin: A random and B zero; the base's leading singular vectors (PiSSA, arXiv:2404.02948); or
    the first columns of its QR decomposition (OLoRA, arXiv:2406.01775). The last two are published with twice the rank,
    as plain LoRA for the untouched base."""

    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """The last two keep AdamW's moments in 8 bits, in pages that may move to host memory; on CUDA only."""
    learning_rate: Annotated[_Rate | Literal["auto"], _auto_or("a number above 0, at most 1")] = 5e-4
    """At its peak, after the warm-up. `auto`: by the base's family and size."""
    lora_plus_ratio: float | None = Field(default=None, ge=1, le=1024)
    """LoRA+ (arXiv:2402.12354): B's learning rate over A's, 16 for one."""
    warmup_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of all steps in which the learning rate rises linearly from zero; a cosine to zero follows."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this L2 norm."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    eval_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on the held-out rows; by default once an epoch. The last step always evaluates."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; by default once an epoch."""
    keep_checkpoints: int = Field(default=2, ge=1, le=1000)
    """The newest so many checkpoints stay on disk, and the best one."""
    load_best_model_at_end: bool = True
    """With held-out rows: what is published is the state with the lowest held-out loss, not the last one."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Ends after so many evaluations in a row without an improvement; needs held-out rows."""
    early_stopping_min_delta: float = Field(default=0.0, ge=0)
    """By how much the held-out loss must fall to be an improvement."""

    @property
    def published_rank(self) -> int:
        """Of the adapter on disk: PiSSA and OLoRA also carry what they took out of the base."""
        return self.rank if self.init == "default" else 2 * self.rank

    @property
    def scaling(self) -> float:
        """The factor on `B A`."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def published_alpha(self) -> float:
        """With `published_rank`, the same scaling."""
        return self.scaling * (math.sqrt(self.published_rank) if self.rslora else self.published_rank)

    @property
    def open_settings(self) -> tuple[str, ...]:
        """The settings left to lorad."""
        return tuple(name for name in ("learning_rate", "batch_size") if getattr(self, name) == "auto")

    @model_validator(mode="after")
    def _check_buckets(self) -> "AskedConfig":
        if self.length_buckets and self.layout == "packed":
            raise PydanticCustomError("layout", "length-buckets spare padding, which layout packed has none of")
        return self

    @model_validator(mode="after")
    def _check_init(self) -> "AskedConfig":
        if self.init != "default" and self.dropout:
            raise PydanticCustomError("init", "init pissa and olora take no dropout: it would drop the base's own part")
        return self


class TrainingConfig(AskedConfig):
    """One LoRA run with every setting decided: what training computes with."""

    batch_size: _Size = 8
    learning_rate: _Rate = 5e-4
