"""The paper's prompt template: the text around an instruction and its response, in training and afterwards."""

from collections.abc import Sequence
from typing import Final

from magicoder.records import Message

SYSTEM: Final = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions."
)
"""The paper's system line (appendix; the original's `MAGICODER_PROMPT`)."""
_INSTRUCTION: Final = "\n\n@@ Instruction\n"
_RESPONSE: Final = "\n\n@@ Response\n"


def prompt(messages: Sequence[Message]) -> str:
    """Return the text that a model continues: everything said so far, and the beginning of the next response.

    A last message of the assistant is the beginning of its response and stands open. Turns of a longer talk follow
    each other in the same two headings. A system message takes the place of the paper's.
    """
    system = SYSTEM
    text = ""
    for message in messages:
        if message.role == "system":
            system = message.content
        elif message.role == "assistant":
            text += _RESPONSE + message.content
        else:
            text += _INSTRUCTION + message.content
    ends_open = bool(messages) and messages[-1].role == "assistant"
    return system + text + ("" if ends_open else _RESPONSE)


CHAT_TEMPLATE: Final = (
    "{%- set it = namespace(system='" + SYSTEM + "', text='', last='') -%}"
    "{%- for message in messages -%}"
    "{%- set it.last = message['role'] -%}"
    "{%- if message['role'] == 'system' -%}{%- set it.system = message['content'] -%}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{%- set it.text = it.text + '\\n\\n@@ Response\\n' + message['content'] -%}"
    "{%- else -%}{%- set it.text = it.text + '\\n\\n@@ Instruction\\n' + message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{- (bos_token or '') + it.system + it.text -}}"
    "{%- if it.last == 'assistant' -%}{{- eos_token or '' -}}"
    "{%- elif add_generation_prompt -%}{{- '\\n\\n@@ Response\\n' -}}{%- endif -%}"
)
"""`prompt` as a chat template (Jinja) that a tokenizer carries, so that servers ask a model as it was trained."""
