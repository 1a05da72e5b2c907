"""The services that give cut-outs of FIRST and WISE images, through astroquery.

FIRST comes from its own cut-out server (`astroquery.image_cutouts.first`), WISE (AllWISE Atlas, W1) from IRSA: the tile
is found with `astroquery.ipac.irsa`, and IRSA's image server cuts it (https://irsa.ipac.caltech.edu/ibe/cutouts.html).
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from claran_plugin.errors import InputError

TIMEOUT_S = 60.0
"""So long a service may be silent."""
_EXTRA = 'pip install "claran_plugin[fetch]"'

Service = Callable[[SkyCoord, float], bytes]
"""From a position and a side in arcmin to the content of a FITS file."""


class NoImageError(Exception):
    """A service has no such image."""


class UnreachableError(NoImageError):
    """A service does not answer at all."""


def first_service(connection: Any, url: str | None = None) -> Service:
    """Give the function that fetches a cut-out of FIRST; `url` is the address of another cut-out server."""
    from astroquery import cache_conf
    from astroquery.image_cutouts.first import FirstClass

    service = FirstClass()
    service.URL = url or service.URL
    service.TIMEOUT = TIMEOUT_S
    _mount(service._session, connection)

    def fetch(position: SkyCoord, size_arcmin: float) -> bytes:
        with cache_conf.set_temp('cache_active', False):  # it would keep faulty answers too
            response = service.get_images_async(position, image_size=size_arcmin * u.arcmin)
        response.raise_for_status()
        return response.content

    return fetch


def wise_service(connection: Any, url: str | None = None) -> Service:
    """Give the function that fetches a cut-out of WISE W1; `url` is the address of another SIA2 service."""
    import requests
    from astroquery.ipac.irsa import IrsaClass

    service, session = IrsaClass(), requests.Session()
    service.sia_url = url or service.sia_url
    for each in (service._session, session):
        _mount(each, connection)

    def fetch(position: SkyCoord, size_arcmin: float) -> bytes:
        tiles = service.query_sia(pos=(position, 1 * u.arcsec), collection='wise_allwise')
        tiles = tiles[(tiles['energy_bandpassname'] == 'W1') & (tiles['dataproduct_subtype'] == 'science')]
        if not len(tiles):
            raise NoImageError('no WISE tile there')
        nearest = tiles[int(np.argmin(SkyCoord(tiles['s_ra'], tiles['s_dec'], unit='deg').separation(position)))]
        cut = f'center={position.ra.deg:.6f},{position.dec.deg:.6f}deg&size={size_arcmin:g}arcmin&gzip=false'
        response = session.get(f'{nearest["access_url"]}?{cut}')
        response.raise_for_status()
        return response.content

    return fetch


SERVICES: dict[str, Callable[[Any, str | None], Service]] = {'first': first_service, 'wise': wise_service}


def connect(pause_s: float) -> Any:
    """Make what sends the requests of all services, never sooner than a pause after the one before."""
    try:
        import astroquery  # noqa: F401
        from requests.adapters import HTTPAdapter
    except ImportError as err:
        raise InputError(f'astroquery, which fetches the images, is not installed ({err}): {_EXTRA}') from err

    class Polite(HTTPAdapter):
        last = -np.inf

        def send(
            self,
            request: Any,
            stream: bool = False,
            timeout: Any = None,
            verify: Any = True,
            cert: Any = None,
            proxies: Any = None,
        ) -> Any:
            time.sleep(max(self.last + pause_s - time.monotonic(), 0))
            try:
                return super().send(request, stream, timeout or TIMEOUT_S, verify, cert, proxies)
            finally:
                self.last = time.monotonic()

    return Polite()


def _mount(session: Any, connection: Any) -> None:
    for scheme in ('http://', 'https://'):
        session.mount(scheme, connection)
