"""A socket and a server around the application."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

import uvicorn

from ctfgan.core.errors import ConfigError
from ctfgan.sampling import Model
from ctfgan.web.app import create_app
from ctfgan.web.guard import LOOPBACK
from ctfgan.web.limits import Limits

GOODBYE_SECONDS = 5  # that answers under way have when the server is told to end


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which nobody is answered on yet.

    Raises:
        ConfigError: the address is taken, not allowed or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host} is no address of this machine ({error}); use 127.0.0.1") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another --port, or 0 for a free one"
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """What a browser on this machine opens."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ip_address(bound.getsockname()[0]).is_loopback


def known_hosts(host: str, bound: socket.socket) -> set[str]:
    """Names in the Host header of honest requests; ``*`` for any plain address."""
    if is_loopback(bound):
        return {*LOOPBACK, host}
    own = socket.gethostname().lower()
    return {*LOOPBACK, host, own, f"{own}.local", "*"}


def serve(model: Model, limits: Limits, host: str, bound: socket.socket, on_start: Callable[[], None]) -> None:
    """Answer until a signal ends it: Ctrl-C becomes KeyboardInterrupt, as everywhere.

    Args:
        model: what is served.
        limits: of what a visitor may ask.
        host: as it was asked for.
        bound: from :func:`open_socket`; closed at the end.
        on_start: called when requests are about to be taken.
    """

    def start() -> None:
        bound.listen()  # whoever comes from now on waits a moment, and is not turned away
        on_start()

    app = create_app(model, limits, known_hosts(host, bound), start)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # an address that a visitor claims would pass every limit
        ws="none",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(config).run(sockets=[bound])
