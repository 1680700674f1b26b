"""Examples that are shown to the model, as blocks of headings and texts that it goes on with."""

from collections.abc import Sequence
from random import Random

from corpus.synthetic.recipes.recipe import one_line
from corpus.synthetic.writing import Ask

RULE = "###"
"""Stands between examples that have several lines."""
_CHARACTERS_PER_TOKEN = 2
"""Cautious: English has four, Chinese and code have fewer."""
_LEAST_TOKENS = 32


def continuation(
    intro: str, headings: Sequence[str], examples: Sequence[Sequence[str]], given: Sequence[str], random: Random
) -> Ask:
    """Show examples under their headings, then what is given, then the heading of what is to be written.

    Args:
        intro: What this is a list of.
        headings: Of an example's texts, in order.
        examples: Each with a text for each heading.
        given: The texts of the new example that are known: fewer than there are headings.
        random: Draws the seed of sampling.
    """
    written = [example[len(given)] for example in examples]
    short = one_line(*written, *given)
    gap = "\n\n" if short else f"\n{RULE}\n"
    blocks = [_block(headings, example) for example in examples]
    last = _block(headings, given)
    last += ("\n" if last else "") + f"{headings[len(given)]}"
    return Ask(
        text="\n\n".join([intro, gap.join([*blocks, last])]),
        max_tokens=room([*written, *given]),
        stop=("\n",) if short else (f"\n{RULE}",),
        seed=random.getrandbits(31),
    )


def numbered(intro: str, texts: Sequence[str], random: Random) -> Ask:
    """Show a list and let the model write its next item."""
    short = one_line(*texts)
    gap = "\n" if short else f"\n{RULE}\n"
    items = [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
    return Ask(
        text=f"{intro}\n\n{gap.join([*items, f'{len(texts) + 1}.'])}",
        max_tokens=room(texts),
        stop=("\n",) if short else (f"\n{RULE}",),
        seed=random.getrandbits(31),
    )


def room(texts: Sequence[str]) -> int:
    """Return how many tokens a text like these may take."""
    return max(_LEAST_TOKENS, max(map(len, texts), default=0) * 2 // _CHARACTERS_PER_TOKEN)


def _block(headings: Sequence[str], texts: Sequence[str]) -> str:
    return "\n".join(f"{heading} {text.strip()}" for heading, text in zip(headings, texts, strict=False))
