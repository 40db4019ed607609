"""How far a work is, at a terminal; what a log gets is in tests/pipelines/stage/test_console.py."""

from io import StringIO

import pytest
from rich.console import Console

from reid.pace import shown_pace


def test_a_bar_appears_with_the_first_news_and_says_how_far_it_is() -> None:
    screen, said = StringIO(), list[str]()
    console = Console(file=screen, force_terminal=True, width=100)
    with shown_pace("embedding", console, said.append, 0.001):
        pass
    assert screen.getvalue() == ""
    with pytest.raises(ValueError, match="broken"), shown_pace("embedding", console, said.append) as progress:
        progress(3, 7)
        raise ValueError("broken")
    assert "embedding" in screen.getvalue() and "3/7" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h"), "the cursor is there again"
    assert not said
