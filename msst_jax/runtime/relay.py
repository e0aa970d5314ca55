"""A relay to the coordinator of a run, which notices first that it has gone.

JAX's client for the coordinator ends its process with a trace of C++ in the moment in which the connection breaks, and
nothing in Python can come before it. Through a relay in the same process the connection does not break.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

BLOCK = 1 << 16  # bytes


def relay_to(address: str, lost: Callable[[], bool]) -> str:
    """Listens on this machine, and passes every connection on; returns the address to connect to instead.

    Args:
      address: HOST:PORT of the coordinator.
      lost: called once a connection to it has broken; returns whether the near end is to stay open nevertheless.
    """
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    far_address = (host.strip("[]"), int(port))
    threading.Thread(target=_accept, args=(listener, far_address, lost), daemon=True, name="relay").start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, address: tuple[str, int], lost: Callable[[], bool]) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(address)
        except OSError:  # it does not listen yet: the client tries again
            near.close()
            continue
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _relay(near, far, lost)


def _relay(near: socket.socket, far: socket.socket, lost: Callable[[], bool]) -> None:
    """Passes on both ways, each in a thread; a connection that the near end closes itself is not lost."""
    closed = threading.Event()

    def near_ended() -> bool:
        closed.set()
        return False

    def far_ended() -> bool:
        return not closed.is_set() and lost()

    for ends in ((near, far, near_ended), (far, near, far_ended)):
        threading.Thread(target=_pass_on, args=ends, daemon=True, name="relay passing").start()


def _pass_on(source: socket.socket, target: socket.socket, ended: Callable[[], bool]) -> None:
    """Copies what comes until either end closes; then closes both, unless `ended` says that the target stays open."""
    with suppress(OSError):
        while block := source.recv(BLOCK):
            target.sendall(block)
    if ended():
        return
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)  # wakes the other direction
        one.close()
