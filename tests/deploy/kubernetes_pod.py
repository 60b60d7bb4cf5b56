"""Runs the container of the rendered chart as a process, with the files that Kubernetes would mount.

The files belong to root and the pod's fsGroup. The process has the pod's user, group and fsGroup. It keeps one
capability, so that it can read the checkout and Python wherever they are. The gateway's checks of a file's owner and
mode do not depend on it, and tests/keys/own/test_file_access.py opens such files without it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.other_user import Mount

ROOT = Path(__file__).resolve().parents[2]
_READ_CHECKOUT = "+dac_read_search"
_PROGRAMS = {"phoenix-gateway": [sys.executable, "-P", "-m", "gateway"]}
"""The installed command does not import from its folder either, which is one that other users may write to."""


class Pod:
    """The container `gateway` of a Deployment. A context manager: `start` it inside, it is ended at the end."""

    def __init__(self, deployment: Mapping[str, Any], folder: Path) -> None:
        """Args: `folder`: where the mounts are instead of in the container's root."""
        spec = deployment["spec"]["template"]["spec"]
        self.grace_s = float(spec["terminationGracePeriodSeconds"])
        self._security = spec["securityContext"]
        (self._container,) = spec["containers"]
        self._folder = folder
        self.log_path = folder / "pod.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._mounts = {mount["name"]: mount["mountPath"] for mount in self._container["volumeMounts"]}
        self.volumes = {
            volume["name"]: Mount(
                self._place(self._mounts[volume["name"]]),
                mode=(volume.get("secret") or volume["configMap"])["defaultMode"],
                group=self._security["fsGroup"],
            )
            for volume in spec["volumes"]
            if "emptyDir" not in volume and "persistentVolumeClaim" not in volume
        }
        for volume in spec["volumes"]:
            if "persistentVolumeClaim" in volume:  # of root and the pod's group, which may write
                claimed = self._place(self._mounts[volume["name"]])
                claimed.mkdir(parents=True)
                os.chown(claimed, 0, self._security["fsGroup"])
                claimed.chmod(0o2770)

    @property
    def environment(self) -> dict[str, str]:
        """Return the manifest's environment with the mounts where they are here."""
        given = {each["name"]: self._translated(each["value"]) for each in self._container["env"]}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/tmp", **given}

    def start(self) -> None:
        """Start the container's command as the pod's user. It does not wait until it serves."""
        program, *arguments = self._container["command"]
        security = self._security
        identity = [
            f"--reuid={security['runAsUser']}",
            f"--regid={security['runAsGroup']}",
            f"--groups={security['fsGroup']}",
            f"--inh-caps={_READ_CHECKOUT}",
            f"--ambient-caps={_READ_CHECKOUT}",
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", *identity, *_PROGRAMS[program], *arguments],
                cwd="/tmp",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def probe(self, name: str) -> tuple[str, str, str]:
        """Return scheme, port name and path of one of the container's probes."""
        request = self._container[f"{name}Probe"]["httpGet"]
        return request["scheme"], request["port"], request["path"]

    def end(self) -> tuple[int, float]:
        """Send SIGTERM, as Kubernetes does. Return the exit code and the seconds that it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(self.grace_s), time.monotonic() - began

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def _place(self, mount: str) -> Path:
        return self._folder / "root" / mount.lstrip("/")

    def _translated(self, value: str) -> str:
        is_mounted = any(f"{value}/".startswith(f"{path}/") for path in self._mounts.values())
        return str(self._place(value)) if is_mounted else value
