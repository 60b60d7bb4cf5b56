"""toxiproxy between two parts: a fault injector that is not ours. Go builds it once a machine.

It delays, throttles, stops, resets and cuts (https://github.com/Shopify/toxiproxy, "Toxics"). `tests/tcp_proxy.py` does
what it cannot: a flow that a NAT forgot, the answer to a COMMIT that is lost, round trips counted.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from tests.ports import free_port
from tools import go_tools

PACKAGE, VERSION = "github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0"
START_WITHIN_S = 30.0


class Toxiproxy:
    """The server; a context manager. Raises: NotBuilt on entering, where Go is missing."""

    def __init__(self) -> None:
        self._url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._opener = build_opener(ProxyHandler({}))  # loopback never goes through a proxy

    def __enter__(self) -> Self:
        program = go_tools.installed(PACKAGE, VERSION)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="toxiproxy-")
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), "-host", "127.0.0.1", "-port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                self.ask("GET", "/version")
            except OSError:
                assert time.monotonic() < until, "toxiproxy did not start"
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._folder is not None
        self._process.terminate()
        self._process.wait(timeout=10)
        self._folder.cleanup()

    def before(self, port: int) -> ToxicProxy:
        """Return a proxy that leads to a port of 127.0.0.1."""
        name = f"to-{port}"
        made = {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}", "enabled": True}
        return ToxicProxy(self, name, port, int(self.ask("POST", "/proxies", made)["listen"].rpartition(":")[2]))

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        """Call its API and return the answer's JSON."""
        data = None if value is None else json.dumps(value).encode()
        request = Request(self._url + path, data=data, method=method, headers={"User-Agent": "tests"})
        with self._opener.open(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text


class ToxicProxy:
    """One way through it."""

    def __init__(self, server: Toxiproxy, name: str, target: int, port: int) -> None:
        self._server, self._name, self._target = server, name, target
        self.port = port

    def through(self, url: str) -> str:
        """Return the URL with this proxy in place of its port."""
        return url.replace(f":{self._target}", f":{self.port}")

    def spoil(self, kind: str, both_ways: bool = False, **attributes: int) -> None:
        """Add a toxic to what comes back from the server, or to both ways."""
        for stream in ("downstream", "upstream") if both_ways else ("downstream",):
            toxic = {"type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes}
            self._server.ask("POST", f"/proxies/{self._name}/toxics", toxic)

    def refuse(self) -> None:
        """Close every connection and accept none."""
        self._server.ask("POST", f"/proxies/{self._name}", {"enabled": False})

    def heal(self) -> None:
        """Work again."""
        for toxic in self._server.ask("GET", f"/proxies/{self._name}/toxics"):
            self._server.ask("DELETE", f"/proxies/{self._name}/toxics/{toxic['name']}")
        self._server.ask("POST", f"/proxies/{self._name}", {"enabled": True})
