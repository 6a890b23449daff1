"""Jobs over a Ray cluster (extra `cluster`): a node or process that dies costs its clip one more try."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from viseme.core.errors import ConfigError, DependencyError
from viseme.core.prepare.journal import ClipRecord
from viseme.core.prepare.pool import died
from viseme.core.prepare.worker import Job, run_job, single_threaded

__all__ = ["run_jobs_on_ray"]

_QUEUED = 2
"""Jobs handed out per core, so that none waits for its next."""
_TRIES = 2
"""Further tries of a clip whose process died: the first may have been another's fault (memory, a lost node)."""


def run_jobs_on_ray(jobs: Iterable[Job], workers: int | None = None) -> Iterator[ClipRecord]:
    """Run jobs on the Ray cluster that this machine belongs to (RAY_ADDRESS, or the one started here; or the one that
    this process is connected to) and yield their records as they end. All nodes must see the same files.

    Args:
        workers: jobs at work at once; the cluster's cores by default.

    Raises:
        DependencyError: no ray.
        ConfigError: no cluster.
    """
    ray = _connected()
    work = ray.remote(num_cpus=1, max_retries=_TRIES, retry_exceptions=False)(_run)
    waiting, running = deque(jobs), dict[Any, Job]()
    try:
        while waiting or running:
            cores = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < (workers or _QUEUED * cores):
                job = waiting.popleft()
                running[work.remote(job)] = job
            ended, _ = ray.wait(list(running), num_returns=1)
            for reference in ended:
                job = running.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError:  # its process died each time
                    yield died(job)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _run(job: Job) -> ClipRecord:
    with single_threaded():
        return run_job(job)


def _connected() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DependencyError("this executor needs ray", hint="pip install 'viseme-core[cluster]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError as error:
            hint = "Start one with `ray start --head`, and set RAY_ADDRESS where it is elsewhere."
            raise ConfigError("there is no Ray cluster here", hint=hint) from error
    return ray
