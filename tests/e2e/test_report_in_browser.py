"""The report in a real browser, driven over a pipe; skipped where no Chromium is installed."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magicoder.web import report
from tests.published import make_run, make_sample, reject

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-dev-shm-usage",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium"),
]


class Browser:
    """One page of a headless Chromium, spoken to in its debugging protocol: JSON messages that end in a zero byte."""

    def __init__(self, profile: Path) -> None:
        self.events: list[dict] = []
        self._last = 0
        self._session: str | None = None
        self._rest = b""
        # The browser wants the pipe at 3 and 4; ends of 10 and more cannot clash with those.
        child_reads, self._write = self._pipe()
        self._read, child_writes = self._pipe()
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        program = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(child_reads), str(child_writes), CHROMIUM, *flags],
            pass_fds=(child_reads, child_writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _pipe() -> tuple[int, int]:
        ends = os.pipe()
        reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
        for end in ends:
            os.close(end)
        return reading, writing

    def call(self, method: str, **parameters: object) -> dict:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has gone"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 60
        while self.value("document.readyState") != "complete" or self.value("location.protocol") != "file:":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)

    def value(self, expression: str) -> object:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        os.close(self._write)
        self._process.terminate()
        self._process.wait(30)
        os.close(self._read)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    evil = "</pre><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    samples = [make_sample(i, language=["python", "rust"][i % 2], seed=evil, instruction=f"Task {i}") for i in range(8)]
    rejected = {
        "documents": reject("documents", "too_large", 30, text=evil, detail=evil),
        "samples": reject("samples", "no_solution", 2),
    }
    run = make_run(folder / "run", samples, rejected)
    path = folder / "report.html"
    path.write_text(report.render(run.summary, report.collect(run.rows, run.stages)), encoding="utf-8")
    return path


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, page):
    browser.events.clear()
    browser.open(page)
    asked = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert [url for url in asked if url != page.as_uri()] == []
    complaints = [e for e in browser.events if e.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert complaints == []


def test_a_script_in_a_seed_does_not_run(browser, page):
    browser.open(page)
    assert browser.value("document.title") == "toy – dataset report"
    assert browser.value("document.querySelectorAll('img').length") == 0


def test_even_an_injected_script_would_not_run(browser, page):
    browser.open(page)
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    browser.value("const s = document.createElement('script'); s.text = 'document.title = 2'; document.body.append(s)")
    time.sleep(0.2)
    assert browser.value("document.title") == "toy – dataset report"


def shown(browser, section="examples"):
    return browser.value(f"document.querySelectorAll('#{section} details:not([hidden])').length")


def set_filter(browser, selector, text, section="examples"):
    event = "change" if selector == "select" else "input"
    browser.value(
        f"{{const e = document.querySelector('#{section} {selector}'); e.value = {json.dumps(text)};"
        f"e.dispatchEvent(new Event('{event}'))}}"
    )


def test_the_search_box_and_the_language_narrow_the_examples(browser, page):
    browser.open(page)
    assert browser.value("document.querySelector('#examples .filter').hidden") is False
    assert shown(browser) == 8
    set_filter(browser, "input", "TASK part_3.py")
    assert shown(browser) == 1
    assert browser.value("document.querySelector('#examples output').value") == "1 of 8 shown"
    set_filter(browser, "input", "")
    set_filter(browser, "select", "rust")
    assert shown(browser) == 4
    set_filter(browser, "input", "no such words")
    assert shown(browser) == 0


def test_a_step_without_matches_leaves_the_list_of_rejected(browser, page):
    browser.open(page)
    set_filter(browser, "select", "samples", "rejected")
    groups = (
        "[...document.querySelectorAll('[data-group]')].filter(g => !g.hidden).map(g => g.innerText.split('\\n')[0])"
    )
    assert browser.value(groups) == ["samples"]


def test_open_all_opens_what_is_shown_and_closes_it_again(browser, page):
    browser.open(page)
    set_filter(browser, "select", "rust")
    opened = "document.querySelectorAll('#examples details[open]').length"
    browser.value("document.querySelector('#examples button').click()")
    assert browser.value(opened) == 4
    browser.value("document.querySelector('#examples button').click()")
    assert browser.value(opened) == 0


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_nothing_sticks_out_of_the_page_at_any_width(browser, page, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(page)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_page_reads_without_scripts(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.value("document.querySelector('#examples .filter').hidden") is True
        assert shown(browser) == 8
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_dark_mode_follows_the_reader(browser, page):
    grounds = []
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.open(page)
        grounds.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 245, 242)", "rgb(18, 19, 15)"]
