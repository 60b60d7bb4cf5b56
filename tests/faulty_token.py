"""A token of SoftHSM behind a module with faults, which is built from faulty_token.c if there is a C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.softhsm import PIN, SoftHsm

_SOURCE = Path(__file__).with_name("faulty_token.c")


class FaultyToken:
    """A token with one key, `launch`. `environ` is what a process needs to use it."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler is on this machine: the module with faults cannot be built")
        hsm = SoftHsm(folder)
        self.module = folder / "faulty_token.so"
        build = [compiler, "-std=gnu11", "-pthread", "-shared", "-fPIC", "-o", str(self.module), str(_SOURCE), "-ldl"]
        subprocess.run(build, check=True, capture_output=True)
        self.tokens = hsm.tokens
        token = hsm.token("phoenix")
        self.public = token.make_key("launch")
        self.pin_file = folder / "pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(PIN)
        self.reference = token.reference(self.pin_file, "launch").replace(str(hsm.module), str(self.module))
        self._fault = folder / "fault"
        self.environ = {**hsm.environ, "FAULTY_TOKEN": str(self._fault), "FAULTY_TOKEN_MODULE": str(hsm.module)}

    def begin(self, fault: str) -> None:
        """Have the module do this: a word of faulty_token.c, and a number. `files`: the token's files are away."""
        if fault == "files":
            self.tokens.rename(self.tokens.with_name("away"))
            return
        new = self._fault.with_name("fault.new")
        new.write_text(fault)
        new.rename(self._fault)

    def end(self) -> None:
        """Have the module pass everything on."""
        self._fault.unlink(missing_ok=True)
        away = self.tokens.with_name("away")
        if away.exists():
            shutil.rmtree(self.tokens, ignore_errors=True)
            away.rename(self.tokens)

    @property
    def has_begun(self) -> bool:
        """Whether a fault that happens once has happened."""
        return not self._fault.exists()
