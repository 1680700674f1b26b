import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.base_facts import BaseFacts
from adapters.registry import Registry
from storage.database import Database
from storage.folders import FolderStore

DIGEST = "sha256:" + "b" * 64


@pytest.fixture(scope="session")
def model() -> Any:
    """A tiny random base; PEFT wraps copies of it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def base(model: Any) -> BaseFacts:
    shapes = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    return BaseFacts(name="tiny", digest=DIGEST, linear_shapes=shapes)


@pytest.fixture(scope="session")
def save_with_peft(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes an adapter with nothing but PEFT, trained weights included."""
    from copy import deepcopy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

    def save(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("peft")
        values = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "init_lora_weights": False, **settings}
        with warnings.catch_warnings():
            # PEFT 0.21 calls what transformers 5 deprecates.
            warnings.simplefilter("ignore")
            torch.manual_seed(1)
            wrapped = peft.get_peft_model(deepcopy(model), peft.LoraConfig(**values))
            wrapped.save_pretrained(str(folder))
        return folder

    return save


@pytest.fixture(scope="session")
def peft_folder(save_with_peft: Callable[..., Path]) -> Path:
    """A plain adapter as PEFT saves it; copy before changing it."""
    return save_with_peft(target_modules=["q_proj", "v_proj"])


@pytest.fixture
def folder(peft_folder: Path, tmp_path: Path) -> Path:
    """A copy of the plain adapter to spoil."""
    return Path(shutil.copytree(peft_folder, tmp_path / "adapter"))


@pytest.fixture
def change_tensors() -> Callable[..., None]:
    """Rewrites a folder's weights with some tensors replaced, added, or (None) left out."""

    def change(folder: Path, **changes: torch.Tensor | None) -> None:
        path = folder / "adapter_model.safetensors"
        tensors: dict[str, torch.Tensor | None] = {**load_file(path), **changes}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, path)

    return change


@pytest.fixture
def variant(folder: Path, tmp_path: Path, change_tensors: Callable[..., None]) -> Callable[[int], Path]:
    """The same adapter with other weights for each number."""

    def make(seed: int) -> Path:
        copy = Path(shutil.copytree(folder, tmp_path / f"variant-{seed}", dirs_exist_ok=True))
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
        change_tensors(copy, **{name: torch.full((32, 4), float(seed + 1))})
        return copy

    return make


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    database = Database(database_url)
    database.migrate()
    yield Registry(database, FolderStore(tmp_path / "folders"))
    database.dispose()
