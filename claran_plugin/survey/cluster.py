"""Images on the workers of a Dask cluster, of this machine or of another."""

import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from claran_plugin import __version__
from claran_plugin.errors import InputError
from claran_plugin.progress import Log
from claran_plugin.survey.listing import Pointing
from claran_plugin.survey.work import FAILED, Row, Settings, process

CONFIG = {
    'distributed.worker.daemon': False,  # PyBDSF has processes of its own
    'distributed.scheduler.allowed-failures': 2,
    'distributed.logging.distributed': 'error',
    'distributed.admin.low-level-log-length': 0,
}
VERSION = "__import__('claran_plugin').__version__"
IS_DAEMON = "__import__('multiprocessing').current_process().daemon"
THREADS = {name: '1' for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
"""One image per process and one thread each: the same numbers on any number of workers, and nobody waits."""


def process_all(
    pointings: Sequence[Pointing],
    settings: Settings,
    known: Mapping[str, Row],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    log: Log,
) -> Iterator[Row]:
    """Give each image's row as it is finished.

    An image whose worker dies is given to another one; when the third has died of it, it has failed.

    Parameters
    ----------
    pointings, settings
        See `work.process`.
    known : mapping of str to dict
        Rows of an earlier run, by name.
    workers : int, optional
        Processes of a cluster on this machine; by default one per core.
    scheduler : str, optional
        Address of a cluster that exists.
    log : Log

    Raises
    ------
    InputError
        Where Dask is missing, or there is no scheduler at the address.
    """
    try:
        from distributed import as_completed
    except ImportError as err:
        raise InputError('claran survey needs Dask: pip install claran_plugin[survey]') from err
    run = uuid.uuid4().hex[:12]  # others may use the same scheduler, and keys are names of results
    with _client(workers, scheduler, len(pointings)) as client:
        if scheduler is not None:
            _check_workers(client, scheduler, log, runs_pybdsf=not all(pointing.catalogue for pointing in pointings))
        info = client.scheduler_info()
        dashboard = f', dashboard at {client.dashboard_link}' if 'dashboard' in info.get('services', {}) else ''
        log.line(f'{len(info["workers"])} workers{dashboard}')
        futures = {
            client.submit(
                process, pointing, settings, known.get(pointing.name), key=f'claran-{run}-{pointing.name}'
            ): pointing
            for pointing in pointings
        }
        for future in as_completed(futures):
            pointing = futures.pop(future)
            if future.cancelled():
                raise InputError(
                    f'{scheduler or "the local cluster"}: the Dask scheduler is gone; start it again, and go on with '
                    '--resume'
                )
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                said = f'{type(error).__name__}: {error}'
                if type(error).__name__ == 'KilledWorker':
                    said = 'its workers died, perhaps for lack of memory; use fewer workers'
                yield dict(pointing._asdict(), state=FAILED, error=f'{pointing.image}: {" ".join(said.split())}')
            future.release()


@contextmanager
def _client(workers: int | None, scheduler: str | None, n_images: int) -> Iterator:
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(CONFIG):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout='10s')
            except (OSError, ValueError) as err:
                raise InputError(f'{scheduler}: no Dask scheduler answers there ({err}); check --scheduler') from err
            with client:
                yield client
            return
        number = min(workers or _cores(), n_images)
        options = dict(n_workers=number, threads_per_worker=1, dashboard_address='127.0.0.1:0')
        with dask.config.set({'distributed.nanny.pre-spawn-environ': THREADS}):
            with _interrupts_ignored():
                cluster = LocalCluster(**options, silence_logs=logging.CRITICAL)
            with cluster, Client(cluster) as client:
                yield client


def _cores() -> int:
    """Give the number of cores that this process may use."""
    from dask.system import CPU_COUNT

    return min(CPU_COUNT, len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else CPU_COUNT)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a while; processes that are started meanwhile always do, and leave it to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _check_workers(client: Any, scheduler: str, log: Log, *, runs_pybdsf: bool) -> None:
    """Raise InputError where workers that others have started cannot do the work; wait for the first one."""
    if not client.scheduler_info()['workers']:
        log.line(f'no workers at {scheduler} yet: waiting for one')
        client.wait_for_workers(1)
    # A builtin is asked, as a worker without this package could not even read a function of it.
    for address, version in client.run(eval, VERSION, on_error='return').items():
        if version != __version__:
            raise InputError(
                f'{address}: this worker has claran_plugin {version}, not {__version__}; start workers in an '
                'environment like this one'
            )
    if runs_pybdsf and any(client.run(eval, IS_DAEMON).values()):
        raise InputError(
            f'{scheduler}: its workers may not start processes, which PyBDSF does; set '
            'DASK_DISTRIBUTED__WORKER__DAEMON=False where they are started, or give catalogues'
        )
