"""The template that an export carries: the one its adapter was trained with."""

from typing import Final

from transformers import PreTrainedTokenizerBase

from base.rendering import TemplateChoice, create_renderer, raw

_TURNS: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}"
    "{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}{% else %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n### Response:\\n' }}"
    "{% endif %}{% endif %}{% endfor %}"
)


def plain_template(tokenizer: PreTrainedTokenizerBase, template: TemplateChoice) -> str | None:
    """`base.rendering.PlainRenderer` as a chat template; None where the adapter was trained with the base's own.

    Without it, other software would prompt the export as nothing in its training was.

    Args:
        tokenizer: the base's.
        template: the adapter's.
    """
    if create_renderer(tokenizer, template).identity.kind == "chat":
        return None
    return ("{{ bos_token }}" if raw(tokenizer, "") else "") + _TURNS
