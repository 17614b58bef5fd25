import itertools
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from importlib import resources

import pytest

from magicoder.web import report
from magicoder.web.passages import passages, source_address, visible
from tests.published import FACTS, make_run, make_sample, reject

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&'`{{ 7*7 }}"

VOID = {"meta", "br", "input", "img", "link", "hr"}


class Page(HTMLParser):
    """The page as a reader sees it: elements with their attributes, texts, and whether tags nest."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open, self.misnested = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and not (self.open and self.open[-1] == "svg" and tag in ("rect", "line")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag not in VOID:
            self.misnested.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def page_of(tmp_path, samples=None, rejected=None, facts=FACTS, **changes):
    samples = [make_sample(i) for i in range(3)] if samples is None else samples
    run = make_run(tmp_path / "run", samples, rejected, facts, **changes)
    return report.render(run.summary, report.collect(run.rows, run.stages))


def test_the_page_is_whole_and_well_nested(tmp_path):
    page = Page(page_of(tmp_path, rejected={"documents": reject("documents", "too_large", 3)}))
    assert page.misnested == []
    assert page.open == []


def test_every_text_of_a_run_is_escaped(tmp_path):
    texts = {f.name: EVIL for f in fields(make_sample()) if isinstance(getattr(make_sample(), f.name), str)}
    sample = replace(make_sample(), **texts)
    rejected = {
        "documents": reject("documents", EVIL, 2, text=EVIL, language=EVIL, detail=EVIL),
        "screened": reject("screened", EVIL, 1, detail='{"<b>": "<i>"}'),
    }
    facts = {
        "benchmarks": [{"benchmark": EVIL, "version": EVIL, "hits": 1}],
        "methods": [EVIL],
        "partly_covered": {EVIL: EVIL},
    }
    changes = {"name": EVIL, "teacher": EVIL, "strategy": EVIL, "recipe": EVIL}
    html = page_of(tmp_path, [sample], rejected, facts, **changes)
    page = Page(html)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert page.all("i") == []
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert page.misnested == []
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "49" not in re.findall(r"`(\d+)", page.text)


def test_the_page_loads_nothing_and_allows_no_script_but_its_own(tmp_path):
    page = Page(page_of(tmp_path))
    assert not [attrs for tag, attrs in page.elements if "src" in attrs or tag in ("link", "iframe", "object")]
    assert "url(" not in resources.files("magicoder.web").joinpath("templates/report.css").read_text()
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", policy)
    assert "script-src 'unsafe" not in policy


def test_the_page_says_what_each_step_kept_and_why_it_rejected(tmp_path):
    rejected = {
        "documents": reject("documents", "too_large", 1200),
        "cleaned": reject("cleaned", "duplicate_problem", 4),
    }
    text = " ".join(Page(page_of(tmp_path, rejected=rejected)).text.split())
    assert "3 documents kept, 1,200 rejected too_large 1,200" in text
    assert "3 samples kept, 4 rejected duplicate_problem 4" in text
    assert "3 samples kept, none rejected" in text


def test_what_came_of_running_the_solutions_is_shown_where_they_were_run(tmp_path):
    samples = [
        make_sample(0, outcome="passed", checked="tests", test_strength=0.5),
        make_sample(1, outcome="passed", checked="run"),
        make_sample(2),
    ]
    page = Page(page_of(tmp_path, samples, rejected={"verified": reject("verified", "wrong_answer", 4)}))
    text = " ".join(page.text.split())
    assert "What came of running the solutions outcomerowsshare passed266.7 % nothing to run133.3 %" in text
    assert "Rests on run 1, tests 1; tests noticed 50% of the faults put into solutions" in text
    assert page.misnested == []
    assert "running the solutions" not in Page(page_of(tmp_path / "none", samples)).text


def test_clusters_are_counted_and_the_largest_named(tmp_path):
    rejected = {"distinct_rows": reject("distinct_rows", "near_duplicate", 57)}
    html = page_of(tmp_path, rejected=rejected)
    page = Page(html)
    text = " ".join(page.text.split())
    assert "Jaccard similarity of at least 0.7 make a cluster, and of each cluster the first stayed" in text
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html.split('id="duplicates"')[1].split("</section>")[0])
    row = cells.index("distinct_rows")
    assert cells[row + 1 : row + 10] == [
        "samples", "1,200", "31", "41", "57", "40 of 2, 1 of 16–31", "301", "299", "58"
    ]  # fmt: skip
    assert cells[-4:] == [
        "<code>code:&lt;b&gt;.py#L1/s[0]</code>", "18", "<code>code:a|b.py#L1/s[0]</code>", "2"
    ]  # fmt: skip
    assert page.misnested == []
    assert "Near-duplicates" not in Page(page_of(tmp_path / "none")).text, "nothing was compared"


def test_a_reason_that_does_not_fit_is_counted(tmp_path):
    rejected = {"documents": [r for i in range(20) for r in reject("documents", f"reason_{i:02}", 20 - i)]}
    text = " ".join(Page(page_of(tmp_path, rejected=rejected)).text.split())
    assert "8 more reasons 36" in text


def test_examples_are_a_few_of_each_language_and_do_not_depend_on_order(tmp_path):
    names = ["python", "rust", "klingon", *"abcdef"]
    samples = [make_sample(i, language=names[i % 9]) for i in range(90)]
    one = make_run(tmp_path / "one", samples, part_rows=7)
    two = make_run(tmp_path / "two", samples[::-1], part_rows=60)
    found = report.collect(one.rows, one.stages).examples
    assert {language: len(chosen) for language, chosen in found.items()} == dict.fromkeys(names, 4)
    assert found == report.collect(two.rows, two.stages).examples
    text = Page(page_of(tmp_path, samples)).text
    assert all(s.seed.strip() in text for chosen in found.values() for s in chosen)


def test_a_dataset_of_one_language_shows_more_of_it(tmp_path):
    run = make_run(tmp_path / "run", [make_sample(i) for i in range(90)])
    assert len(report.collect(run.rows, run.stages).examples["python"]) == 24


def test_without_a_teacher_texts_are_shown_as_they_are(tmp_path):
    html = page_of(tmp_path, [make_sample(teacher="", instruction="def f():\n    **x**", strategy="comment_pairs")])
    assert '<pre tabindex="0" aria-label="instruction">def f():\n    **x**</pre>' in html


def test_an_example_shows_where_its_seed_is_from(tmp_path):
    html = page_of(tmp_path, [make_sample(0, path="src/a b.py")])
    commit = make_sample().commit
    assert f"github.com/acme/tools@{commit}:src/a b.py#L10-L14" in Page(html).text
    assert f"https://github.com/acme/tools/blob/{commit}/src/a%20b.py#L10-L14" in [
        a["href"] for a in Page(html).all("a")
    ]


@pytest.mark.parametrize(
    ("repository", "commit", "address"),
    [
        ("https://github.com/o/r.git", "c", "https://github.com/o/r/blob/c/p.py#L1-L2"),
        ("git@github.com:o/r.git", "c", "https://github.com/o/r/blob/c/p.py#L1-L2"),
        ("gitlab.com/o/g/r", "c", "https://gitlab.com/o/g/r/-/blob/c/p.py#L1-L2"),
        ("github.com/o/r", "", ""),
        ("github.com/o", "c", ""),
        ("example.org/o/r", "c", ""),
        ("javascript:alert(1)", "c", ""),
        ("", "c", ""),
    ],
)
def test_only_known_hosts_are_linked(repository, commit, address):
    assert source_address(repository, commit, "p.py", (1, 2)) == address


def test_rejected_records_are_shown_raw_with_their_evidence(tmp_path):
    rejected = {
        "samples": reject("samples", "no_solution", 9, text="raw <answer>\nof the teacher", language="rust"),
        "decontaminated": reject("decontaminated", "humaneval_match", 1, detail='{"task": "HumanEval/23"}'),
    }
    run = make_run(tmp_path / "run", [make_sample()], rejected)
    data = report.collect(run.rows, run.stages)
    assert len(data.rejected["samples"]["no_solution"]) == 3
    text = Page(report.render(run.summary, data)).text
    assert text.count("raw <answer>\nof the teacher") == 3
    assert "9 rejected" in text
    assert "HumanEval/23" in text


def test_a_very_long_text_is_cut_and_the_page_says_by_how_much(tmp_path):
    html = page_of(tmp_path, [make_sample(0, response="x" * 1_000_000)])
    assert len(html) < 100_000
    assert "and 994,000 more characters" in Page(html).text


def test_histograms_are_described_in_words(tmp_path):
    samples = [make_sample(i, instruction="x" * n) for i, n in enumerate([10, 20, 30])]
    labels = [svg["aria-label"] for svg in Page(page_of(tmp_path, samples)).all("svg")]
    assert labels[0] == "Instruction lengths in characters: from 10 to 30, half of them at most 20"


def test_without_rows_the_page_says_so_and_still_shows_the_funnel(tmp_path):
    html = page_of(tmp_path, [], {"documents": reject("documents", "too_large", 7)})
    page = Page(html)
    assert page.misnested == []
    assert "This run published no rows" in page.text
    assert "too_large 7" in " ".join(page.text.split())
    assert page.all("svg") == []


def test_a_run_without_decontamination_is_told_from_one_with(tmp_path):
    assert "Not decontaminated" in page_of(tmp_path / "a", facts=None)
    text = " ".join(Page(page_of(tmp_path / "b")).text.split())
    assert "Not decontaminated" not in text
    assert "Not covered:" in text
    assert "500 of 974 tasks at hand" in text


@pytest.mark.parametrize(
    ("cost", "shown"), [(None, "prices not known"), (0.0, "$0.00"), (1234.5, "$1,234.50 $411,500.00 per 1,000 rows")]
)
def test_the_cost_is_shown_as_far_as_it_is_known(tmp_path, cost, shown):
    assert shown in " ".join(re.sub(r"<[^>]+>", " ", page_of(tmp_path, cost_usd=cost)).split())


def test_a_run_without_a_teacher_shows_no_cost(tmp_path):
    assert "Cost" not in Page(page_of(tmp_path, teacher="")).text


def test_the_same_run_gives_the_same_page(tmp_path):
    samples = [make_sample(i) for i in range(9)]
    assert page_of(tmp_path / "a", samples, part_rows=2) == page_of(tmp_path / "b", samples, part_rows=2)


def test_headings_do_not_skip_a_level_and_ids_are_unique(tmp_path):
    page = Page(page_of(tmp_path, rejected={"documents": reject("documents", "too_large")}))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    # h4 stands in an example, whose title is the summary of a fold-out, not a heading.
    outline = [level for level in levels if level < 4]
    assert outline[0] == 1
    assert outline.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(outline))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= set(ids)


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_its_ground(mode):
    css = resources.files("magicoder.web").joinpath("templates/report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("* { box-sizing")[0].split("@media")
    )
    colors = light if mode == "light" else light | dark
    pairs = [
        *[(text, ground) for text in ("text", "muted") for ground in ("page", "card", "sunken")],
        *[("text", ground) for ground in ("kept-soft", "lost-soft")],
        ("link", "card"),
        ("lost", "card"),
        ("kept", "page"),
        ("warn", "warn-page"),
    ]
    ratios = {}
    for text, ground in pairs:
        high, low = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
        ratios[text, ground] = (high + 0.05) / (low + 0.05)
    assert not {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5}


def test_prose_and_code_are_told_apart():
    found = passages("Do `x < 1` **now**:\n\n```py\nif x < 1:\n```\n~~~\n```\n~~~\nEnd.\n````\nopen\n```")
    assert [(p.is_code, p.language, str(p.html)) for p in found] == [
        (False, "", "Do <code>x &lt; 1</code> <b>now</b>:"),
        (True, "py", "if x &lt; 1:"),
        (True, "", "```"),
        (False, "", "End."),
        (True, "", "open\n```"),
    ]


def test_what_would_be_invisible_is_shown():
    assert visible("a\x00b\u202ec\r\nd\te") == "a␀b⟨U+202E⟩c\nd\te"
