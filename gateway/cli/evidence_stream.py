"""Reads an export of evidence from a running gateway, resumes interrupted streams, and shows progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from gateway.cli.connect import open_channel
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc

TlsFiles = tuple[Path | None, Path | None, Path | None]
_ENVIRONMENTS = {
    None: common_pb2.PHOENIX_ENVIRONMENT_UNSPECIFIED,
    "sandbox": common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
    "prod": common_pb2.PHOENIX_ENVIRONMENT_PROD,
}
_STREAM_S = 120.0
"""Longest life of a stream, so that a dead connection is noticed. The export resumes on a new stream."""
_TRIES = 5
_CUT_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Which evidence to read: received from `start` on (None: the first), before `end`. Times are aware, UTC."""

    operator_code: str
    environment: str | None
    start: datetime | None
    end: datetime
    omit_bodies: bool
    include_chain: bool = False
    """Whether the export includes the chain, which `EvidenceStream.take_chain` gets."""


@dataclass(slots=True, kw_only=True)
class EvidenceStream:
    """Iterates over the evidence, each operation once. Raises: grpc.RpcError, WrongOptions."""

    options: ExportOptions
    target: str
    tls: TlsFiles
    count: int = 0
    take_chain: Callable[[wallet_pb2.ExportWalletEvidenceResponse], None] | None = None
    """Gets every part before its evidence is yielded. Set it together with `include_chain`."""
    settled: datetime | None = None
    """Everything received before this time has been read."""
    _token: str = ""
    _recent: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """Whether no more moves can be added to the period."""
        return self.settled is not None and self.options.end <= self.settled

    def __iter__(self) -> Iterator[wallet_pb2.WalletEvidence]:
        with open_channel(self.target, *self.tls) as channel:
            stub = wallet_pb2_grpc.WalletServiceStub(channel)
            failures = 0
            while True:
                before = self._token
                try:
                    for part in stub.ExportWalletEvidence(self._request(), timeout=_STREAM_S):
                        yield from self._taken(part)
                    return
                except grpc.RpcError as error:
                    failures = failures + 1 if self._token == before else 1
                    if not _is_cut_off(error) or not self._token or failures == _TRIES:
                        raise
                time.sleep(0.2 * 2**failures)  # the gateway restarts, or another one takes the connection

    def _request(self) -> wallet_pb2.ExportWalletEvidenceRequest:
        request = wallet_pb2.ExportWalletEvidenceRequest(
            operator_code=self.options.operator_code,
            environment=_ENVIRONMENTS[self.options.environment],
            page_token=self._token,
            omit_bodies=self.options.omit_bodies,
            include_chain=self.options.include_chain,
        )
        if self.options.start is not None:
            request.start_time.FromDatetime(self.options.start)
        request.end_time.FromDatetime(self.options.end)
        return request

    def _taken(self, part: wallet_pb2.ExportWalletEvidenceResponse) -> Iterator[wallet_pb2.WalletEvidence]:
        if self.take_chain is not None:
            self.take_chain(part)
        for evidence in part.evidence:
            if evidence.operation_id in self._recent:
                continue
            if evidence.receive_time.ToMicroseconds() >= part.settle_time.ToMicroseconds():
                self._recent.add(evidence.operation_id)  # the next page may repeat it
            self.count += 1
            yield evidence
        self._token = part.next_page_token
        if part.HasField("settle_time"):
            self.settled = part.settle_time.ToDatetime(tzinfo=UTC)


def _is_cut_off(error: Exception) -> bool:
    return isinstance(error, grpc.Call) and error.code() in _CUT_OFF


def with_progress(stream: EvidenceStream, take: Callable[[wallet_pb2.WalletEvidence], None]) -> None:
    """Hand every operation to `take`, with a bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        end = stream.options.end.timestamp()
        start = None if stream.options.start is None else stream.options.start.timestamp()
        task = progress.add_task("evidence", total=None)
        for evidence in stream:
            take(evidence)
            if stream.count % 500 == 1:
                at = evidence.receive_time.ToMicroseconds() / 1_000_000
                start = at if start is None else start
                progress.update(
                    task,
                    description=f"{stream.count:,} moves",
                    total=max(end - start, 1e-6),
                    completed=max(at - start, 0.0),
                )
