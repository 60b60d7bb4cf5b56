"""Starts a real Prometheus that scrapes gateways every second, and asks it. Ends only the process it started."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

from tests.ports import free_port

START_WITHIN_S = 60.0


class PrometheusMissing(RuntimeError):
    """There is no Prometheus on this machine."""


class PrometheusProcess:
    """One Prometheus; a context manager.

    Args: `targets`: addresses that serve /metrics; `rules`: text of a file; `native`: takes native histograms.
    """

    def __init__(self, targets: Sequence[str], rules: str = "", *, native: bool = False) -> None:
        binary = shutil.which("prometheus")
        if binary is None:
            raise PrometheusMissing("needs prometheus: apt-get install prometheus")
        self._binary = binary
        self._options = ["--enable-feature=native-histograms"] if native else []
        self._directory = tempfile.TemporaryDirectory(prefix="prometheus-")
        self._port = free_port()
        folder = Path(self._directory.name)
        (folder / "rules.yml").write_text(rules)
        self._config = folder / "prometheus.yml"
        self._config.write_text(
            json.dumps(  # JSON is YAML
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(folder / "rules.yml")] if rules else [],
                    "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": list(targets)}]}],
                }
            )
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._opener = build_opener(ProxyHandler({}))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query, each with `metric` and `value`. Raises: OSError without an answer."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?query={quote(expression)}"
        with self._opener.open(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
        return found

    def firing(self) -> dict[str, str]:
        """Return the names of the alerts that fire now, and their severity."""
        return {
            series["metric"]["alertname"]: series["metric"]["severity"]
            for series in self.query('ALERTS{alertstate="firing"}')
        }

    def wait(self, holds: Callable[[], Any], within_s: float, told: Callable[[], object] = lambda: "") -> None:
        """Wait until it holds, asking twice a second. Raises: AssertionError with what `told` returns."""
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, f"not within {within_s} s; {told()}"
            time.sleep(0.5)

    def __enter__(self) -> Self:
        folder = self._directory.name
        self._process = subprocess.Popen(
            [
                self._binary,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{self._port}",
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait(self._answers, START_WITHIN_S)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        self._directory.cleanup()

    def _answers(self) -> bool:
        try:
            return bool(self.query("vector(1)"))
        except OSError:
            return False
