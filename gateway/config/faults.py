"""What is wrong with the configuration, collected so that one start reports every fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One setting that cannot be used: its name, what is wrong, what to do. Holds nothing of its value."""

    setting: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem}" + (f"; {self.remedy}" if self.remedy else "")


class ConfigInvalid(Exception):
    """The gateway cannot start. `faults`: everything that is wrong; `warnings`: what may have caused it."""

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[Fault] = ()) -> None:
        """Name every fault in the text, one a line."""
        self.faults = tuple(faults)
        self.warnings = tuple(warnings)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"The configuration cannot be used ({count}):", *(f"  {one}" for one in self.faults)]
        lines += [f"  (warning) {one}" for one in self.warnings]
        super().__init__("\n".join(lines))


class Faults:
    """Collects faults and warnings while the configuration is read."""

    def __init__(self) -> None:
        """Begin with none."""
        self.found: list[Fault] = []
        self.warnings: list[Fault] = []

    def add(self, setting: str, problem: str, remedy: str = "") -> None:
        """Record a fault. The same fault is recorded once, even if several entries share the setting."""
        fault = Fault(setting=setting, problem=problem, remedy=remedy)
        if fault not in self.found:
            self.found.append(fault)

    def warn(self, setting: str, problem: str, remedy: str = "") -> None:
        """Record a warning, which does not stop the start."""
        self.warnings.append(Fault(setting=setting, problem=problem, remedy=remedy))

    def raise_if_any(self) -> None:
        """Raises: ConfigInvalid with all faults recorded so far."""
        if self.found:
            raise ConfigInvalid(self.found, self.warnings)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name that is most like `name`, or where the names are listed."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else "remove it, or see docs/configuration.md"
