"""A headless Chromium for tests, spoken to through its pipe: no driver, no other package.

The protocol is Chrome's own (``--remote-debugging-pipe``): JSON messages that end in a NUL byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: For tests that look at a page; a skip is printed at the end of every run (`-rs`).
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: no page was looked at, chromium is not installed"
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]
#: A loaded machine takes long; a wait ends as soon as what it waits for is there.
PATIENCE_SECONDS = 120.0


class Browser:
    """One page in a headless browser.

    Args:
        width: Of the window, CSS pixels.
        height: Of the window.

    Attributes:
        problems: Errors and warnings that pages have caused so far.
        asked: URLs that pages have loaded so far, data URLs left out.
    """

    def __init__(self, width: int = 1400, height: int = 900) -> None:
        self.problems: list[str] = []
        self.asked: list[str] = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._count, self._buffer, self._session = 0, b"", ""
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        self._process = _start(read, write, self._profile.name)
        page = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._read, self._write):
            os.close(file)
        self._profile.cleanup()

    def resize(self, width: int, height: int) -> None:
        """Gives the page this size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, theme: Literal["light", "dark"]) -> None:
        """Has the system prefer light or dark pages."""
        feature = {"name": "prefers-color-scheme", "value": theme}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Loads a page; problems and URLs are those of this page from now on."""
        self.problems.clear()
        self.asked.clear()
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Returns what an expression is in the page; a promise is waited for."""
        done = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Waits until an expression is true in the page."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}; {self.problems}"
            time.sleep(0.1)

    def press(self, key: str, code: int) -> None:
        """Presses a key, by its name and its code, where the focus is."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def shoot(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG of the window, or of the whole page."""
        done = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(done["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        found = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            self.problems.append(f"{found['entry']['text']} {found['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and found["type"] != "log":
            self.problems.append(json.dumps(found["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(found["exceptionDetails"]))
        elif event.get("method") == "Network.requestWillBeSent":
            url = found["request"]["url"]
            self.asked += [] if url.startswith(("data:", "blob:")) else [url]

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, "chromium does not answer"
            if select.select([self._read], [], [], left)[0]:
                read = os.read(self._read, 1 << 20)
                assert read, f"chromium ended with {self._process.poll()}"
                self._buffer += read
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message


def _start(read: int, write: int, profile: str) -> "subprocess.Popen[bytes]":
    """Chromium reads commands from descriptor 3 and answers on 4."""
    files = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (read, write)]
    command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    script = f'exec "$@" 3<&{files[0]} 4>&{files[1]} {files[0]}<&- {files[1]}>&-'
    process = subprocess.Popen(
        ["bash", "-c", script, "chromium", *command],
        pass_fds=files,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for each in (read, write, *files):
        os.close(each)
    return process
