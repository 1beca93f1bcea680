"""An SSH server with SFTP for tests, in this process: asyncssh, while the client is paramiko."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import asyncssh

USER = "tester"


class SshServer:
    """Serves the files that this user may see, to whoever has the key in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ssh = home / ".ssh"
        ssh.mkdir(parents=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(ssh / "id_ed25519"))
        (ssh / "id_ed25519").chmod(0o600)
        self._client_key = key
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Any = None
        self.port = 0
        self._connections: list[Any] = []

    def start(self) -> SshServer:
        if not self._thread.is_alive():
            self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        host = self._host_key.export_public_key().decode().strip()
        known = self.home / ".ssh" / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {host}\n")
        return self

    async def _listen(self) -> None:
        public = self._client_key.export_public_key().decode()
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Noting(self._connections),
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(public),
            sftp_factory=True,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Ends all connections at once."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.abort()
        self._connections.clear()
        await self._server.wait_closed()

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, folder: Path) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}{folder}"


class _Noting(asyncssh.SSHServer):
    """Notes the connections, so that they can be ended."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections

    def connection_made(self, conn: Any) -> None:
        self._connections.append(conn)
