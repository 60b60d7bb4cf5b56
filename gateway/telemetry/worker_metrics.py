"""Merges the metrics of several workers into one page: one HELP and TYPE for each metric, and a label `worker`.

Pure. In either text format and in protobuf. Sums are left to the reader (`sum without (worker)`): a sum over workers
would fall when one of them is restarted, and a counter that falls looks like a reset of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.telemetry.metrics_protobuf import FAMILY_METRIC, FAMILY_NAME, label_pair
from gateway.telemetry.protobuf_wire import bytes_field, delimited, read_delimited, read_fields

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


def merged_messages(pages: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield one MetricFamily for each metric, after empty parts between which the caller can do something else.

    The label is written in front of the other fields of a series: their order means nothing.
    Args: `pages`: the protobuf format of each worker, by its number.
    Raises: ValueError if a page is no such format.
    """
    heads: dict[bytes, bytes] = {}
    series: dict[bytes, list[bytes]] = {}
    for worker, page in pages.items():
        label = label_pair(LABEL, worker)
        for message in read_delimited(page):
            fields = list(read_fields(message))
            name = next((content for number, content, _ in fields if number == FAMILY_NAME), b"")
            heads.setdefault(name, b"".join([raw for number, _, raw in fields if number != FAMILY_METRIC]))
            known = series.setdefault(name, [])
            known += [bytes_field(FAMILY_METRIC, label + one) for number, one, _ in fields if number == FAMILY_METRIC]
            yield b""
    for name, head in heads.items():
        yield delimited(head + b"".join(series[name]))


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
