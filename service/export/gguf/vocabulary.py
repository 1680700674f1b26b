"""A tokenizer as GGUF's keys, read from `tokenizer.json`: byte-level BPE (GPT-2's kind) or SentencePiece's."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf

from service.errors import ExportError

_LLAMA3_SPLIT: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
_SPACE: Final = "\u2581"
_ADDED_SCORE: Final = -1000.0


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp's tokenizer works by."""

    model: str
    """`gpt2` or `llama`, GGUF's names for the two kinds."""
    pre: str
    """How text is cut before merging, by llama.cpp's name."""
    tokens: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[str] | None
    space_prefix: bool

    def write(self, writer: gguf.GGUFWriter) -> None:
        """Add its keys."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges is not None:
            writer.add_token_merges(self.merges)
        writer.add_add_space_prefix(self.space_prefix)


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of a base's folder, padded to `size` tokens.

    Raises:
        ExportError: the tokenizer is of a kind that llama.cpp is not known to follow token for token.
    """
    try:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{folder} holds no tokenizer.json; export with --format merged") from error
    model = content["model"]
    if model.get("type") != "BPE":
        raise ExportError(f"a tokenizer of type {model.get('type')} cannot be written as GGUF; export --format merged")
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    byte_level = not model.get("byte_fallback")
    tokens = _by_id(model["vocab"], content["added_tokens"], size)
    return Vocabulary(
        model="gpt2" if byte_level else "llama",
        pre=_pre_tokenizer(content) if byte_level else "default",
        tokens=[_written(index, text, added) for index, (text, added) in enumerate(tokens)],
        types=[int(_type(text, added, model, byte_level=byte_level)) for text, added in tokens],
        scores=None if byte_level else _scores(tokens, merges),
        merges=[" ".join(merge) for merge in merges] if byte_level else None,
        space_prefix=not byte_level and _prepends_space(content),
    )


Token = tuple[str | None, Mapping[str, Any] | None]
"""Its text (None: no token has this id), and its entry among the added tokens."""


def _by_id(vocab: Mapping[str, int], added: Iterable[Mapping[str, Any]], size: int) -> list[Token]:
    texts = {index: text for text, index in vocab.items()}
    entries = {int(entry["id"]): entry for entry in added}
    texts |= {index: str(entry["content"]) for index, entry in entries.items()}
    if max(texts) >= size:
        raise ExportError(f"the tokenizer has token ids up to {max(texts)}, the base's embeddings {size} rows")
    return [(texts.get(index), entries.get(index)) for index in range(size)]


def _written(index: int, text: str | None, added: Mapping[str, Any] | None) -> str:
    if text is None:
        # llama.cpp wants another text for every id.
        return f"[PAD{index}]"
    return text.replace(_SPACE, " ") if added is not None and not added["special"] else text


def _type(
    text: str | None, added: Mapping[str, Any] | None, model: Mapping[str, Any], *, byte_level: bool
) -> gguf.TokenType:
    if text is None:
        return gguf.TokenType.UNUSED
    if not byte_level and text == model.get("unk_token"):
        return gguf.TokenType.UNKNOWN
    if added is not None:
        return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    is_byte = not byte_level and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def _scores(tokens: Iterable[Token], merges: Iterable[tuple[str, ...]]) -> list[float]:
    """SentencePiece's: minus the place at which a piece can first be merged. Only their order counts."""
    ranks: dict[str, int] = {}
    for merge in merges:
        ranks.setdefault("".join(merge), len(ranks))
    last = float(len(ranks))
    return [
        _ADDED_SCORE if text is None or added is not None else -float(ranks.get(text, last)) for text, added in tokens
    ]


def _prepends_space(content: Mapping[str, Any]) -> bool:
    normalizer = content.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    return any(part.get("type") == "Prepend" for part in parts)


def _pre_tokenizer(content: Mapping[str, Any]) -> str:
    found = content.get("pre_tokenizer") or {}
    parts = found.get("pretokenizers", [found])
    kinds = [part.get("type") for part in parts]
    if content.get("normalizer") is None and not any(part.get("add_prefix_space") for part in parts):
        if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and str(parts[0]["pattern"].get("Regex", "")).startswith(_LLAMA3_SPLIT):
            return "llama-bpe"
    raise ExportError(
        f"the tokenizer cuts text in a way ({', '.join(map(str, kinds))}) that llama.cpp is not known to follow; "
        "export with --format merged, and convert that folder with llama.cpp's own script"
    )
