"""Headless Chromium, driven through its own pipe (Chrome DevTools Protocol): no driver and no port is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab with one page. `requests`: all that it asked a network or a disk for. `complaints`: errors of scripts,
    and what the content security policy has refused."""

    def __init__(self, page: Path, profile: Path, width: int = 1360, height: int = 1000) -> None:
        self.requests, self.complaints = list[str](), list[str]()
        to_browser, from_browser = os.pipe(), os.pipe()

        def wire() -> None:  # the browser reads its file 3 and writes its file 4
            os.dup2(to_browser[0], 13)
            os.dup2(from_browser[1], 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "--disable-background-networking"]
        self._process = subprocess.Popen(
            [str(PROGRAM), *flags, "about:blank"], preexec_fn=wire, close_fds=False, stderr=subprocess.DEVNULL
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._in, self._out = os.fdopen(to_browser[1], "wb"), os.fdopen(from_browser[0], "rb")
        self._number, self._waiting, self._session = 0, b"", ""
        tab = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def call(self, method: str, **params: Any) -> Any:
        """What the browser answers; raises AssertionError for an error."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._in.write(json.dumps(message).encode() + b"\0")
        self._in.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._heard(answer)

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for. Raises AssertionError for what it throws."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true, at most ten seconds."""
        loop = f"(async () => {{ for (let i = 0; i < 200; i++) {{ if ({condition}) return true;"
        assert self.run(f"{loop} await new Promise(r => setTimeout(r, 50)); }} return false; }})()"), condition

    def press(self, *keys: str) -> None:
        """Keys, one after the other, as their names are in JavaScript."""
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
        for key in keys:
            what = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **what, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def picture(self, path: Path, scheme: str = "light", whole: bool = True) -> None:
        """A PNG file of the page as it is now, in a colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._in.close()
        self._out.close()
        self._process.kill()
        self._process.wait()

    def _read(self) -> Any:
        while b"\0" not in self._waiting:
            more = os.read(self._out.fileno(), 1 << 16)
            assert more, "the browser has ended"
            self._waiting += more
        message, _, self._waiting = self._waiting.partition(b"\0")
        return json.loads(message)

    def _heard(self, event: Any) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if event.get("method") == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
