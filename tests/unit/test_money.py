"""Prices, estimates, counted tokens, forecasts and the ledger."""

import random
import statistics
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from magicoder import prices, tokens
from magicoder.errors import RecipeError
from magicoder.llms.mock import Mock
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.money import estimate, forecast, ledger_rows
from magicoder.prices import NANOS, find, price_of, price_of_model
from magicoder.tokens import tokenizer
from tests.priced import asking, priced

# Prices


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("GPT-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("gpt-3.5-turbo-1106", "gpt-3.5-turbo-1106"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash-preview-05-20", "gemini-2.5-flash"),
        ("codestral-latest", "codestral"),
        ("mistral-large-2411", "mistral-large"),
    ],
)
def test_a_dated_name_costs_what_its_model_costs(name: str, entry: str) -> None:
    found = price_of_model(name)
    assert found is not None
    assert found.model == entry


@pytest.mark.parametrize(
    "name",
    ["gpt-5-pro", "gpt-4o-mini-audio-preview", "gpt-4o-mini-fast", "gpt-4-32k", "ft:gpt-4o-mini-2024-07-18:us::x",
     "my-gpt-4o", "someone/gpt-4o", "codestral:22b", "gpt-40", "qwen3-max-thinking-turbo", ""],
)  # fmt: skip
def test_a_name_that_is_not_in_the_table_has_no_price(name: str) -> None:
    assert price_of_model(name) is None


def test_a_server_on_this_machine_costs_nothing() -> None:
    for url in ("http://localhost:8000/v1", "http://127.0.0.1:1/v1", "http://[::1]:8000/v1", "http://0.0.0.0:80/v1"):
        found = price_of(OpenAIChat(model="whatever/model-7b", base_url=url))
        assert found is not None
        assert found.is_free
    assert price_of(OpenAIChat(model="whatever/model-7b", base_url="http://192.168.0.5/v1")) is None
    in_process = price_of(Mock())
    assert in_process is not None
    assert in_process.is_free


def test_several_endpoints_are_free_only_if_all_are_on_this_machine() -> None:
    @dataclass
    class Teacher:
        base_urls: tuple[str, ...]
        model: str = "gpt-4o"
        base_url: str = "https://vendor.example/v1"

    here = "http://localhost:8000/v1"
    free, mixed = price_of(Teacher((here, here + "1"))), price_of(Teacher((here, "https://vendor.example/v1")))  # type: ignore[arg-type]
    assert free is not None
    assert mixed is not None
    assert free.is_free
    assert not mixed.is_free


def test_a_batch_teacher_gets_the_batch_price() -> None:
    @dataclass
    class Teacher:
        model: str = "gpt-4o"
        base_url: str = "https://vendor.example/v1"
        is_batch: bool = True

    found, listed = price_of(Teacher()), price_of_model("gpt-4o")  # type: ignore[arg-type]
    assert found is not None
    assert listed is not None
    assert found.usd_per_million_completion_tokens == listed.usd_per_million_completion_tokens / 2
    assert priced().batched() == priced()


def test_prices_in_the_recipe_win_and_half_of_them_is_an_error() -> None:
    both = OpenAIChat(model="gpt-4o", usd_per_million_prompt_tokens=7.0, usd_per_million_completion_tokens=0.0)
    found = price_of(both)
    assert found is not None
    assert found.usd_per_million_prompt_tokens == 7.0
    with pytest.raises(RecipeError, match="usd_per_million_completion_tokens"):
        price_of(OpenAIChat(model="gpt-4o", usd_per_million_prompt_tokens=7.0))


def test_the_users_table_wins_also_over_a_local_server(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("- models:\n    gpt-4o: {prompt: 9, completion: 8}\n    'house-*': {prompt: 1, completion: 1}\n")
    for local in (False, True):
        found = price_of_model("gpt-4o", base_url_is_local=local, overrides=table)
        assert found is not None
        assert found.usd_per_million_prompt_tokens == 9
    prefix = price_of_model("house-model-7b", overrides=table)
    assert prefix is not None
    assert prefix.model == "house-*"
    assert price_of_model("gpt-4o-mini", overrides=table) == price_of_model("gpt-4o-mini")


def test_the_longest_entry_that_fits_wins() -> None:
    table = {name: priced() for name in ("a", "a-2024", "a-*", "A-2024-01")}
    for name, entry in (("a-2024-02", "a-2024"), ("a-2024-01", "A-2024-01"), ("a-x", "a-*"), ("a", "a")):
        assert find(name, table) is table[entry], name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1", "list of groups"),
        ("- models: {}", "must name models"),
        ("- model: {}", "did you mean models"),
        ("- models: {m: {prompt: 1}}", "m: `completion` is missing"),
        ("- models: {m: {prompt: 1, completion: x}}", "`completion` must be a number"),
        ("- models: {m: {prompt: true, completion: 1}}", "`prompt` must be a number"),
        ("- models: {m: {prompt: -1, completion: 1}}", "must be 0 or more"),
        ("- models: {m: {prompt: .nan, completion: 1}}", "must be 0 or more"),
        ("- models: {m: {prompt: 1, completion: 1, long: [5, 0.5, 1]}}", "factors are 1 or more"),
        ("- models: {m: {prompt: 1, completion: 1, long: 5}}", "`long` must be"),
        ("- models: {m: {promt: 1, completion: 1}}", "did you mean prompt"),
        ("- models: {m: {prompt: 1, completion: 1}}\n- models: {m: {prompt: 1, completion: 1}}", "listed twice"),
    ],
)
def test_a_malformed_price_table_is_explained(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        prices.table_of(table)
    assert "mine.yaml" in str(caught.value) or "price of m" in str(caught.value)


def test_a_missing_price_table_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        price_of_model("m", overrides=tmp_path / "none.yaml")


def test_every_listed_price_says_from_when_and_where_it_is_and_names_no_host() -> None:
    path = Path(prices.__file__).with_name("prices.yaml")
    table = prices.table_of(path)
    assert len(table) > 40
    for name, price in table.items():
        assert name == name.lower()
        assert price.as_of.startswith("20"), name
        assert price.source, name
        assert 0 < price.usd_per_million_prompt_tokens <= price.usd_per_million_completion_tokens, name
        cached = price.usd_per_million_cached_prompt_tokens
        assert cached is None or cached < price.usd_per_million_prompt_tokens, name
    assert {p.verified for p in table.values()} == {True, False}
    text = path.read_text()
    assert "http" not in text
    assert ".com" not in text


def test_sums_are_exact_and_never_below_the_bill() -> None:
    rng = random.Random(3)
    for _ in range(500):
        prompt, completion = rng.choice([0.0028, 0.15, 1.1, 75.0]), rng.choice([0.28, 0.6, 4.4, 150.0])
        price = priced(prompt, completion)
        p, c = rng.randrange(10**6), rng.randrange(10**5)
        bill = (Fraction(str(prompt)) * p + Fraction(str(completion)) * c) / 10**6
        assert 0 <= Fraction(price.nanos(p, c), NANOS) - bill < Fraction(1, NANOS)


def test_a_long_prompt_and_stored_prompt_tokens_cost_more() -> None:
    price = priced(
        2, 10, usd_per_million_cache_write_tokens=2.5, long_prompt_tokens=1000, long_prompt_factor=2.0,
        long_completion_factor=1.5,
    )  # fmt: skip
    assert price.nanos(1000, 100) == 1000 * 2500 + 100 * 10_000
    assert price.nanos(1001, 100) == 1001 * 5000 + 100 * 15_000
    half = priced(2, 10, batch_factor=0.5, usd_per_million_cache_write_tokens=2.5).batched()
    assert half.nanos(1000, 100) == 1000 * 1250 + 100 * 5000


# Estimates


def test_the_estimate_scales_the_sample_and_uses_earlier_lengths() -> None:
    sample = [asking("x" * size, max_tokens=2000) for size in range(100, 200)]
    lengths = list(range(100, 1100))
    found = estimate(sample, 1000, priced(1, 2), len, lengths)
    per_prompt = statistics.fmean(range(100, 200)) + 4 + 3
    assert found.requests == 1000
    assert found.prompt_tokens == round(per_prompt * 1000)
    assert found.prompt_low < found.prompt_tokens < found.prompt_high
    assert found.completion_likely == round(statistics.fmean(lengths) * 1000)
    assert found.completion_low == pytest.approx(200_000, rel=0.01)
    assert found.completion_high == pytest.approx(1_000_000, rel=0.01)
    assert found.completion_most == 2_000_000
    assert found.usd_likely == pytest.approx((found.prompt_tokens + 2 * found.completion_likely) / 1e6, rel=0.001)
    assert None not in (found.usd_low, found.usd_high, found.usd_most)
    assert found.usd_low < found.usd_likely < found.usd_high < found.usd_most  # type: ignore[operator]
    assert "1,000 earlier answers" in found.method


def test_few_earlier_answers_are_not_relied_on_and_no_answer_exceeds_its_limit() -> None:
    found = estimate([asking(max_tokens=2500)], 10, None, len, [5] * 29)
    assert (found.completion_low, found.completion_likely, found.completion_high) == (3000, 6000, 11000)
    assert (found.usd_low, found.usd_likely, found.usd_high, found.usd_most) == (None,) * 4
    assert "OSS-Instruct" in found.method
    short = estimate([asking(max_tokens=200)], 10, priced(), len, [])
    assert short.completion_low == short.completion_high == short.completion_most == 2000
    twice = estimate([asking(max_tokens=2500, n=2)], 10, None, len, [])
    assert twice.completion_likely == 12000
    endless = estimate([asking(max_tokens=None)], 10, priced(), len, [])
    assert (endless.completion_high, endless.completion_most, endless.usd_most) == (11000, None, None)


def test_a_sample_of_everything_is_certain_and_none_costs_nothing() -> None:
    sample = [asking("x" * size) for size in (10, 500)]
    whole = estimate(sample, 2, priced(), len)
    assert whole.prompt_low == whole.prompt_tokens == whole.prompt_high
    nothing = estimate([], 5, priced(), len)
    assert (nothing.prompt_tokens, nothing.completion_high, nothing.usd_high) == (0, 0, 0.0)
    assert estimate(sample, 0, None, len).usd_high is None


def test_the_interval_for_prompt_tokens_holds_nine_times_out_of_ten() -> None:
    rng = random.Random(7)
    hits = 0
    for _ in range(200):
        sizes = [round(rng.lognormvariate(5, 0.6)) for _ in range(600)]
        sample = [asking("x" * size) for size in rng.sample(sizes, 60)]
        found = estimate(sample, len(sizes), None, len)
        hits += found.prompt_low <= sum(sizes) + 7 * len(sizes) <= found.prompt_high
    assert 160 <= hits <= 196


# Counting tokens


def trained(folder: Path, texts: list[str]) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    made.train_from_iterator(texts, trainer)
    made.enable_truncation(5)
    made.enable_padding(length=50)
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_a_tokenizer_file_is_counted_by_without_its_truncation_and_padding(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    text = "def area(width, height):\n    return width * height\n" * 5
    path = trained(tmp_path, [text])
    for vocabulary in (path, str(path), tmp_path):
        counter = tokenizer(vocabulary)
        assert counter.method == f"tokenizer tokenizer.json of {tmp_path.name}"
        plain = Tokenizer.from_file(str(path))
        plain.no_truncation()
        plain.no_padding()
        assert counter(text) == len(plain.encode(text, add_special_tokens=False).ids)
        assert 5 < counter(text) < len(text)
    assert "tokens by tokenizer" in estimate([asking()], 1, None, tokenizer(path)).method


def test_a_tiktoken_encoding_is_counted_by_and_special_tokens_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    single = tiktoken.Encoding(
        "tiny", pat_str=r"[\s\S]+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={"<|e|>": 256}
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: single)
    counter = tokenizer("tiny")
    assert counter("ab<|e|>") == 7
    assert counter.method == "tiktoken encoding tiny"


def test_what_cannot_be_counted_by_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"bad.json is not a tokenizer.json"):
        tokenizer(tmp_path / "bad.json")
    with pytest.raises(RecipeError, match=r"there is no .*none.json"):
        tokenizer(tmp_path / "none.json")
    with pytest.raises(RecipeError, match=r"no encoding 'o300k'; it has .*o200k_base"):
        tokenizer("o300k")

    def offline(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(RecipeError, match="not in tiktoken's cache"):
        tokenizer("o200k_base")
    for package in ("tiktoken", "tokenizers"):
        monkeypatch.setitem(sys.modules, package, None)
    for vocabulary in ("o200k_base", str(tmp_path / "bad.json")):
        with pytest.raises(RecipeError, match=r"pip install 'magicoder\[tokenizer\]'"):
            tokenizer(vocabulary)


def test_without_a_vocabulary_the_estimate_is_near_and_named() -> None:
    counter = tokenizer()
    assert counter.method == tokens.ESTIMATE
    assert counter("") == 0
    # cl100k_base counts these as 11, 15 and 32 tokens.
    assert 8 <= counter("def f(x):\n    return x + 1\n") <= 14
    assert 11 <= counter("Please gain inspiration from the following random code snippet to create a problem.") <= 19
    assert counter("数据" * 8) >= 8
    assert counter("\ud800x") > 0


# Forecasts and the ledger


def test_a_forecast_goes_by_the_yield_so_far() -> None:
    assert forecast(0, 10, 5) == (0, 0, 0)
    assert forecast(-3, 10, 5) == (0, 0, 0)
    assert forecast(1000, 0, 0)[1] == 1064  # the paper's own yield
    low, likely, high = forecast(1000, 1000, 500)
    assert 1850 < low < likely < high < 2150
    assert likely == pytest.approx(2000, rel=0.01)
    assert forecast(10, 50, 0)[2] > forecast(10, 50, 0)[1] > 500
    assert forecast(1000, 1000, 1000) == (1000, 1001, forecast(1000, 1000, 1000)[2])
    assert forecast(100, 50, 100)[1] == pytest.approx(50, abs=2)  # two rows a seed


def test_nine_of_ten_outcomes_lie_within_the_forecast() -> None:
    rng = random.Random(11)
    for rate, seen, wanted in ((0.9, 200, 500), (0.5, 100, 50), (0.2, 300, 400)):
        hits = 0
        for _ in range(150):
            accepted = sum(rng.random() < rate for _ in range(seen))
            low, _, high = forecast(wanted, seen, accepted)
            needed = got = 0
            while got < wanted:
                needed += 1
                got += rng.random() < rate
            hits += low <= needed <= high
        assert hits >= 120, (rate, hits)


def test_the_ledger_adds_up_by_model_and_reason() -> None:
    outcomes = [
        ("b", "", 10, 10),
        ("a", "truncated", 100, 2500),
        ("a", "", 100, 500),
        ("a", "", 100, 300),
        ("a", "refused", 100, 20),
        ("a", "truncated", 100, 2500),
    ]
    table = {"a": priced(1, 2), "b": None}
    rows = ledger_rows(iter(outcomes), table.__getitem__)
    assert [(r.model, r.reason, r.kept, r.requests) for r in rows] == [
        ("a", "", True, 2),
        ("a", "truncated", False, 2),
        ("a", "refused", False, 1),
        ("b", "", True, 1),
    ]
    kept, truncated, refused, unknown = rows
    assert (kept.prompt_tokens, kept.completion_tokens) == (200, 800)
    assert kept.usd == pytest.approx(1800 / 1e6)
    assert truncated.usd == pytest.approx(10_200 / 1e6)
    assert (unknown.usd, unknown.usd_per_accepted_row) == (None, None)
    shares = [r.usd_per_accepted_row for r in (kept, truncated, refused)]
    assert sum(s for s in shares if s is not None) == pytest.approx((1800 + 10_200 + 140) / 1e6 / 2)
    (lonely,) = ledger_rows([("a", "refused", 1, 1)], table.__getitem__)
    assert lonely.usd is not None
    assert lonely.usd_per_accepted_row is None


def test_many_short_prompts_are_not_billed_as_one_long_one() -> None:
    tiered = priced(1, 1, long_prompt_tokens=1000, long_prompt_factor=2.0)
    (row,) = ledger_rows([("a", "", 600, 0)] * 10, lambda _: tiered)
    assert row.usd == pytest.approx(6000 / 1e6)
