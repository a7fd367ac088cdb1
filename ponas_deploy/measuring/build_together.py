"""Models that are built several at once, in this process: the next one begins while those before it go on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ponas_deploy.backends import Session
from ponas_deploy.backends.registry import on_cores_only
from ponas_deploy.machines.machine import this_machine

_MOST_BUILDERS = 4


def builders_for(backend: str, *, one_at_a_time: bool) -> int:
    """How many models of a runtime are built at once on this machine."""
    return min(_MOST_BUILDERS, this_machine().cores) if on_cores_only(backend) and not one_at_a_time else 1


def build_together(
    models: Mapping[str, Callable[[], Session]],
    builders: int,
    on_begin: Callable[[Sequence[str]], None],
    on_built: Callable[[str, Session, float], None],
) -> None:
    """Build models, `builders` of them at once.

    `on_begin` is called with the keys under way, the one that begins now last; `on_built` with a key, its
    session and the seconds since the one before, in the order of `models`. What builds raise is raised here.
    """
    under_way: deque[tuple[str, Future[Session]]] = deque()
    last_s = time.monotonic()

    def finish() -> None:
        nonlocal last_s
        key, built = under_way.popleft()
        on_built(key, built.result(), time.monotonic() - last_s)
        last_s = time.monotonic()

    with ThreadPoolExecutor(builders) as pool:
        # One by one they are built in this thread, where Ctrl-C reaches the runtime.
        submit = pool.submit if builders > 1 else _at_once
        try:
            for key, build in models.items():
                on_begin([*(name for name, _ in under_way), key])
                under_way.append((key, submit(build)))
                if len(under_way) == builders:
                    finish()
            while under_way:
                finish()
        finally:
            for _, built in under_way:
                built.add_done_callback(_close)


def _at_once(build: Callable[[], Session]) -> Future[Session]:
    """What an executor does, in this thread."""
    built: Future[Session] = Future()
    built.set_result(build())
    return built


def _close(built: Future[Session]) -> None:
    """Of a session that nobody takes, because another one was refused."""
    if not built.exception():
        built.result().close()
