"""A headless Chromium in which a test opens a page as a reader would, and looks at what it shows.

It speaks the DevTools protocol over two pipes (--remote-debugging-pipe: JSON, each message ended by a NUL),
so the page stays as it was written: nothing is put into it, and its Content-Security-Policy holds.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

#: The browser of this machine, None where there is none. A snap sees neither our folder of settings nor /tmp.
CHROMIUM = next((path for name in ("google-chrome", "chromium", "chromium-browser")
                 if (path := shutil.which(name)) and "/snap" not in str(Path(path).resolve())), None)

#: No sandbox: root and most containers have none, and the pages are the tests' own. No /dev/shm: often tiny.
FLAGS = ("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--no-startup-window", "--disable-background-networking",
         "--disable-component-update", "--disable-breakpad", "--force-color-profile=srgb",
         "--window-size=1000,800")

#: The browser reads file 3 and writes file 4; subprocess gives a child files 0 and 1.
SHELL = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'

KEYS = {"Home": 36, "ArrowRight": 39, "ArrowDown": 40}


class BrowserError(RuntimeError):
    """The browser has not answered in time, has ended, or has refused what it was asked."""


class Browser:
    """One tab, from `with` on; whatever is asked of it must be answered `life` seconds after its start."""

    def __init__(self, command: str | None = CHROMIUM, life: float = 300.0) -> None:
        self._command, self._life = command, life
        self._asked, self._read, self._session = 0, b"", {}
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        self._end = time.monotonic() + self._life
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._log = Path(self._home.name, "stderr")
        command = [self._command, *FLAGS, f"--user-data-dir={self._home.name}"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", SHELL, *command], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, start_new_session=True, env={**os.environ, "HOME": self._home.name})
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kills it with its children, however it is doing."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self._home.cleanup()

    def _attach(self) -> None:
        tab = self.ask("Target.createTarget", url="about:blank")
        attached = self.ask("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")
        # A window in the background is told of no focus.
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to one command of the protocol; events before it are kept in `events`."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters, **self._session}
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise self._error(f"{method}: the browser has ended") from error
        while (answer := self._receive(method)).get("id") != self._asked:
            self.events.append(answer)
        if "error" in answer:
            raise self._error(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self, purpose: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self.process.stdout], [], [], max(0.0, self._end - time.monotonic()))[0]:
                raise self._error(f"{purpose}: no answer, {self._life:g} s after the browser's start")
            if not (read := self.process.stdout.read(1 << 20)):
                raise self._error(f"{purpose}: the browser has ended")
            self._read += read
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def _error(self, what: str) -> BrowserError:
        return BrowserError(f"{what}\n{self._log.read_text('utf-8', 'replace')[-2000:]}")

    def _arrive(self, address: str) -> None:
        """Wait until the page at `address` is loaded; that one before it is does not count."""
        def steps() -> list[str]:
            return [e["params"].get("frame", {}).get("url") or e["method"] for e in self.events]

        while address not in steps() or "Page.loadEventFired" not in steps()[steps().index(address):]:
            self.events.append(self._receive(address))

    def open(self, path: Path) -> None:
        """Go to the file and wait until it is loaded; `events` are of this page alone."""
        self.events.clear()
        if refused := self.ask("Page.navigate", url=path.as_uri()).get("errorText"):
            raise self._error(f"{path}: {refused}")
        self._arrive(path.as_uri())

    def back(self) -> None:
        """To the page before this one, as the reader's button does it."""
        history = self.ask("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]
        self.events.clear()
        self.ask("Page.navigateToHistoryEntry", entryId=before["id"])
        self._arrive(before["url"])

    def requests(self, *, forbidden: bool = True) -> list[str]:
        """Addresses the page has asked for, its own too; `forbidden`: also those its policy kept it from."""
        kept = {e["params"]["requestId"] for e in self.events if e["params"].get("blockedReason") == "csp"}
        asked = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [a["request"]["url"] for a in asked if forbidden or a["requestId"] not in kept]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise self._error(f"{expression}: {answer['result'].get('description')}")
        return answer["result"].get("value")

    def press(self, selector: str, key: str, times: int = 1) -> None:
        """One of KEYS on an element, as from a keyboard."""
        self._focus(selector)
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        for kind in ("rawKeyDown", "keyUp") * times:
            self.ask("Input.dispatchKeyEvent", type=kind, **named)

    def type(self, selector: str, text: str) -> None:
        """`text` into an element, as from an input method."""
        self._focus(selector)
        self.ask("Input.insertText", text=text)

    def _focus(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")

    def resize(self, width: int, height: int) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=False)

    def screenshot(self, path: Path) -> Path:
        """What the window shows, as a PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))
        return path
