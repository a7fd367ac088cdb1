"""A slow link for ssh: `ProxyCommand python benchmarks/slow_link.py HOST PORT --ms 50 --mb-s 2`.

What goes either way comes half of the round trip later, and no faster than so many megabytes a second.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import Queue

PIECE_BYTES = 16 << 10


def carry(
    read: Callable[[int], bytes], write: Callable[[bytes], object], later_s: float, rate: float
) -> None:
    """Hand on what is read, later and no faster than `rate` bytes a second, until it ends."""
    pieces: Queue[tuple[float, bytes]] = Queue(64)

    def take() -> None:
        free_s = time.monotonic()
        while piece := read(PIECE_BYTES):
            free_s = max(free_s, time.monotonic()) + len(piece) / rate
            pieces.put((free_s + later_s, piece))
        pieces.put((0.0, b""))

    threading.Thread(target=take, daemon=True).start()
    while True:
        at_s, piece = pieces.get()
        if not piece:
            return
        time.sleep(max(0.0, at_s - time.monotonic()))
        write(piece)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--ms", type=float, default=50.0, help="the round trip it adds")
    parser.add_argument("--mb-s", type=float, default=2.0)
    asked = parser.parse_args()
    rate, later_s = 1e6 * asked.mb_s, asked.ms / 2000
    with socket.create_connection((asked.host, asked.port)) as there:
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def from_there(size: int) -> bytes:
            return there.recv(size)

        def to_here(piece: bytes) -> None:
            while piece:
                piece = piece[os.write(1, piece) :]

        threading.Thread(
            target=carry, args=(lambda size: os.read(0, size), there.sendall, later_s, rate), daemon=True
        ).start()
        carry(from_there, to_here, later_s, rate)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
