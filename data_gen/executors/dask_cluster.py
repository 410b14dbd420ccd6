"""Tasks computed on a Dask cluster. The only file that imports Dask, and only when it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data_gen.errors import DatasetError
from data_gen.executors.local import AHEAD, Lane, Queue, Runner, WorkerLost, single_threaded_children

#: Seconds to wait for a scheduler to answer.
CONNECT_SECONDS = 10
#: Seconds without any result after which a cluster without workers is given up.
IDLE_SECONDS = 30


@contextlib.contextmanager
def dask_cluster(address: str, workers: int, *, function: str = "generate") -> Iterator[Runner]:
    """A runner over a Dask cluster.

    Args:
        address: that of its scheduler, such as tcp://host:8786; "local" starts one here.
        workers: processes of a local one, of one thread each.
        function: who asks, for messages.

    Raises:
        ValueError: Dask is not installed, or the address is not one.
        DatasetError: nothing answers at the address.
    """
    try:
        import distributed
    except ImportError:
        raise ValueError(
            f"{function}: `dask` must be None where Dask is not installed; got {address!r}. Install it: "
            f"pip install 'sciml-cf[dask]'."
        ) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        if address == "local":
            stack.enter_context(single_threaded_children())
            with _children_leave_ctrl_c():
                cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",  # else a port of note, which may be taken
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            stack.enter_context(cluster)
        else:
            _check_address(address, function)
            cluster = address
        client = stack.enter_context(distributed.Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False))
        yield lambda work, lanes: _run(client, work, lanes, function)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loggers of Dask and of its loop: their errors come as exceptions.

    The loop's logs an unbound name in ``distributed.utils.sync`` where Ctrl-C comes before a call has begun.
    """
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado.application")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _children_leave_ctrl_c() -> Iterator[None]:
    """Processes started within ignore Ctrl-C, which is this process's to handle: they inherit that it is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _check_address(address: str, function: str) -> None:
    """Connect to a scheduler once; a ``Client`` that finds none would linger and complain when it is collected."""
    from distributed import Security
    from distributed.comm.core import connect

    async def greet() -> None:
        settings = Security().get_connection_args("client")
        comm = await connect(address, timeout=CONNECT_SECONDS, **settings)
        await comm.close()

    try:
        with ThreadPoolExecutor(1) as thread:  # as a notebook has a loop running in this one
            thread.submit(lambda: asyncio.run(greet())).result()
    except (TimeoutError, OSError, MemoryError) as error:  # of memory where something else answers, with any length
        reason = " ".join(str(error).split()) or "no answer in time"
        raise DatasetError(
            f"{function}: no Dask scheduler can be reached at {address} ({reason}). Check the address, or use "
            f"dask='local' (--dask local)."
        ) from None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{function}: `dask` must be 'local' or a scheduler's address such as tcp://host:8786; got {address!r} "
            f"({error})."
        ) from None


def _run(client: Any, work: Callable[..., Any], lanes: Iterable[Lane], function: str) -> Iterator[Any]:
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    queue, running = Queue(lanes), dict[Any, Iterator[tuple[Any, ...]]]()
    try:
        while True:
            most = AHEAD * max(1, sum(client.nthreads().values()))
            while len(running) < most and (taken := queue.take()):
                running[client.submit(work, *taken[1], pure=False)] = taken[0]
            if not running:
                return
            for future in _finished(client, list(running)):
                queue.release(running.pop(future))
                yield future.result()
    except KilledWorker:
        raise WorkerLost("workers of the Dask cluster died again and again (killed, or out of memory)") from None
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise WorkerLost(f"the Dask cluster was lost ({str(error) or type(error).__name__})") from None
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"{function}: the workers of the Dask cluster have no module {error.name!r}. Install sciml-cf there, of "
            f"the same version."
        ) from None
    finally:
        if running:
            client.cancel(list(running))


def _finished(client: Any, futures: list[Any]) -> set[Any]:
    """Those of the futures that are done, at least one."""
    from distributed import wait

    while True:
        try:
            with client.as_current():
                finished: Any = wait(futures, timeout=IDLE_SECONDS, return_when="FIRST_COMPLETED")
                return finished.done
        except TimeoutError:
            if not client.nthreads():
                raise WorkerLost(f"the Dask cluster had no worker for {IDLE_SECONDS} s") from None
