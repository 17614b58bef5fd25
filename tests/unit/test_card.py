import re

import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from magicoder.text.card import license_metadata, size_category
from magicoder.text.markdown import code, fenced, plain
from tests.published import FACTS, make_run, make_sample, reject


def card_of(tmp_path, samples=None, rejected=None, facts=FACTS, formats=None, **changes):
    samples = [make_sample(i) for i in range(3)] if samples is None else samples
    run = make_run(tmp_path / "run", samples, rejected, facts, **changes)
    return (run.export(tmp_path / "dataset", **({"formats": formats} if formats else {})) / "README.md").read_text()


def front_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def section(card, title):
    return re.split(rf"^#+ {title}$", card, flags=re.M)[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        ({"MIT": 3}, {"license": "mit"}),
        ({"Apache-2.0": 3}, {"license": "apache-2.0"}),
        ({"GPL-3.0-or-later": 3}, {"license": "gpl-3.0"}),
        ({"PDDL-1.0": 1}, {"license": "pddl"}),
        ({"MIT": 2, "ISC": 1}, {"license": "other", "license_name": "mixed-per-row", "license_link": "LICENSE.md"}),
        ({"MIT": 2, "": 1}, {"license": "other", "license_name": "mixed-per-row", "license_link": "LICENSE.md"}),
        ({"": 2}, {"license": "other", "license_name": "not-stated", "license_link": "LICENSE.md"}),
        ({"0BSD": 2}, {"license": "other", "license_name": "0bsd", "license_link": "LICENSE.md"}),
        (
            {"MIT OR Apache-2.0": 2},
            {"license": "other", "license_name": "mit-or-apache-2.0", "license_link": "LICENSE.md"},
        ),
        ({}, {"license": "other", "license_name": "no-rows", "license_link": "LICENSE.md"}),
    ],
)
def test_the_hub_s_licence_is_the_one_all_rows_share_or_other_with_a_name(licenses, expected):
    assert license_metadata(licenses) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (75_197, "10K<n<100K"),
        (10**9, "1B<n<10B"),
        (10**12, "n>1T"),
    ],
)
def test_the_size_category_is_the_hub_s(rows, expected):
    assert size_category(rows) == expected


def test_the_metadata_is_what_the_hub_reads(tmp_path):
    card = DatasetCard(card_of(tmp_path))
    assert card.data.to_dict() == {
        "pretty_name": "toy",
        "language": ["en"],
        "license": "mit",
        "task_categories": ["text-generation"],
        "tags": ["code", "synthetic", "instruction-tuning", "magicoder"],
        "size_categories": ["n<1K"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }


def test_without_parquet_the_first_json_lines_form_is_the_default_configuration(tmp_path):
    front = front_of(card_of(tmp_path, formats=("instruction", "messages")))
    assert [(c["config_name"], c["default"]) for c in front["configs"]] == [("messages", True), ("instruction", False)]


def test_a_dataset_without_a_teacher_is_not_called_synthetic(tmp_path):
    card = card_of(tmp_path, teacher="")
    assert "synthetic" not in front_of(card)["tags"]
    assert "no teacher was asked" in section(card, "Cost")


def test_the_funnel_shows_every_step_with_every_reason(tmp_path):
    rejected = {
        "documents": reject("documents", "too_large", 1200) + reject("documents", "a|b`c", 2),
        "cleaned": reject("cleaned", "duplicate_problem", 3),
    }
    funnel = section(card_of(tmp_path, rejected=rejected), "From documents to rows")
    assert "| documents | 3 | documents | 1,202 | `too_large` 1,200, `` a\\|b`c `` 2 |" in funnel
    assert "| cleaned | 3 | samples | 3 | `duplicate_problem` 3 |" in funnel
    assert "| published | 3 | rows |" in funnel


def test_near_duplicates_are_counted_and_that_none_were_looked_for_is_said(tmp_path):
    rejected = {"distinct_rows": reject("distinct_rows", "near_duplicate", 57)}
    funnel = section(card_of(tmp_path, rejected=rejected), "From documents to rows")
    assert "at least 0.7" in funnel
    assert "of which the first was kept" in funnel
    assert "| distinct\\_rows | samples | 1,200 | 31 | 41 | 57 | 40 of 2, 1 of 16–31 |" in funnel
    assert "Near-duplicates were not looked for." in card_of(tmp_path / "none")


def test_verdicts_are_counted_and_that_nothing_was_run_is_said(tmp_path):
    assert "The solutions were not run." in card_of(tmp_path)
    samples = [
        make_sample(0, outcome="passed", checked="tests", test_strength=0.5),
        make_sample(1, outcome="passed", checked="run"),
        make_sample(2),
    ]
    rejected = {"verified": reject("verified", "wrong_answer", 4)}
    funnel = section(card_of(tmp_path / "run", samples, rejected=rejected), "From documents to rows")
    assert "| passed | 2 | 66.7 % |" in funnel
    assert "| nothing to run | 1 | 33.3 % |" in funnel
    assert "rest on: run 1, tests 1." in funnel
    assert "noticed 50% (mean of 1 rows)" in funnel
    assert "`wrong_answer` 4" in funnel


def test_redactions_are_counted_by_step_and_kind_and_that_there_were_none_is_said(tmp_path):
    assert "Nothing was replaced." in card_of(tmp_path)
    redacted = {"redacted": {"records": 1200, "kinds": {"email": 1100, "password": 200}}}
    text = card_of(tmp_path / "some", facts=FACTS | redacted)
    assert "- decontaminated: 1,200 – email 1,100, password 200" in text
    assert "Nothing was replaced." not in text


def test_languages_are_shown_as_people_write_them_and_unknown_ones_as_they_are(tmp_path):
    samples = [make_sample(0), make_sample(1), make_sample(2, language="klingon")]
    content = section(card_of(tmp_path, samples), "What is in it")
    assert "| Python | 2 | 66.7 % |" in content
    assert "| klingon | 1 | 33.3 % |" in content


def test_decontamination_says_what_was_covered_and_what_was_not(tmp_path):
    rejected = {"screened": [], "decontaminated": reject("decontaminated", "humaneval_match", 2)}
    found = section(card_of(tmp_path, rejected=rejected), "Decontamination")
    assert "| humaneval | 1.0 | 164 | 326 | 2 | 2 |  |" in found
    assert "| mbpp | 2021 | 500 | 998 | 0 | 0 | 500 of 974 tasks at hand |" in found
    assert "Searched for: lower-cased substrings." in found
    assert "1 of these problems could not be searched for" in found
    assert "**Not covered:** `" in found
    assert "`humaneval`" not in found


def test_a_dataset_that_was_not_decontaminated_says_so_at_the_top(tmp_path):
    card = card_of(tmp_path, facts=None)
    top = card.split("## Load it")[0]
    assert "**Not decontaminated.**" in top
    assert "**No benchmark was searched for.**" in section(card, "Decontamination")
    assert "Not decontaminated" not in card_of(tmp_path / "other")


@pytest.mark.parametrize(("cost", "shown"), [(None, "unknown"), (0.1834, "0.18 USD"), (0.0, "0.00 USD")])
def test_the_price_is_shown_as_far_as_it_is_known(tmp_path, cost, shown):
    assert f"| 1,200 | 900 | {shown} |" in section(card_of(tmp_path, cost_usd=cost), "Cost")


def test_the_recipe_cannot_break_out_of_its_fence(tmp_path):
    recipe = "name: x\nnote: |\n  ```\n  ## Not a heading\n"
    card = card_of(tmp_path, recipe=recipe)
    assert f"````yaml\n{recipe}````\n" in card


def test_foreign_names_cannot_add_html_cells_or_front_matter(tmp_path):
    evil = '<script>x</script>|"\n---\n[a](b)'
    samples = [make_sample(0, license=evil, repository=evil, language=evil)]
    card = card_of(tmp_path, samples, name=evil, teacher=evil)
    assert front_of(card)["pretty_name"] == " ".join(evil.split())
    body = card.split("---\n\n", 1)[1]
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", body)
    assert "<script" not in outside_code
    assert all(
        line.count("|") - line.count("\\|") == 4 for line in body.splitlines() if line.startswith("| &lt;script")
    )


def test_every_table_has_as_many_cells_in_each_row(tmp_path):
    card = card_of(tmp_path, rejected={"screened": reject("screened", "humaneval_match")})
    for table in re.findall(r"(?:^\|.*\n)+", card, flags=re.M):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    "variant", [{}, {"teacher": ""}, {"facts": None}, {"samples": []}, {"formats": ("messages",)}, {"strategy": "new"}]
)
def test_the_card_has_no_gaps_and_no_template_left_over(tmp_path, variant):
    card = card_of(tmp_path, **variant)
    assert "\n\n\n" not in card
    assert card.endswith("```\n")
    assert not re.search(r"{[{%]|[%}]}", card.split("```bibtex")[0])


def test_the_licence_file_says_which_licences_and_whose_terms(tmp_path):
    samples = [make_sample(0), make_sample(1), make_sample(2, license="")]
    text = (make_run(tmp_path / "run", samples).export(tmp_path / "dataset") / "LICENSE.md").read_text()
    assert "| MIT | 2 |" in text
    assert "| not stated | 1 |" in text
    assert "the terms under which it is served" in text


@given(st.text())
def test_plain_text_stays_one_line_without_live_markup(text):
    line = plain(text)
    assert "\n" not in line
    assert not set(re.sub(r"\\.", "", line)) & set("|`*_[]~#<\\")


@given(st.text(alphabet="`|a \n\\", min_size=1))
def test_a_code_span_opens_and_closes_around_the_whole_text(text):
    span = code(text)
    line = " ".join(text.split())
    if not line:
        assert span == ""
        return
    ticks = re.match("`+", span)[0]
    runs = re.findall("`+", span)
    assert runs.count(ticks) == 2
    assert span.startswith(ticks)
    assert span.endswith(ticks)


@given(st.text(alphabet="`~ab\n"))
def test_a_fenced_block_holds_no_line_that_closes_it(text):
    first, *inner, last = fenced(text, "yaml").split("\n")
    fence = first.removesuffix("yaml")
    assert last == fence
    assert not any(line.strip().startswith(fence) for line in inner)
