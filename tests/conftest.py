"""What all tests share: a tiny random base, adapters made with plain PEFT, and the embedded base for slow tests."""

import os

# Before transformers is imported anywhere: it reads this once. No test may reach a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
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
def smollm2() -> Path:
    """The embedded base, fetched once into a home that outlives the run. For tests marked slow."""
    from base.catalogue import DEFAULT_BASE
    from base.source import locate

    home = Path(os.environ.get("LORAD_TEST_BASE_HOME") or REPOSITORY / ".lorad" / "bases")
    return locate(DEFAULT_BASE, home, lambda line: None).folder
