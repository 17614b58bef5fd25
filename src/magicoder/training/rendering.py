"""From a conversation to text in segments: which of it is given, which is learned."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from magicoder.errors import RecipeError
from magicoder.records import Message
from magicoder.text import templates
from magicoder.training.data import Conversation

_DATE: Final = datetime(2024, 7, 26, tzinfo=UTC)
"""Today, for chat templates that ask: equal rows must give equal tokens on any day. The default of Llama 3.1's."""
_NOW: Final = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")


class Segment(NamedTuple):
    """A piece of a row's text; `learned`: the model is trained to say it."""

    text: str
    learned: bool


def magicoder(messages: Sequence[Message], train_on: str) -> list[Segment]:
    """Return a talk in the paper's template, ending with its last response; what follows that is left out."""
    answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
    segments: list[Segment] = []
    so_far = ""
    for i in answers:
        asked = templates.prompt(messages[:i])
        content = messages[i].content
        segments.append(Segment(asked.removeprefix(so_far), learned=False))
        segments.append(Segment(content, learned=train_on == "all" or i == answers[-1]))
        so_far = asked + content
    return segments


class ChatTemplate:
    """A tokenizer's chat template.

    Raises:
        RecipeError: the tokenizer has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise RecipeError(
                "examples.template is chat, but the tokenizer has no chat template; take template: magicoder, or a "
                "tokenizer with one (base.tokenizer)"
            )
        self._tokenizer = tokenizer
        self.text = _NOW.sub(_on_the_day, tokenizer.get_chat_template())
        self.marks_answers = "{% generation" in self.text or "{%- generation" in self.text
        """Whether the template itself says what the assistant's part is."""

    def marked(self, conversations: Sequence[Conversation]) -> tuple[list[list[int]], list[list[int]]]:
        """Return ids and the assistant's mask of each, as transformers makes them from the template's own marks."""
        ids, masks = [], []
        for conversation in conversations:
            given = self._asked(
                conversation,
                conversation.messages,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            ids.append(list(given["input_ids"]))
            masks.append(list(given["assistant_masks"]))
        return ids, masks

    def segments(self, conversation: Conversation, train_on: str) -> list[Segment]:
        """Return a talk as segments, found by rendering its beginnings.

        An answer is what is added by rendering it, end of turn included, to what stands before it with the beginning of
        the answer asked for.

        Raises:
            RecipeError: a beginning is rendered otherwise than within the whole, so that there is no telling.
        """
        messages = conversation.messages
        whole = self._text(conversation, messages)
        answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
        segments: list[Segment] = []
        at = 0
        for i in answers if train_on == "all" else answers[-1:]:
            before = self._text(conversation, messages[:i], add_generation_prompt=True) if i else ""
            after = whole if i + 1 == len(messages) else self._text(conversation, messages[: i + 1])
            if not (whole.startswith(after) and after.startswith(before) and at <= len(before) < len(after)):
                raise RecipeError(
                    f"{conversation.id}: the chat template renders message {i + 1} of {len(messages)} otherwise where "
                    "it is the last one, so that its answers cannot be found; take train_on: last, a template with "
                    "{% generation %} marks, or template: magicoder"
                )
            segments += [Segment(whole[at : len(before)], learned=False), Segment(after[len(before) :], learned=True)]
            at = len(after)
        return segments

    def _text(self, conversation: Conversation, messages: Sequence[Message], **options: Any) -> str:
        return str(self._asked(conversation, messages, tokenize=False, **options))

    def _asked(self, conversation: Conversation, messages: Iterable[Message], **options: Any) -> Any:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                chat_template=self.text,
                **options,
            )
        except TemplateError as e:
            raise RecipeError(
                f"{conversation.id}: the tokenizer's chat template refuses the row ({e}); take the row out, or "
                "template: magicoder"
            ) from e


def _on_the_day(asked: "re.Match[str]") -> str:
    return repr(_DATE.strftime(asked[2]))
