"""Leaderboards: reads through a cache, live boards over one socket each, administration."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from gateway.actions.admin.administer_leaderboards import AdministerLeaderboards
from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.closed_windows import ClosedWindows
from gateway.actions.boards.live_pages import LivePages
from gateway.actions.boards.read_leaderboard import ReadLeaderboard
from gateway.actions.boards.read_snapshots import ReadSnapshots
from gateway.actions.boards.watch_leaderboard import OpenBoard, WatchLeaderboard
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.cache.client import RedisCache
from gateway.cache.reads import RedisReadCache
from gateway.config import Config
from gateway.interceptors.validation import validate
from gateway.phoenix.gamification.realtime import RealtimeClient
from gateway.phoenix.host_log import HostLog
from gateway.phoenix.trust import following_trust
from gateway.resilience.clock import Clock
from gateway.server.process.inherited import WorkerSeat
from gateway.services.board_messages import BoardMessages
from gateway.services.leaderboard_admin import LeaderboardAdminService
from gateway.services.leaderboards import LeaderboardService
from gateway.streams.board_relay import BoardRelay
from gateway.streams.hub import Hub
from gateway.streams.shared_topics import SharedTopics
from gateway.streams.upstream import HubDependencies, OpenTopic
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Boards:
    """The services, and what they hold open: cached reads, sockets to Phoenix, and the hub that shares them.

    `relay` shows live boards to the other workers; None for a gateway of one process.
    """

    reads: CachedReads
    realtime: RealtimeClient
    hub: Hub
    relay: BoardRelay | None
    service: LeaderboardService
    admin_service: LeaderboardAdminService


def build_boards(
    config: Config,
    tenants: TenantDirectory[TenantContext],
    redis: RedisCache | None,
    hosts: HostLog,
    clock: Clock,
    metrics: Metrics,
    seat: WorkerSeat | None = None,
) -> Boards:
    """Return everything for leaderboards, not connected yet."""
    reads = CachedReads(
        clock=clock,
        settings=config.reads,
        shared=_shared_reads(config, redis, clock, metrics),
        on_lookup=metrics.cache_looked_up,
    )
    messages, closed = BoardMessages(), ClosedWindows()
    realtime = RealtimeClient(trust=lambda: following_trust(config.upstream_ca_file), clock=clock, hosts=hosts)
    open_topic: OpenTopic = OpenBoard(tenants, realtime, clock)
    if seat is not None:
        open_topic = SharedTopics(open_topic, seat.folder, seat.number, seat.workers, metrics.live_board_event)
    hub = Hub(
        HubDependencies(
            open_topic=open_topic,
            encode=messages.watched,
            clock=clock,
            new_epoch=lambda: uuid.uuid4().hex,
            random=random.random,
            on_event=metrics.live_board_event,
        )
    )
    live = LivePages(hub, messages, config.reads, clock, metrics.cache_looked_up)
    return Boards(
        reads=reads,
        realtime=realtime,
        hub=hub,
        relay=None if seat is None else BoardRelay(hub, clock, seat.boards_path),
        service=LeaderboardService(
            ReadLeaderboard(tenants, reads, messages, closed, clock, live),
            ReadSnapshots(tenants, reads, messages, closed, clock),
            WatchLeaderboard(tenants, hub),
            validate,
        ),
        admin_service=LeaderboardAdminService(AdministerLeaderboards(tenants, clock)),
    )


def _shared_reads(config: Config, redis: RedisCache | None, clock: Clock, metrics: Metrics) -> RedisReadCache | None:
    if redis is None or config.redis is None:
        return None
    return RedisReadCache(
        cache=redis,
        seal_keys=config.redis.seal_keys,
        clock=clock,
        on_event=lambda name: metrics.cache_looked_up("leaderboard", "refused"),
    )
