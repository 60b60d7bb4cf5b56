"""Reads Prometheus's protobuf format with the message classes of its published definition, which protoc compiles."""

from __future__ import annotations

import importlib.resources
import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.proto import parse_length_prefixed
from grpc_tools import protoc

DEFINITION = Path(__file__).parent / "telemetry" / "client_model.proto"
ACCEPT = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends when it takes native histograms."""


@cache
def family_class() -> Any:
    """Return the class of MetricFamily, from a pool of its own."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled"
        standard = importlib.resources.files("grpc_tools") / "_proto"
        words = ["protoc", f"-I{DEFINITION.parent}", f"-I{standard}", "--include_imports"]
        assert protoc.main([*words, f"--descriptor_set_out={compiled}", str(DEFINITION)]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))


def families(page: bytes) -> dict[str, Any]:
    """Return the families of a page by name. No field is unknown to the definition, and no family comes twice."""
    found: dict[str, Any] = {}
    stream = io.BytesIO(page)
    while (family := parse_length_prefixed(family_class(), stream)) is not None:
        assert family.name not in found
        assert family.SerializeToString() == _without_unknown(family).SerializeToString()
        found[family.name] = family
    return found


def labels_of(metric: Any) -> dict[str, str]:
    """Return the labels of a series, or of an exemplar."""
    assert len({pair.name for pair in metric.label}) == len(metric.label)
    return {pair.name: pair.value for pair in metric.label}


def counts_of(histogram: Any) -> dict[int, int]:
    """Return the counts of the exponential buckets, as the format's specification adds up spans and deltas."""
    found, bucket, count, deltas = {}, 0, 0, iter(histogram.positive_delta)
    for span in histogram.positive_span:
        bucket += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[bucket] = count
            bucket += 1
    assert next(deltas, None) is None
    return found


def _without_unknown(family: Any) -> Any:
    copy = type(family)()
    copy.CopyFrom(family)
    copy.DiscardUnknownFields()
    return copy
