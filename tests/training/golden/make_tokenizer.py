"""Make `tokenizer.json`: byte-pair encoding in the manner of Llama's, small. Run by hand under tokenizers 0.14.

    python tests/training/golden/make_tokenizer.py

Like Llama's it puts a `▁` before every text it is given and spells what it does not know in bytes. So a prompt and a
response that are tokenized apart differ from the two in one, which is what the original does and the test must see.
Written by the old library because the new one reads the old form and not the other way round.
"""

import json
import sys
from pathlib import Path

import given
from tokenizers import Tokenizer, decoders, models, normalizers, trainers

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

from magicoder.text import templates

BYTES = [f"<0x{value:02X}>" for value in range(256)]


def main() -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    texts = [text for row in given.rows() for text in (templates.SYSTEM, *row.values())]
    # What is learned from are pieces that begin with the mark of a space; without a pre-tokenizer a whole text would be
    # one word. Letters of other scripts are left out: they are spelled in bytes.
    words = [f" {word}" for text in texts for word in text.encode("ascii", "ignore").decode().split(" ")]
    trainer = trainers.BpeTrainer(
        vocab_size=given.CONFIG["vocab_size"], special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False
    )
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "▁")
    learned.train_from_iterator(words, trainer)
    parts = json.loads(learned.to_str())["model"]
    whole = json.loads(tokenizer.to_str())
    whole["model"]["vocab"], whole["model"]["merges"] = parts["vocab"], parts["merges"]
    whole["added_tokens"] = [
        {
            "id": number,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, name in enumerate(("<unk>", "<s>", "</s>"))
    ]
    given.TOKENIZER.write_text(json.dumps(whole, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
