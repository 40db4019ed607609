"""A real Chromium, driven over a pipe by the DevTools protocol: clicks, keys, wheel and downloads as a person
makes them. Tests take it as the fixture ``browser`` of ``tests/conftest.py``.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_PATIENCE_S = 60.0
SHIFT, CTRL = 8, 2  # modifiers of input events
# For Browser.open: ``longest`` is the longest that the page did not answer until now, in ms; 0: never 50 ms.
LONGEST_TASK = (
    "window.longest = 0; new PerformanceObserver(list => { for (const one of list.getEntries()) "
    "longest = Math.max(longest, one.duration); }).observe({ type: 'longtask' });"
)


class Browser:
    """One browser with one page at a time, which shares nothing with the page before."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._left, self._number, self._session, self._context = b"", 0, "", ""

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its answer; events on the way are passed over."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            part = os.read(self._reader, 1 << 16)
            assert part, "the browser is gone"
            self._left += part
        message, _, self._left = self._left.partition(b"\0")
        return dict(json.loads(message))

    def open(
        self, page: Path, width: int = 1200, height: int = 900, scheme: str = "light", watch: str = ""
    ) -> None:
        """Show a page to somebody who likes ``scheme``, in place of the one before. The script ``watch`` runs
        before anything of the page.
        """
        self._session = ""
        if self._context:
            self.send("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=self._context)
        session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = session["sessionId"]
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        if watch:
            self.send("Page.enable")  # or the script is not run
            self.send("Page.addScriptToEvaluateOnNewDocument", source=watch)
        self.send("Page.navigate", url=page.as_uri())
        self.until(f"location.href === {json.dumps(page.as_uri())} && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait for an expression to hold."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.run(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def still(self) -> None:
        """Wait until the page has come to rest after scrolling."""
        self.run(
            "new Promise(done => { let last = -1; const look = () => { if (scrollY === last) done(true); "
            "else { last = scrollY; setTimeout(look, 150); } }; look(); })"
        )

    def place(self, selector: str, across: float = 0.5) -> tuple[float, float]:
        """A point in an element, which is scrolled into sight and has come to rest."""
        x, y = self.run(
            "(async e => { e.scrollIntoView({block: 'center', behavior: 'instant'}); "
            "const frame = () => new Promise(requestAnimationFrame); let a, b; "
            "do { a = e.getBoundingClientRect(); await frame(); await frame(); "
            "b = e.getBoundingClientRect(); } while (a.x !== b.x || a.y !== b.y); "
            f"return [b.x + {across} * b.width, b.y + b.height / 2]; }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        return x, y

    def click(self, selector: str) -> None:
        """Press and release the left button on an element."""
        self.drag(*[self.place(selector)] * 2)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one point and release at another."""
        for kind, (x, y) in zip(
            ("mousePressed", "mouseMoved", "mouseReleased"), (start, end, end), strict=True
        ):
            button = "none" if kind == "mouseMoved" else "left"
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=1, clickCount=1)

    def wheel(self, at: tuple[float, float], dy: float, modifiers: int = 0) -> None:
        """Turn the wheel over a point."""
        self.send(
            "Input.dispatchMouseEvent",
            type="mouseWheel",
            x=at[0],
            y=at[1],
            deltaX=0,
            deltaY=dy,
            modifiers=modifiers,
        )

    def key(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, selector: str, text: str) -> None:
        """Click into a field and write."""
        self.click(selector)
        self.send("Input.insertText", text=text)

    def downloads_into(self, folder: Path) -> None:
        """Where files go that the page gives."""
        session, self._session = self._session, ""  # a command to the browser, not to the page
        self.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(folder),
            browserContextId=self._context,
        )
        self._session = session

    def picture(self, path: Path) -> None:
        """The whole page, as PNG."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser of its own."""
    their_reader, writer = os.pipe()
    reader, their_writer = os.pipe()
    options = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync"
    options += " --disable-component-update --no-first-run --hide-scrollbars --remote-debugging-pipe"
    command = f'exec "{CHROMIUM}" {options} --user-data-dir="{profile}" 3<&{their_reader} 4>&{their_writer}'
    with (profile.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(their_reader, their_writer), stdout=log, stderr=log
        )
        os.close(their_reader)
        os.close(their_writer)
        try:
            yield Browser(reader, writer)
        finally:
            os.close(writer)  # the browser ends with its pipe
            os.close(reader)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
