"""The parts of the process in the order of their start. `lifecycle.py` starts them, and stops them backwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from gateway.server.assembly.build import Gateway
from gateway.server.lifecycle import Part, background
from gateway.server.servers import Server


def parts_of(gateway: Gateway, servers: Sequence[Server]) -> list[Part]:
    """Return all parts. What a part uses comes before it; calls are served last."""
    controls, events, boards, wallet = gateway.controls, gateway.events, gateway.boards, gateway.wallet
    parts = [] if gateway.tracing is None else [Part(name="traces", stop=gateway.tracing.stop)]
    parts.append(Part(name="connections to Phoenix", stop=gateway.upstream.transport.close))
    if gateway.redis is not None:
        parts.append(Part(name="Redis", start=gateway.redis.start, stop=gateway.redis.close))
    parts += [
        Part(name="event ids", stop=events.memory.close),
        Part(name="board reads", stop=boards.reads.close),
        Part(name="live sockets", stop=boards.realtime.close),
        Part(name="live boards", stop=boards.hub.close),
    ]
    if boards.relay is not None:
        parts.append(Part(name="worker's live boards", start=boards.relay.start, stop=boards.relay.stop))
    if controls.trail is not None:
        parts.append(Part(name="audit log", start=_async(controls.trail.start), stop=controls.trail.stop))
    parts += [
        Part(name="list of switches", start=controls.watch.load),
        background("clock-steps", gateway.clock_steps.run),
        background("kill-switches", controls.watch.run),
        background("policy-limits", controls.follow_policy),
    ]
    if controls.sharing is not None:
        parts.append(background("limit-sharing", controls.sharing.run))
    if gateway.explaining.shared is not None:
        parts.append(background("call-stories", gateway.explaining.shared.run))
    parts += [
        Part(name="evidence store", start=wallet.store.start, stop=wallet.store.stop),
        Part(name="event queue", start=_async(events.queue.start), stop=events.queue.stop),
        Part(name="queue worker", start=_async(events.worker.start), stop=events.worker.stop),
        Part(name="evidence chain", stop=wallet.sequencer.stop),
        background("evidence-chain", wallet.sequencer.run),
    ]
    for keys in gateway.platform_keys:
        parts.append(Part(name="platform keys", stop=keys.stop))
        if not keys.is_static:  # a configured key is never fetched
            parts.append(background("platform-key-refresh", keys.run))
    parts += [
        Part(name="key trials", start=gateway.keyring.settle),
        background("key-files", gateway.keyring.watch),
        background("policy-file", gateway.policy_watch.run),
        background("secret-files", gateway.secrets.run),
    ]
    if gateway.keyring.uses_stores:
        follow = partial(gateway.keyring.follow_stores, gateway.secret_poll.every_s)
        parts += [Part(name="signers", stop=gateway.keyring.stop), background("signer-versions", follow)]
    if gateway.secret_poll.secrets:
        parts.append(background("secret-stores", gateway.secret_poll.run))
    admin_port = gateway.admin_port
    parts += [
        background("health", gateway.health.run),
        *(background("own-parts", own.run) for own in (gateway.health.own,) if own is not None),
        *(
            Part(name="worker's admin socket", start=worker.start, stop=worker.stop)
            for worker in (admin_port.worker,)
            if worker is not None
        ),
        Part(name="admin port", start=admin_port.server.start, stop=admin_port.server.stop),
    ]
    if admin_port.console is not None:
        parts.append(background("call-history", admin_port.console.history.run))
        parts.append(Part(name="console", stop=admin_port.console.console.stop))
    if admin_port.tls is not None:
        parts.append(background("admin-tls-files", partial(admin_port.tls.run, admin_port.server.use_tls)))
    if gateway.health.own is not None:
        # A client that checks health fails each call on a connection that says NOT_SERVING. Connections wait, and their
        # calls with them, until this process knows whether it is ready.
        parts.append(Part(name="first look", start=gateway.health.own.first_look))
    return [
        *parts,
        *(Part(name="gRPC server", start=server.start, stop=partial(server.stop, 0)) for server in servers),
    ]


def _async(start: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def begin() -> None:
        start()

    return begin
