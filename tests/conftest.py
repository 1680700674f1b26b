"""What all tests share: a tiny random base, adapters made with plain PEFT, and the embedded base for slow tests."""

import os

# Before transformers is imported anywhere: it reads this once. No test may reach a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# A server under test starts no worker of its own unless a test asks for one.
os.environ["LORAD_WORKERS"] = "0"
# Before torch is: its threads spin while they wait, which on shared cores makes tiny models ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

pytest_plugins = ["tests.servers.postgresql", "tests.servers.s3"]

# A busy machine is no failure: no example and no generator is timed. On CI the examples are always the same.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

REPOSITORY = Path(__file__).parents[1]

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny test model<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's, with its default system prompt and its newline after the end of turn."""

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_TOKENIZER_TEXTS = (
    "the system user assistant is a tiny test model that answers questions about tickets, orders and refunds",
    "### Instruction:\nSay hello.\n\n### Response:\nhello there, hello again",
    "You are what you read; the answer to the question is in the text of the ticket. 1 2 3 4 5 6 7 8 9",
)


@pytest.fixture(scope="session")
def save_tokenizer() -> Callable[..., "PreTrainedTokenizerBase"]:
    """`save(folder, chat_template=…)`: a byte-level BPE tokenizer, through which any text makes the round trip."""

    def save(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> "PreTrainedTokenizerBase":
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_TOKENIZER_TEXTS, trainer)
        wrapped = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token="<|endoftext|>",
            pad_token="<|pad|>",
            additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        )
        wrapped.chat_template = chat_template
        wrapped.save_pretrained(folder)
        return wrapped

    return save


@pytest.fixture(scope="session")
def tiny_base_folder(
    tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., "PreTrainedTokenizerBase"]
) -> Path:
    """A tiny random Llama in float32 with a chat tokenizer, as a transformers folder; copy it before changing it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(20)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        tie_word_embeddings=True,
        # Wide enough that the likeliest token is far from a tie.
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_adapter(tiny_base_folder: Path) -> Callable[..., Path]:
    """`make(path, *, seed, rank=4, dora=False, rslora=False, targets=…, base=…, **peft_settings) -> path`.

    Writes a random adapter with nothing but PEFT, whose effect on the output is plain: B is not zero, and DoRA's
    magnitudes are moved.
    """

    def make(
        path: Path,
        *,
        seed: int,
        rank: int = 4,
        dora: bool = False,
        rslora: bool = False,
        targets: Sequence[str] = ALL_LINEAR,
        base: Path | None = None,
        **settings: Any,
    ) -> Path:
        import torch
        from transformers import AutoModelForCausalLM

        with warnings.catch_warnings():
            # PEFT 0.21 uses what torch 2.13 and transformers 5 deprecate.
            warnings.simplefilter("ignore")
            from peft import LoraConfig, get_peft_model

            model = AutoModelForCausalLM.from_pretrained(base or tiny_base_folder, dtype=torch.float32)
            values = {"lora_alpha": 2 * rank, "use_dora": dora, "use_rslora": rslora, **settings}
            config = LoraConfig(
                r=rank, target_modules=list(targets), task_type="CAUSAL_LM", init_lora_weights=False, **values
            )
            torch.manual_seed(seed)
            wrapped = get_peft_model(model, config)
            with torch.no_grad():
                for name, weight in wrapped.named_parameters():
                    if "lora_B" in name:
                        weight.mul_(0.5)
                    elif "magnitude" in name:
                        weight.mul_(1 + 0.2 * torch.randn_like(weight))
            wrapped.save_pretrained(str(path))
        return path

    return make


@pytest.fixture(scope="session")
def peft_model(tiny_base_folder: Path) -> Callable[..., Any]:
    """`load(adapter, base=…)`: the oracle, plain PEFT on plain transformers in float32."""

    def load(adapter: Path | None, base: Path | None = None) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base or tiny_base_folder, dtype=torch.float32).eval()
        if adapter is None:
            return model
        with warnings.catch_warnings():
            # PEFT 0.21 uses what torch 2.13 and transformers 5 deprecate.
            warnings.simplefilter("ignore")
            from peft import PeftModel

            return PeftModel.from_pretrained(model, str(adapter)).eval()

    return load


_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}
FAMILIES = {
    "llama": ("LlamaForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 16}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 12}),
    "gemma3": ("Gemma3ForCausalLM", {"head_dim": 16, "sliding_window": 12, "_sliding_window_pattern": 2}),
    "phi": ("PhiForCausalLM", {}),
    "phi3": ("Phi3ForCausalLM", {"sliding_window": 12}),
}
"""Class and what is peculiar to it: biases (Qwen2), head norms (Qwen3), sliding windows (Mistral, Gemma 3, Phi 3), half
rotated heads and parallel layers (Phi), projections that are joined already (Phi 3)."""


@pytest.fixture(scope="session")
def family_folder(
    tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., "PreTrainedTokenizerBase"]
) -> Callable[[str], Path]:
    """`folder(family)`: a tiny random base of another architecture; the families are those of FAMILIES."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        import torch
        import transformers

        if family in made:
            return made[family]
        folder = made[family] = tmp_path_factory.mktemp("families") / family
        tokenizer = save_tokenizer(folder)
        name, peculiar = FAMILIES[family]
        kind = getattr(transformers, name)
        torch.manual_seed(21)
        ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        model = kind(kind.config_class(vocab_size=len(tokenizer), **_SIZES, **ids, **peculiar))
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                # Biases and norms begin as zeros and ones, with which many a mistake goes unseen.
                if parameter_name.endswith("bias") or "norm" in parameter_name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The embedded base, fetched once into a home that outlives the run. For tests marked slow."""
    from base.catalogue import DEFAULT_BASE
    from base.source import locate

    home = Path(os.environ.get("LORAD_TEST_BASE_HOME") or REPOSITORY / ".lorad" / "bases")
    return locate(DEFAULT_BASE, home, report=print).folder
