"""channelz: gRPC's own view of its servers, channels and sockets, for `grpcdebug` and `grpcurl` on the admin port.

A small gRPC server of its own on a private Unix socket, since on the public listener channelz would tell every caller
of all others. The admin port leads there (`admin.py`); reflection is with it, so that grpcurl needs no files.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import grpc

_SERVICE = "grpc.channelz.v1.Channelz"


class ChannelzServer:
    """Serves channelz on a socket in a directory that only this user can enter."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._server: grpc.aio.Server | None = None

    @property
    def socket_path(self) -> str:
        """The Unix socket, once started."""
        if self._folder is None:
            raise RuntimeError("not started")
        return str(self._folder / "channelz.sock")

    async def start(self) -> None:
        """Listen. Raises: RuntimeError where the socket cannot be made."""
        from grpc_channelz.v1 import channelz  # only who asks for channelz pays for it
        from grpc_reflection.v1alpha import reflection

        self._folder = Path(tempfile.mkdtemp(prefix="phoenix-gateway-"))  # made with mode 0700
        # Off for this server itself: a look into it would be all it has to show.
        self._server = grpc.aio.server(options=[("grpc.enable_channelz", 0), ("grpc.so_reuseport", 0)])
        channelz.add_channelz_servicer(self._server)
        reflection.enable_server_reflection([_SERVICE, reflection.SERVICE_NAME], self._server)
        self._server.add_insecure_port(f"unix:{self.socket_path}")
        await self._server.start()

    async def stop(self) -> None:
        """Close it and remove the socket."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
