"""The counts of one histogram, in cells so fine that both forms follow from them: classic buckets and exponential ones.

A cell ends at each bound of either form, so that an observation costs one search and one addition; a logarithm for each
would cost more than the rest of it. Belongs to the event loop's thread, which counts and renders.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from gateway.telemetry.histogram_scale import SCHEMA, Exponential, bounded, bucket_of, upper_bound
from gateway.telemetry.metric_names import Metric
from gateway.telemetry.spans import Span, ids_of

LEAST_OCTAVE, LAST_OCTAVE = -15, 20
"""From 31 microseconds, up to which an amount counts as zero, to 12 days. What takes longer counts as a bit longer."""


class Cells:
    """Where the cells of a metric end, and which bucket has which cells."""

    __slots__ = ("_buckets", "_slices", "bounds", "is_native", "texts")

    def __init__(self, metric: Metric) -> None:
        """Args: `metric`: a histogram. One that is not native has its classic buckets as cells."""
        fine = range(LEAST_OCTAVE << SCHEMA, (LAST_OCTAVE << SCHEMA) + 1) if metric.is_native else ()
        self.bounds = tuple(sorted({*metric.buckets, *(upper_bound(bucket, SCHEMA) for bucket in fine)}))
        """Search them with `bisect_left`; the last cell, for what exceeds all of them, has none."""
        self.texts = tuple(_text(bound) for bound in (*metric.buckets, math.inf))
        """The bounds of the classic buckets, as Prometheus writes them."""
        self.is_native = metric.is_native
        ends = [bisect_left(self.bounds, bound) + 1 for bound in metric.buckets]
        self._slices = tuple(zip((0, *ends), (*ends, len(self.bounds) + 1), strict=True))
        buckets = [bucket_of(bound, SCHEMA) for bound in self.bounds] if metric.is_native else []
        self._buckets = (*buckets, buckets[-1] + 1) if buckets else ()

    def empty(self) -> list[int]:
        """Return the counts of a new series."""
        return [0] * (len(self.bounds) + 1)

    def classic(self, counts: Sequence[int]) -> list[int]:
        """Return the counts by classic bucket, the last for what exceeds all of them."""
        return [sum(counts[begin:end]) for begin, end in self._slices]

    def exponential(self, counts: Sequence[int]) -> Exponential:
        """Return the counts by exponential bucket. The metric is native."""
        zeros, found = 0, dict[int, int]()
        for bucket, count in zip(self._buckets, counts, strict=True):
            if not count:
                continue
            if bucket <= LEAST_OCTAVE << SCHEMA:
                zeros += count
            else:
                found[bucket] = found.get(bucket, 0) + count
        return bounded(Exponential(schema=SCHEMA, zero_threshold=2.0**LEAST_OCTAVE, zeros=zeros, counts=found))


def _text(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series at a scrape. `counts`: by cell; `exemplars`: by classic bucket."""

    labels: tuple[str, ...]
    counts: Sequence[int]
    total: float
    exemplars: Mapping[int, Exemplar]


class CellFamily(Family):
    """A histogram at a scrape. Its samples, the classic buckets, are made when the text formats ask for them."""

    def __init__(self, metric: Metric, cells: Cells) -> None:
        self._samples: list[Sample] | None = None
        self.metric = metric
        self.cells = cells
        self.series: list[Series] = []
        super().__init__(metric.name, metric.help, "histogram")

    @property
    def samples(self) -> list[Sample]:
        """As the library's renderers want them."""
        if self._samples is None:
            self._samples = [sample for series in self.series for sample in self._samples_of(series)]
        return self._samples

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        self._samples = samples or None

    def add(
        self, labels: tuple[str, ...], counts: Sequence[int], total: float, exemplars: Mapping[int, Exemplar]
    ) -> None:
        """Add a series as it is now: it is rendered later, and calls run in between."""
        self.series.append(Series(labels=labels, counts=tuple(counts), total=total, exemplars=dict(exemplars)))

    def _samples_of(self, series: Series) -> Iterator[Sample]:
        labels = dict(zip(self.metric.labels, series.labels, strict=True))
        total = 0
        for at, count in enumerate(self.cells.classic(series.counts)):
            total += count
            own = {**labels, "le": self.cells.texts[at]}
            yield Sample(f"{self.name}_bucket", own, total, exemplar=series.exemplars.get(at))
        yield Sample(f"{self.name}_count", labels, total)
        yield Sample(f"{self.name}_sum", labels, series.total)


def exemplar_of(span: Span, amount: float) -> Exemplar:
    """Return an amount as an example that names its trace."""
    return Exemplar(ids_of(span), amount, time.time())
