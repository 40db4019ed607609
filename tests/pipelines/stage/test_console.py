"""What a stage says where nobody sees a bar: a line now and then, with the time left, and no line after the
end.
"""

import threading
import time

import pytest

from pipelines.stage.console import progress_bar, working
from reid.pace import Pace

OFTEN_S = 0.02


class Log:
    """What has come to standard error, which is no terminal here."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self._text = capsys, ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(capsys)


def wait_for(log: Log, text: str) -> str:
    deadline = time.monotonic() + 10
    while text not in log.getvalue():
        assert time.monotonic() < deadline, f"{text!r} is not in {log.getvalue()!r}"
        time.sleep(0.005)
    return log.getvalue()


def test_a_log_gets_lines_with_the_time_left(log: Log) -> None:
    with progress_bar("training batch_hard", OFTEN_S) as progress:
        progress(0, 300)
        wait_for(log, "training batch_hard: 0 of 300, 0:00:00 so far\n")
        progress(100, 300)
        time.sleep(0.05)
        progress(150, 300)
        assert "left" in wait_for(
            log, "training batch_hard: 150 of 300, 0:00:00 so far, about 0:00:00 left\n"
        )
    before = log.getvalue()
    time.sleep(0.06)
    assert log.getvalue() == before, "it is over"
    assert "\x1b" not in before
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_step_without_any_news_does_not_look_dead(log: Log) -> None:
    with working("judging quadruplet", OFTEN_S):
        wait_for(log, "judging quadruplet: 0:00:00 so far\n")


def test_an_error_ends_the_lines(log: Log) -> None:
    with pytest.raises(ValueError, match="broken"), progress_bar("embedding", OFTEN_S):
        raise ValueError("broken")
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_what_is_quick_says_nothing(log: Log) -> None:
    with progress_bar("decoding", 60.0) as progress:
        progress(1, 1)
    assert log.getvalue() == ""


def test_the_time_left_counts_from_the_first_news_of_work_done() -> None:
    """A training that goes on after a kill hears of 200 steps at once: those took no time of this run."""
    pace = Pace(0.0)
    assert pace.words(30.0) == "0:00:30 so far"
    pace.update(0, 1000, 31.0)
    pace.update(200, 1000, 60.0)
    assert pace.words(61.0) == "200 of 1,000, 0:01:01 so far"
    pace.update(300, 1000, 160.0)  # 100 steps in 100 s
    assert pace.words(160.0) == "300 of 1,000, 0:02:40 so far, about 0:11:40 left"
    assert pace.words(200.0) == "300 of 1,000, 0:03:20 so far, about 0:11:00 left"
