"""A page in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--virtual-time-budget=5000",
]


def browse(address: str, profile: Path, *flags: str) -> str:
    command = [str(BROWSER), *QUIET, f"--user-data-dir={profile}", *flags, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def probe(page: Path, script: str, *flags: str, width: int = 390) -> dict[str, Any]:
    """What ``script`` (the body of a function of the page's window and document) returns, in a frame as wide
    as a phone.
    """
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    outer = page.with_name("probe.html")
    outer.write_text(
        f"""<!doctype html><meta charset=utf-8><iframe width={width} height=844 style="border:0"></iframe>
          <pre id=probe></pre><script>
        const frame = document.querySelector("iframe");
        frame.onload = () => {{ const window = frame.contentWindow, document = window.document;
          globalThis.document.getElementById("probe").textContent =
            JSON.stringify((() => {{ {script} }})()); }};
        frame.srcdoc = {text};</script>""",
        encoding="utf-8",
    )
    dom = browse(outer.as_uri(), page.with_name("profile"), "--dump-dom", *flags)
    found = re.search(r'<pre id="probe">(.+?)</pre>', dom, re.DOTALL)
    assert found, dom[:500]
    return dict(json.loads(unescape(found.group(1))))
