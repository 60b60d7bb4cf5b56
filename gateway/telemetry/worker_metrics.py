"""Merges the metrics of several workers into one page: one HELP and TYPE for each metric, and a label `worker`.

Pure. Sums are left to the reader (`sum without (worker)`): a sum over workers would fall when one of them is restarted,
and a counter that falls looks like a reset of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LABEL = "worker"


@dataclass(slots=True)
class _Family:
    head: list[str]
    samples: list[str] = field(default_factory=list)


def merged(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield one text for each metric. Args: `texts`: the Prometheus text format of each worker, by its number."""
    families: dict[str, _Family] = {}
    for worker, text in texts.items():
        for head, samples in _families(text):
            name = head[-1].split(" ", 3)[2]
            family = families.setdefault(name, _Family(head))
            family.samples += [_labelled(sample, worker) for sample in samples]
    for family in families.values():
        yield "\n".join([*family.head, *family.samples, ""])


def _families(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the comments of each metric and its samples."""
    head: list[str] = []
    samples: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP ") and head:  # it comes first, also of a metric without samples
            yield head, samples
            head, samples = [], []
        if line == "# EOF":  # of OpenMetrics; whoever puts the page together ends it once
            continue
        if line.startswith("#"):
            head.append(line)
        elif line:
            samples.append(line)
    if head:
        yield head, samples


def _labelled(sample: str, worker: str) -> str:
    """Return the sample with the label in front: label values may hold any character, names none of `{` and blank."""
    brace, blank = sample.find("{"), sample.find(" ")
    own = f'{LABEL}="{worker}"'
    if 0 <= brace < blank:
        return f"{sample[: brace + 1]}{own},{sample[brace + 1 :]}"
    return f"{sample[:blank]}{{{own}}}{sample[blank:]}"
