"""What single tokens write: their bytes, so that a list of tokens can be shown beside the text that they make."""

import codecs

from transformers import PreTrainedTokenizerBase

_BYTE_SPACE = "Ġ"
"""How byte-level vocabularies (GPT-2's) write a space."""
_PIECE_SPACE = "▁"
"""How SentencePiece (arXiv:1808.06226) writes one."""


class TokenTexts:
    """The bytes and the text of each token of a tokenizer; its own `decode` loses spaces and half characters.

    Safe for threads: what two compute at once is the same.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._added = {int(token): added.content for token, added in tokenizer.added_tokens_decoder.items()}
        self._special = frozenset(int(token) for token in tokenizer.all_special_ids)
        self._byte_of = _byte_table() if _is_byte_level(tokenizer) else {}
        self._known: dict[int, bytes] = {}

    def raw(self, token_id: int) -> bytes:
        """What the token writes; part of a character's bytes where it is no whole one."""
        found = self._known.get(token_id)
        if found is None:
            found = self._known[token_id] = self._read(token_id)
        return found

    def shown(self, token_id: int) -> str:
        """The token as text, its unfinished characters replaced."""
        return self.raw(token_id).decode("utf-8", "replace")

    def key(self, token_id: int) -> str:
        r"""The token as text that tells it from others: `bytes:\xe2\x80`, as OpenAI has it, where it is no text."""
        raw = self.raw(token_id)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def is_special(self, token_id: int) -> bool:
        """Whether texts leave it out."""
        return token_id in self._special

    def text(self, token_ids: tuple[int, ...]) -> str:
        """The text of a whole prompt, special tokens shown."""
        decoded = self._tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(decoded)

    def _read(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        # Embeddings may have more rows than the vocabulary has entries.
        if not isinstance(piece, str):
            return b""
        if self._byte_of:
            return b"".join(self._byte_of.get(char) or char.encode() for char in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        return piece.replace(_PIECE_SPACE, " ").encode()


class CharacterCount:
    """Counts the characters that tokens finish, one token after another."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, raw: bytes) -> int:
        """How many characters are complete with these bytes."""
        return len(self._decoder.decode(raw))


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    return decoder is not None and decoder.decode([_BYTE_SPACE]) == " "


def _byte_table() -> dict[str, bytes]:
    """Byte-level vocabularies write printable Latin-1 as it is and every other byte as a character from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): bytes([byte]) for byte in printable} | {
        chr(256 + at): bytes([byte]) for at, byte in enumerate(others)
    }
