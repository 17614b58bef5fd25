"""A recipe is checked against the dataclasses: every mistake is reported with file, line, field and a suggestion."""

import re
from pathlib import Path

import pytest

from magicoder.errors import RecipeError
from magicoder.fingerprint import digest
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.recipe import Recipe, parse, read, read_training, to_yaml
from magicoder.strategies.oss_instruct import OssInstruct

GOOD = """
name: mine
corpora:
  - local_files: {path: src, exclude: ["*.min.js"]}
  - standard_library
seeds:
  quotas: {python: 10, "*": 5}
strategy: oss_instruct
teacher:
  openai_chat: {model: m, base_url: "http://localhost:8000/v1", extra_body: {top_k: 5}}
"""


def test_a_good_recipe_becomes_one_typed_value() -> None:
    recipe = parse(GOOD)
    assert [type(c).__name__ for c in recipe.corpora] == ["LocalFiles", "StandardLibrary"]
    assert recipe.corpora[0].exclude == ("*.min.js",)  # type: ignore[attr-defined]
    assert recipe.seeds.quotas == {"python": 10, "*": 5}
    assert isinstance(recipe.strategy, OssInstruct)
    assert isinstance(recipe.teacher, OpenAIChat)
    assert recipe.teacher.extra_body == {"top_k": 5}
    recipe.check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\nteacher:\n  openai_chat:\n    modle: m\n",
            r"r.yaml:4: teacher.openai_chat.modle is unknown; did you mean model",
        ),
        ("nmae: x\n", r"r.yaml:1: nmae is unknown; did you mean name"),
        ("clean: {near_duplicates: true}\n", r"r.yaml:1: clean.near_duplicates is unknown; use deduplicate"),
        ("llm: mock\n", r"r.yaml:1: llm is unknown; use teacher"),
        ("name: x\nstages: []\n", r"r.yaml:2: stages is unknown here: this is a recipe for `magicoder train`"),
        ("name: x\nwhatever_this_is: 1\n", r"r.yaml:2: whatever_this_is is unknown; there are: name, corpora"),
        ("name: x\nseeds:\n  max_lines: many\n", r"r.yaml:3: seeds.max_lines must be a whole number, not 'many'"),
        ("name: x\nseeds:\n  max_lines: true\n", r"r.yaml:3: seeds.max_lines must be a whole number, not 'true'"),
        ("name: 3\n", r"r.yaml:1: name must be text, not '3'"),
        ("name: ../elsewhere\n", r"r.yaml:1: .*name is '../elsewhere'; it becomes a folder below runs/"),
        ("deduplicate: {seeds: 1}\n", r"r.yaml:1: deduplicate.seeds must be true or false, not '1'"),
        ("deduplicate: {threshold: 2.0}\n", r"r.yaml:1: deduplicate.threshold is 2.0; it is above 0"),
        ("deduplicate: {keep: longets}\n", r"r.yaml:1: deduplicate.keep is 'longets'; did you mean long"),
        ("deduplicate: {compare: [texts]}\n", r"r.yaml:1: .*deduplicate.compare has 'texts'.*; there are: samples"),
        ("deduplicate: {compare: []}\n", r"r.yaml:1: .*deduplicate.compare names each comparison once"),
        ("corpora: {local_files: {path: x}}\n", r"r.yaml:1: corpora must be a list"),
        (
            "corpora:\n- local_fils: {path: x}\n",
            r"r.yaml:2: corpora\[0\]: corpora has no 'local_fils'; did you mean local_files",
        ),
        ("corpora:\n- local_files\n", r"r.yaml:2: corpora\[0\].local_files needs path"),
        ("strategy: evol\n", r"r.yaml:1: strategy: strategies has no 'evol'"),
        ("strategy: [a, b]\n", r"r.yaml:1: strategy must be a name or `name: {…}`, one of: comment_pairs"),
        ("seeds: 3\n", r"r.yaml:1: seeds must be a mapping .*, not '3'"),
        ("- a\n", r"r.yaml:1: the recipe must be a mapping .*, not a list"),
        ("name: x\nname: y\n", r"r.yaml:2: name is given twice"),
        ("name: [\n", r"r.yaml:\d: not valid YAML"),
        ("name: \0\n", r"r.yaml: not valid YAML: unacceptable character"),
        ("name: x\n---\nname: y\n", r"r.yaml:2: not valid YAML"),
        ("seeds: {quotas: {python: 1, python: 2}}\n", r"r.yaml:1: seeds.quotas.python is given twice"),
        ("seeds: {quotas: {[a]: 1}}\n", r"r.yaml:1: seeds.quotas has a list for a name"),
        ("corpora: [{[a]: 1}]\n", r"r.yaml:1: corpora\[0\] has a list for a name"),
        ("name: 2024-99-99\n", r"r.yaml:1: name is not what it looks like"),
        ("name: !py x\n", r"r.yaml:1: name is not what it looks like"),
        ("", r"r.yaml is empty"),
        ("documents:\n  screens: [nonsense]\n", r"r.yaml:2: documents: .*nonsense"),
        (
            "teacher:\n  openai_chat: {model: m, api_key: sk-1}\n",
            r"r.yaml:2: teacher.openai_chat.api_key is unknown; did you mean api_key_env",
        ),
    ],
)
def test_each_mistake_is_reported_where_it_stands(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as e:
        parse(text, "r.yaml")
    assert re.search(message, str(e.value)), str(e.value)


def test_off_is_a_word_where_a_word_is_wanted() -> None:
    assert parse("corpora: [standard_library]\ndecontaminate: {mode: off}\n").decontaminate.mode == "off"


def test_a_missing_recipe_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="magicoder init"):
        read(tmp_path / "none.yaml")


def test_a_strategy_without_its_teacher_says_what_to_give() -> None:
    with pytest.raises(RecipeError, match="needs a teacher; give --llm MODEL"):
        parse("corpora: [standard_library]\nstrategy: oss_instruct\n").check()


def test_a_recipe_without_corpora_says_what_to_give() -> None:
    with pytest.raises(RecipeError, match="names no corpora"):
        Recipe().check()


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("recipes/*.yaml")), ids=lambda p: p.name)
def test_every_ready_recipe_is_valid(path: Path) -> None:
    read(path).check()


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("recipes/train/*.yaml")), ids=lambda p: p.name)
def test_every_ready_recipe_of_training_is_valid(path: Path) -> None:
    assert read_training(path).stages


def test_a_rate_without_a_point_is_a_number_and_what_is_misspelt_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    text = "name: a\nbase: {model: b}\nstages:\n- {name: one, data: [d]}\noptimization: {learning_rate: 5e-5}\n"
    path.write_text(text, encoding="utf-8")
    assert read_training(path).optimization.learning_rate == 5e-5
    path.write_text(text.replace("learning_rate", "lerning_rate"), encoding="utf-8")
    with pytest.raises(RecipeError, match="did you mean learning_rate"):
        read_training(path)


def test_the_template_of_init_is_valid() -> None:
    import magicoder

    read(Path(magicoder.__file__).parent / "recipe.template.yaml").check()


def test_the_template_of_a_training_is_valid_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    import magicoder

    path = Path(magicoder.__file__).parent / "training.template.yaml"
    given = read_training(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    left_out = ("revision", "boundary", "train_on", "layout", "share_prefix", "max_grad_norm", "mode", "precision")
    left_out += ("processes", "strategy", "checkpointing")
    shown = [
        re.sub(r"^( *)# ", r"\1", line) if line.strip().startswith(tuple(f"# {n}:" for n in left_out)) else line
        for line in lines
    ]
    assert shown != lines
    (tmp_path / "shown.yaml").write_text("\n".join(shown), encoding="utf-8")
    assert read_training(tmp_path / "shown.yaml") == given


def test_what_is_written_out_reads_back_equal() -> None:
    recipe = parse(GOOD)
    assert digest(parse(to_yaml(recipe))) == digest(recipe), "but for what cannot change a result"


def test_what_is_written_out_hides_where_a_person_keeps_their_code() -> None:
    recipe = parse("corpora:\n- local_files: {path: /home/ada/secret-project/code}\n")
    assert "/home/ada" not in to_yaml(recipe)
    assert "…/code" in to_yaml(recipe)
