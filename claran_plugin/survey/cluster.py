"""Images on the workers of a Dask cluster, of this machine or of another."""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from claran_plugin.errors import InputError
from claran_plugin.progress import Log
from claran_plugin.survey.listing import Pointing
from claran_plugin.survey.work import FAILED, Row, Settings, process

CONFIG = {
    'distributed.worker.daemon': False,  # PyBDSF has processes of its own
    'distributed.scheduler.allowed-failures': 3,
    'distributed.logging.distributed': 'error',
    'distributed.admin.low-level-log-length': 0,
}
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
        log.line(f'{len(client.scheduler_info()["workers"])} workers, dashboard at {client.dashboard_link}')
        futures = {
            client.submit(
                process, pointing, settings, known.get(pointing.name), key=f'claran-{run}-{pointing.name}'
            ): pointing
            for pointing in pointings
        }
        for future in as_completed(futures):
            pointing = futures.pop(future)
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
        number = min(workers or os.cpu_count() or 1, n_images)
        with (
            dask.config.set({'distributed.nanny.pre-spawn-environ': THREADS}),
            LocalCluster(n_workers=number, threads_per_worker=1, dashboard_address='127.0.0.1:0') as cluster,
            Client(cluster) as client,
        ):
            yield client
