"""Executors on this machine: this process, or several. They know nothing of datasets."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for_any
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any

#: Tasks that may only run one after another, each the arguments of one call.
Lane = Sequence[tuple[Any, ...]]
#: Calls a function with the arguments of every task, and gives the results as they come.
Runner = Callable[[Callable[..., Any], Iterable[Lane]], Iterator[Any]]
#: Tasks handed out for each worker: it has the next one at hand when it is done.
AHEAD = 2
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerLost(Exception):
    """A process that computes ended without a result, or cannot be reached any more."""


class Queue:
    """Tasks in order, with at most one of a lane handed out at a time."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._free: deque[Iterator[tuple[Any, ...]]] = deque(iter(lane) for lane in lanes)

    def take(self) -> tuple[Iterator[tuple[Any, ...]], tuple[Any, ...]] | None:
        """A lane and the next task of it; None if all lanes are busy or empty."""
        while self._free:
            lane = self._free.popleft()
            for task in lane:
                return lane, task
        return None

    def release(self, lane: Iterator[tuple[Any, ...]]) -> None:
        """Say that the task taken from a lane is done."""
        self._free.append(lane)


@contextlib.contextmanager
def this_process() -> Iterator[Runner]:
    """A runner that computes one task after another, here."""

    def run(work: Callable[..., Any], lanes: Iterable[Lane]) -> Iterator[Any]:
        for lane in lanes:
            for task in lane:
                yield work(*task)

    yield run


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Runner]:
    """A runner over processes of this machine, of one thread each, which start at once.

    They leave Ctrl-C to this process, and stop at once when the ``with`` statement is left by an error or when this
    process ends, for any reason.
    """
    context = multiprocessing.get_context("spawn")
    stopped, stop = context.Pipe(duplex=False)
    with single_threaded_children():
        pool = ProcessPoolExecutor(workers, context, _start_worker, (stopped,))
        for _ in range(workers):
            pool.submit(_nothing)
    try:
        yield lambda work, lanes: _run(pool, workers, work, lanes)
    except BaseException:
        stop.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        stop.close()
        stopped.close()


def _run(pool: ProcessPoolExecutor, workers: int, work: Callable[..., Any], lanes: Iterable[Lane]) -> Iterator[Any]:
    queue, running = Queue(lanes), dict[Future[Any], Iterator[tuple[Any, ...]]]()
    try:
        while True:
            while len(running) < AHEAD * workers and (taken := queue.take()):
                with single_threaded_children():
                    running[pool.submit(work, *taken[1])] = taken[0]
            if not running:
                return
            for future in wait_for_any(running, return_when=FIRST_COMPLETED).done:
                queue.release(running.pop(future))
                yield future.result()
    except BrokenProcessPool:
        raise WorkerLost("a worker process died (killed, or out of memory)") from None


def _nothing() -> None:
    """The first task of a process: by then it has started."""


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """Processes started within compute with one thread each; workers are meant to be the only parallelism."""
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(stopped: Connection) -> None:
    """Leave Ctrl-C to the parent, and end with it, or when it closes its end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        signals = [parent.sentinel, stopped]
        threading.Thread(target=lambda: (wait(signals), os._exit(1)), daemon=True).start()
