"""Jobs over processes, one a core, such that a process that dies takes only its own clip with it."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext

from viseme.core.prepare.journal import ClipRecord, Journal, source_mark
from viseme.core.prepare.worker import Job, run_job, single_threaded, start_worker

__all__ = ["died", "run_jobs"]

_QUEUED = 2
"""Jobs handed out per worker, so that none waits for its next."""


def run_jobs(jobs: Iterable[Job], workers: int) -> Iterator[ClipRecord]:
    """Run jobs and yield their records as they end. With one worker, in this process; closing the iterator stops."""
    if workers == 1:
        with single_threaded():
            yield from map(run_job, jobs)
        return
    waiting, suspects = deque(jobs), deque[Job]()
    while waiting or suspects:
        if suspects:  # a process died with these in its pool: each alone now, to find the one that does it
            job = suspects.popleft()
            left = yield from _drain(deque([job]), 1)
            if left:
                yield died(job)
        else:
            suspects.extend((yield from _drain(waiting, workers)))


def _drain(waiting: deque[Job], workers: int) -> Generator[ClipRecord, None, list[Job]]:
    """Run `waiting` in one pool until it is empty or the pool breaks; returns the jobs that were under way then."""
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=start_worker)
    running: dict[Future[ClipRecord], Job] = {}
    lost: list[Job] = []
    try:
        while (waiting or running) and not lost:
            while waiting and len(running) < _QUEUED * workers:
                running[pool.submit(run_job, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(job)
        for future, job in running.items():
            if future.done() and future.exception() is None:
                yield future.result()
            else:
                lost.append(job)
        running.clear()
    except BrokenProcessPool:  # it broke before the next job was in
        lost.extend(running.values())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return lost


def died(job: Job) -> ClipRecord:
    """The record of a clip on which its process died; remembered."""
    reason = "the process died on this clip (out of memory, or a decoder)"
    record = ClipRecord(job.row.id, "failed", source_mark(job.source, job.row), reason=reason)
    Journal(job.store).append(record)
    return record


def _context() -> BaseContext:
    """Fresh processes: forking one that runs threads (OpenCV, ONNX, PyTorch) can deadlock. From a server that has the
    imports done already, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["viseme.core.prepare.worker"])
    return context
