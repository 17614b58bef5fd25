import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from magicoder.errors import RecipeError, StoreError
from magicoder.records import Message
from magicoder.text import templates
from magicoder.training import encoding
from magicoder.training.data import Conversation
from magicoder.training.encoded import Encoded, Example, write
from magicoder.training.settings import Examples

pytest.importorskip("transformers")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END_OUTSIDE = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>")
NO_END = (
    "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}" + CHATML
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen3's: the block of thoughts stands before the last answer only."""


@dataclass
class Given:
    """Conversations at hand."""

    conversations: Sequence[Conversation]

    def __iter__(self) -> Iterator[Conversation]:
        yield from self.conversations

    def digest(self) -> str:
        return str(hash(tuple(self.conversations)))


def talk(*texts: str, name: str = "row", system: str = "") -> Conversation:
    turns = [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts)]
    return Conversation(name, (*([Message(role="system", content=system)] if system else []), *turns))


def encode(tokenizer: Any, *rows: Conversation, folder: Path, max_length: int = 4096, **settings: Any) -> Encoded:
    keep_all = settings.pop("keep_all", False)
    return encoding.encode(Given(rows), tokenizer, Examples(**settings), max_length, folder, keep_all=keep_all)


def learned(tokenizer: Any, encoded: Encoded, i: int = 0) -> list[str]:
    """What the model is trained to say: one text for each run of learned tokens."""
    runs = itertools.groupby(range(int(encoded.lengths[i])), key=lambda j: bool(encoded.mask(i)[j]))
    return [tokenizer.decode(encoded.tokens(i)[list(places)].tolist()) for is_learned, places in runs if is_learned]


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


@pytest.fixture(scope="session")
def sentencepiece() -> Any:
    """As Llama's: a text begins with a space that is not there, and unknown characters are spelled in bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    core.train_from_iterator(
        [templates.SYSTEM, "@@ Instruction\n", "@@ Response\n", "def add(a, b):\n    return a + b\n" * 3],
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


# The original's rule (method of the paper, section 3), written down once more, row by row.


def by_the_book(tokenizer: Any, instruction: str, response: str, max_length: int) -> tuple[list[int], list[int]]:
    prompt = (
        "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
        f"responses to user instructions.\n\n@@ Instruction\n{instruction}\n\n@@ Response\n"
    )
    prompt_ids = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    response_ids = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ids = (prompt_ids + response_ids)[:max_length]
    labels = ([-100] * len(prompt_ids) + response_ids)[:max_length]
    return ids, labels


def real_pairs(shared_data: Path, count: int) -> list[tuple[str, str]]:
    """Pairs made of recorded answers of a teacher and of source files in fourteen languages."""
    pairs = []
    for line in (shared_data / "recorded_teacher" / "oss_instruct.jsonl").read_text().splitlines():
        answer = json.loads(line)["response"]
        problem, found, solution = answer.partition("**[Solution]**")
        pairs.append((problem, solution) if found else (answer[:200], answer[200:]))
    table = pq.ParquetFile(shared_data / "corpus_sample.parquet").iter_batches(count, columns=["content"])
    rng = random.Random(7)
    for content in next(table).column("content").to_pylist():
        cut, end = sorted(rng.sample(range(3000), 2))
        pairs.append((content[:cut], content[cut:end] or content[-100:]))
    return pairs[:count]


@pytest.mark.parametrize("kind", ["tokenizer", "sentencepiece"])
def test_ids_and_labels_of_a_thousand_real_rows_are_the_originals(
    tmp_path: Path, shared_data: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    tokenizer = request.getfixturevalue(kind)
    pairs = real_pairs(shared_data, 1000)
    assert len(pairs) == 1000
    rows = [talk(*pair, name=str(i)) for i, pair in enumerate(pairs)]
    encoded = encode(tokenizer, *rows, folder=tmp_path, max_length=1216, keep_all=True)
    expected = [by_the_book(tokenizer, *pair, 1216) for pair in pairs]
    for i, (ids, labels) in enumerate(expected):
        assert encoded.tokens(i).tolist() == ids
        assert np.where(encoded.mask(i), encoded.tokens(i), -100).tolist() == labels
    cut = [ids for ids, _ in expected if ids[-1] != tokenizer.eos_token_id]
    assert 0 < len(cut) < 1000
    assert encoded.report.truncated == encoded.report.lost_eos == len(cut)
    assert encoded.ids == [str(i) for i in range(1000)]
    assert encoded.report.trained_tokens == sum(label != -100 for _, labels in expected for label in labels)


# T12, T13, T15: the end is learned once, the beginning stands once, the first token is learned.


@pytest.mark.parametrize("boundary", ["separate", "joint"])
@pytest.mark.parametrize("kind", ["tokenizer", "sentencepiece"])
def test_the_first_token_and_the_end_are_learned(
    tmp_path: Path, request: pytest.FixtureRequest, boundary: str, kind: str
) -> None:
    tokenizer = request.getfixturevalue(kind)
    tokenizer = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    for response in ("def add(a, b):", "\n\nvalue", " x", "été", "\t", "@@ Response\n"):
        one = encode(tokenizer, talk("ask", response), folder=tmp_path, boundary=boundary, keep_all=True)
        ids = one.tokens(0).tolist()
        assert (ids.count(tokenizer.bos_token_id), ids.count(tokenizer.eos_token_id)) == (1, 1)
        assert one.mask(0)[-1]
        [said] = learned(tokenizer, one)
        # A token that spans the boundary brings the end of the prompt with it.
        assert said.removesuffix("</s>").endswith(response.lstrip(" ") if kind == "sentencepiece" else response)


def test_prompt_and_response_apart_differ_from_one_text_as_in_the_original(tmp_path: Path, sentencepiece: Any) -> None:
    row = talk("ask", "def add(a, b):")
    apart = encode(sentencepiece, row, folder=tmp_path, boundary="separate")
    joint = encode(sentencepiece, row, folder=tmp_path, boundary="joint")
    first = [int(one.tokens(0)[one.mask(0)][0]) for one in (apart, joint)]
    assert sentencepiece.convert_ids_to_tokens(first[0]).startswith("▁")
    assert not sentencepiece.convert_ids_to_tokens(first[1]).startswith("▁")
    whole = sentencepiece(templates.prompt(row.messages), add_special_tokens=False)["input_ids"]
    assert joint.tokens(0).tolist() == [1, *whole, 2]


def test_a_tokenizer_that_adds_a_beginning_by_itself_does_not_add_a_second(tmp_path: Path, tokenizer: Any) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    adding = type(tokenizer)(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template="{{ bos_token }}" + NO_END
    )
    assert adding("a")["input_ids"][0] == 0
    for settings in ({"boundary": "separate"}, {"boundary": "joint"}, {"template": "chat"}):
        ids = encode(adding, talk("ask", "say"), folder=tmp_path, **settings).tokens(0).tolist()
        assert ids.count(0) == 1
        assert ids[0] == 0


def test_settings_of_cutting_and_padding_in_a_tokenizers_file_are_not_obeyed(tmp_path: Path, tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.enable_truncation(8)
    core.enable_padding(length=64)
    odd = type(tokenizer)(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    row = talk("ask", "say " * 30)
    expected = encode(tokenizer, row, folder=tmp_path).tokens(0).tolist()
    assert encode(odd, row, folder=tmp_path / "odd").tokens(0).tolist() == expected
    assert odd.backend_tokenizer.truncation is not None  # the caller's stays as it was


def test_a_tokenizer_without_a_beginning_has_none_put_before(tmp_path: Path, tokenizer: Any) -> None:
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")
    one, usual = (encode(t, talk("ask", "say"), folder=tmp_path) for t in (bare, tokenizer))
    assert one.tokens(0).tolist() == usual.tokens(0).tolist()[1:]
    assert not one.mask(0)[0]


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    endless = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>")
    with pytest.raises(RecipeError, match="no end-of-text token"):
        encode(endless, talk("ask", "say"), folder=tmp_path)


def test_a_tokenizer_written_in_python_does_for_separate_texts(tmp_path: Path, tokenizer: Any) -> None:
    class Slow:
        """What encoding uses of one."""

        is_fast = False
        bos_token_id, eos_token_id = 0, 1
        added_tokens_decoder: ClassVar[dict[int, Any]] = {}
        chat_template = CHATML

        def __call__(self, texts: list[str], **_: Any) -> Any:
            return tokenizer(texts, add_special_tokens=False)

        def get_vocab(self) -> dict[str, int]:
            return dict(tokenizer.get_vocab())

    row = talk("ask", "say")
    assert (encode(Slow(), row, folder=tmp_path).tokens(0) == encode(tokenizer, row, folder=tmp_path).tokens(0)).all()
    with pytest.raises(RecipeError, match="written in Python"):
        encode(Slow(), row, folder=tmp_path, boundary="joint")


# Talks.


@pytest.mark.parametrize("boundary", ["separate", "joint"])
def test_every_answer_of_a_talk_is_learned_or_the_last_alone(tmp_path: Path, tokenizer: Any, boundary: str) -> None:
    row = talk("a", "first answer", "b", "second answer", "never answered")
    both = encode(tokenizer, row, folder=tmp_path, boundary=boundary)
    last = encode(tokenizer, row, folder=tmp_path, boundary=boundary, train_on="last")
    assert learned(tokenizer, both) == ["first answer", "second answer</s>"]
    assert learned(tokenizer, last) == ["second answer</s>"]
    text = tokenizer.decode(both.tokens(0).tolist())
    assert text == "<s>" + templates.prompt(row.messages[:4]) + "</s>"
    assert (both.tokens(0) == last.tokens(0)).all()


def test_a_system_message_takes_the_place_of_the_papers(tmp_path: Path, tokenizer: Any) -> None:
    one = encode(tokenizer, talk("ask", "say", system="Be brief."), folder=tmp_path)
    assert tokenizer.decode(one.tokens(0).tolist()) == "<s>Be brief.\n\n@@ Instruction\nask\n\n@@ Response\nsay</s>"


# Chat templates.


@pytest.mark.parametrize("template", [CHATML, MARKED, END_OUTSIDE, DATED], ids=["chatml", "marked", "outside", "dated"])
def test_answers_and_their_ends_are_learned_whatever_the_template_marks(
    tmp_path: Path, chat_tokenizer: Any, template: str
) -> None:
    chat_tokenizer.chat_template = template
    row = talk("a", "first", "b", "second", "dropped")
    both = encode(chat_tokenizer, row, folder=tmp_path, template="chat")
    assert learned(chat_tokenizer, both) == ["first<|im_end|>", "second<|im_end|>"]
    last = encode(chat_tokenizer, row, folder=tmp_path, template="chat", train_on="last")
    assert learned(chat_tokenizer, last) == ["second<|im_end|>"]
    expected = chat_tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in row.messages[:4]],
        tokenize=False,
        chat_template=template.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'"),
    )
    assert chat_tokenizer.decode(both.tokens(0).tolist()) == expected


def test_a_template_without_an_end_of_turn_gets_the_end_of_text(tmp_path: Path, tokenizer: Any) -> None:
    made = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>", chat_template=NO_END
    )
    one = encode(made, talk("a", "first", "b", "second"), folder=tmp_path, template="chat")
    assert learned(made, one) == ["first\n", "second\n</s>"]


def test_a_template_that_renders_the_last_answer_otherwise_can_be_learned_from_its_last(
    tmp_path: Path, chat_tokenizer: Any
) -> None:
    chat_tokenizer.chat_template = THINKING
    row = talk("a", "first", "b", "second")
    with pytest.raises(RecipeError, match=r"row: the chat template renders message 2 of 4 .* train_on: last"):
        encode(chat_tokenizer, row, folder=tmp_path, template="chat")
    one = encode(chat_tokenizer, row, folder=tmp_path, template="chat", train_on="last")
    assert learned(chat_tokenizer, one) == ["<think>\n\n</think>\n\nsecond<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "how_many"),
    [
        ("{% generation %}{% for m in messages %}{{ m.content }}{% endfor %}{% endgeneration %}", "all"),
        ("{% generation %}{% endgeneration %}{% for m in messages %}{{ m.content }}{% endfor %}", "none"),
    ],
)
def test_a_template_that_marks_everything_or_nothing_is_refused(
    tmp_path: Path, chat_tokenizer: Any, template: str, how_many: str
) -> None:
    chat_tokenizer.chat_template = template
    with pytest.raises(RecipeError, match=f"row: by the tokenizer's chat template {how_many} of the"):
        encode(chat_tokenizer, talk("ask", "say<|im_end|>"), folder=tmp_path, template="chat")


def test_what_a_template_refuses_is_a_users_error(tmp_path: Path, chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(RecipeError, match=r"row: .*no system here"):
        encode(chat_tokenizer, talk("ask", "say"), folder=tmp_path, template="chat")
    chat_tokenizer.chat_template = None
    with pytest.raises(RecipeError, match="has no chat template"):
        encode(chat_tokenizer, talk("ask", "say"), folder=tmp_path, template="chat")


# T14, T17: what is cut and what is dropped.


def test_what_is_cut_and_dropped_is_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        talk("a", "fits", name="0"),
        talk("a", "long " * 60, name="1"),
        talk("long " * 99, "unseen", name="2"),
        talk("a", " \n", name="3"),
        talk("nobody answers", name="4"),
    ]
    prompt = len(encode(tokenizer, talk("a", "x", name="p"), folder=tmp_path).tokens(0)) - 2
    encoded = encode(tokenizer, *rows, folder=tmp_path, max_length=prompt + 20)
    assert encoded.ids == ["0", "1"]
    assert encoded.report.rows == 5
    assert encoded.report.kept == len(encoded) == 2
    assert encoded.report.dropped == {"empty_response": 1, "no_response": 1, "nothing_learned_after_cutting": 1}
    assert (encoded.report.truncated, encoded.report.lost_eos) == (1, 1)
    assert encoded.report.longest == encoded.lengths.max() == prompt + 20
    assert encoded.trained.tolist() == [int(encoded.mask(i).sum()) for i in range(2)]
    assert sum(count for _, count in encoded.report.lengths) == 2
    everything = encode(tokenizer, *rows, folder=tmp_path, max_length=prompt + 20, keep_all=True)
    assert everything.ids == ["0", "1", "2", "3"]
    assert everything.trained[2] == 0


def test_special_tokens_in_the_text_itself_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    rows = talk("ask", "text ends with </s> here"), talk("ask", "say")
    encoded = encode(tokenizer, *rows, folder=tmp_path)
    assert encoded.report.special_in_text == 1
    assert encoded.tokens(0).tolist().count(tokenizer.eos_token_id) == 2


def test_no_rows_make_no_examples(tmp_path: Path, tokenizer: Any) -> None:
    encoded = encode(tokenizer, talk("nobody answers"), folder=tmp_path)
    assert len(encoded) == len(encoded.lengths) == 0
    assert encoded.report.dropped == {"no_response": 1}


def test_a_window_of_one_token_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(RecipeError, match="at least 2"):
        encode(tokenizer, talk("ask", "say"), folder=tmp_path, max_length=1)


# What is there already.


def test_the_same_rows_are_encoded_once(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [talk("a", f"answer {i}", name=str(i)) for i in range(2500)]
    first = encode(tokenizer, *rows, folder=tmp_path / "one")
    again = encode(tokenizer, *rows, folder=tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert first.key == again.key
    monkeypatch.setattr(encoding._Tokenizer, "apart", None)
    found = encode(tokenizer, *rows, folder=tmp_path / "one")
    assert found.ids == [str(i) for i in range(2500)]
    assert tokenizer.decode(found.tokens(2222)[found.mask(2222)].tolist()) == "answer 2222</s>"


def test_other_rows_settings_or_tokenizers_have_another_key(tmp_path: Path, tokenizer: Any, sentencepiece: Any) -> None:
    row = talk("ask", "say")
    keys = {
        encode(tokenizer, row, folder=tmp_path).key,
        encode(tokenizer, talk("ask", "said"), folder=tmp_path).key,
        encode(tokenizer, row, folder=tmp_path, max_length=99).key,
        encode(tokenizer, row, folder=tmp_path, boundary="joint").key,
        encode(tokenizer, row, folder=tmp_path, keep_all=True).key,
        encode(sentencepiece, row, folder=tmp_path).key,
    }
    assert len(keys) == 6


@pytest.mark.parametrize("name", ["examples.arrow", "report.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_what_is_damaged_is_made_again(tmp_path: Path, tokenizer: Any, name: str, damage: str) -> None:
    row = talk("ask", "say")
    first = encode(tokenizer, row, folder=tmp_path)
    whole, place = content(tmp_path), tmp_path / first.key / name
    if damage == "missing":
        place.unlink()
    else:
        place.write_bytes(b"" if damage == "empty" else place.read_bytes()[:-30])
    with pytest.raises(StoreError):
        Encoded.open(tmp_path / first.key)
    encode(tokenizer, row, folder=tmp_path)
    assert content(tmp_path) == whole


def test_some_of_the_examples_can_be_chosen(tmp_path: Path) -> None:
    made = [Example(str(i), list(range(i + 2)), [False] + [True] * (i + 1)) for i in range(1500)]
    encoded = write(tmp_path, made, key="k")
    some = encoded.select([1499, 0, 1100])
    assert some.ids == ["1499", "0", "1100"]
    assert some.lengths.tolist() == [1501, 2, 1102]
    assert some.trained.tolist() == [1500, 1, 1101]
    assert some.tokens(2).tolist() == list(range(1102))
    assert len(encoded) == 1500


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
