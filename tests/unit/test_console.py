"""What is shown while a run goes on."""

import os
import pty
import re
import termios
import time

import pytest

from magicoder import console
from magicoder.money import estimate
from magicoder.planning import Forecast
from magicoder.records import Message, Prompt


def test_the_clock_of_a_bar_goes_on_while_nothing_is_done_and_the_bar_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    monkeypatch.setattr("sys.stderr", os.fdopen(theirs, "w", buffering=1))
    bar = console.Watch().stage("samples")
    bar.expect(10, "seeds")
    bar.tick(1, "1 asked")
    shown, deadline = "", time.monotonic() + 30
    while "00:02" not in shown and time.monotonic() < deadline:
        shown += os.read(terminal, 65536).decode()  # blocks until the next second is shown
    assert "00:02" in shown
    assert "seeds/s" in shown
    assert isinstance(bar, console.Bar)
    bar.close()
    assert re.fullmatch(r"\r *\r", os.read(terminal, 65536).decode())
    os.close(terminal)


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    lines = console.Lines("samples", every_s=0.05)
    lines.expect(1000, "seeds")
    for _ in range(4):
        lines.tick(5)
    assert capsys.readouterr().err == "", "no line for every tick"
    time.sleep(0.06)
    lines.tick(480, "495 asked")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "50% 500/1000 [" in written
    assert "seeds/s, 495 asked]" in written


def test_what_is_slow_is_shown_in_seconds_a_piece(capsys: pytest.CaptureFixture[str]) -> None:
    lines = console.Lines("train", every_s=0.0)
    lines.expect(10, "steps")
    lines.began = lines.said = time.monotonic() - 30
    lines.tick(1, "loss 2.0")
    assert " 30.00 s/step, loss 2.0]" in capsys.readouterr().err


def test_an_estimate_shows_how_sure_it_is_of_the_prompts() -> None:
    prompts = [Prompt(messages=(Message(role="user", content="x" * size),), max_tokens=9) for size in (1, 99)]
    shown = console.forecast_text(
        Forecast(
            seeds=50, asked=50, sampled=2, answered=0.0, turns=1.0, price=None,
            estimate=estimate(prompts, 50, None, len),
        )
    )  # fmt: skip
    (line,) = [line for line in shown.splitlines() if line.startswith("prompt tokens")]
    low, likely, high = (int(number.replace(",", "")) for number in line.split()[2:])
    assert low < likely < high


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch = console.Watch(quiet=True)
    shown = watch.stage("samples")
    shown.expect(1, "seeds")
    shown.tick(1)
    watch.close()
    assert capsys.readouterr().err == ""
