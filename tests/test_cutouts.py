"""Fetching cut-outs from a server on this machine that answers well, slowly, wrongly, late or not at all."""

import csv
import io
import socket
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

from claran_plugin.cli import main
from claran_plugin.datasets import cutout_fetching, cutout_services
from claran_plugin.datasets.cutout_fetching import fetch_cutouts, image_fault, read_positions
from claran_plugin.errors import InputError
from claran_plugin.progress import Log

pytest.importorskip('astroquery', reason='needs astroquery: pip install "claran_plugin[fetch]"')

SIA2 = 'ivo://ivoa.net/std/SIA#query-2.0'
CAPABILITIES = """<?xml version="1.0"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
    xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <capability standardID="{standard}"><interface xsi:type="vs:ParamHTTP" role="std" version="2.0">
    <accessURL use="base">{url}/SIA/query</accessURL></interface></capability>
</vosi:capabilities>"""


def image(ra, dec, value=1.0):
    header = fits.Header(dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=ra, CRVAL2=dec, CDELT1=-5e-4, CDELT2=5e-4))
    header['CRPIX1'] = header['CRPIX2'] = 33
    data = np.random.default_rng(0).normal(size=(66, 66)).astype(np.float32) + value
    file = io.BytesIO()
    fits.PrimaryHDU(data, header).writeto(file)
    return file.getvalue()


class Sky(BaseHTTPRequestHandler):
    """What is answered depends on the whole degrees of right ascension."""

    def log_message(self, *arguments):
        pass

    def answer(self, content, status=200, length=None, kind='image/fits'):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def image(self, survey, ra, dec):
        server = self.server
        key = (survey, int(ra))
        server.asked[key] += 1
        first = server.asked[key] == 1
        good = image(ra, dec)
        match int(ra):
            case 20:
                server.slept.wait(1.0 if first else 0)
                self.answer(good)
            case 30:
                self.answer(good[: len(good) // 2], length=len(good))  # the connection breaks
            case 31:
                self.answer(good[: len(good) // 2])  # a broken file
            case 32:
                self.answer(b'<html><body>No image <b>there</b></body></html>')
            case 33:
                self.answer(image(ra, dec) if not first else b'SIMPLE  = garbage')
            case 40:
                self.answer(b'no such thing', 404)
            case 50:
                self.answer(*((b'overloaded', 503) if server.asked[key] < 3 else (good,)))
            case 51:
                self.answer(b'overloaded', 500)
            case _:
                self.answer(good)

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers['Content-Length'])).decode())
        hours, dec = form['RA'][0].split()
        self.server.sizes.append(float(form['ImageSize'][0]))
        self.image('first', float(hours) * 15, float(dec))

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        root = f'http://localhost:{self.server.server_port}'
        if url.path == '/SIA/capabilities':
            self.answer(CAPABILITIES.format(standard=SIA2, url=root).encode(), kind='text/xml')
        elif url.path == '/SIA/query':
            _, ra, dec, _ = query['POS'][0].split()
            ra, dec = float(ra), float(dec)
            tiles = [] if int(ra) == 60 else [('W1', 0.3, 'far'), ('W2', 0.0, 'w2'), ('W1', 0.1, 'near')]
            rows = [
                (f'{root}/ibe/data/{name}.fits', band, kind, ra + shift, dec)
                for band, shift, name in tiles
                for kind in ('science', 'auxiliary')
            ]
            names = ('access_url', 'energy_bandpassname', 'dataproduct_subtype', 's_ra', 's_dec')
            table = Table(rows=rows or None, names=names, dtype=('U80', 'U8', 'U16', float, float))
            file = io.BytesIO()
            table.write(file, format='votable')
            text = file.getvalue().replace(b'<TABLE>', b'<INFO name="QUERY_STATUS" value="OK"/><TABLE>')
            self.answer(text, kind='application/x-votable+xml')
        else:
            assert url.path == '/ibe/data/near.fits', 'the nearest W1 image'
            assert query['gzip'] == ['false']
            ra, dec = (float(value) for value in query['center'][0].removesuffix('deg').split(','))
            self.server.sizes.append(float(query['size'][0].removesuffix('arcmin')))
            self.image('wise', ra, dec)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(cutout_fetching, 'BACK_OFF_S', (0.01, 0.02, 0.03))
    monkeypatch.setattr(cutout_services, 'TIMEOUT_S', 0.3)
    server = ThreadingHTTPServer(('localhost', 0), Sky)
    server.daemon_threads = True
    server.asked, server.sizes, server.slept = Counter(), [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.slept.set()
    server.shutdown()
    server.server_close()
    thread.join()


def urls(server):
    root = f'http://localhost:{server.server_port}'
    return dict(first=f'{root}/cgi-bin/firstcutout', wise=f'{root}/SIA')


def positions(tmp_path, *degrees):
    path = tmp_path / 'positions.csv'
    path.write_text('RA,DEC\n' + ''.join(f'{ra + 0.25},10.5\n' for ra in degrees))
    return read_positions(path)


def fetch(server, folder, wanted, **options):
    return fetch_cutouts(wanted, folder, pause_s=1e-3, urls=urls(server), log=Log(True), **options)


def test_good_answers_are_stored_as_they_come(server, tmp_path):
    wanted = positions(tmp_path, 10, 11)
    report = fetch(server, tmp_path / 'out', wanted, size_arcmin=7.0)
    assert (report.n_wanted, report.n_fetched, report.n_kept, report.failures) == (4, 4, 0, [])
    assert set(server.sizes) == {7.0}
    for name, sky in wanted.items():
        for survey in ('first', 'wise'):
            header = fits.getheader(tmp_path / 'out' / survey / f'{name}.fits')
            assert header['CRVAL1'] == pytest.approx(sky.ra.deg, abs=1e-5)
            assert header['CRVAL2'] == pytest.approx(sky.dec.deg, abs=1e-5)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['first', 'wise']


def test_good_files_are_not_fetched_again(server, tmp_path):
    wanted = positions(tmp_path, 10, 11, 12)
    fetch(server, tmp_path, wanted)
    asked = server.asked.copy()
    broken = tmp_path / 'first' / f'{next(iter(wanted))}.fits'
    whole = broken.read_bytes()
    broken.write_bytes(whole[:4000])
    report = fetch(server, tmp_path, wanted)
    assert (report.n_fetched, report.n_kept) == (1, 5)
    assert server.asked - asked == Counter({('first', 10): 1})
    assert broken.read_bytes() == whole


@pytest.mark.parametrize('survey', ['first', 'wise'])
@pytest.mark.parametrize(('ra', 'attempts'), [(20, 2), (33, 2), (50, 3)])
def test_what_passes_is_tried_again(server, tmp_path, survey, ra, attempts):
    report = fetch(server, tmp_path, positions(tmp_path, ra), surveys=[survey])
    assert report.n_fetched == 1
    assert server.asked[survey, ra] == attempts


@pytest.mark.parametrize('survey', ['first', 'wise'])
@pytest.mark.parametrize(
    ('ra', 'attempts', 'reason'),
    [
        (30, 4, 'IncompleteRead|broken'),
        (31, 4, 'truncated'),
        (32, 4, "not FITS but 'No image there'"),
        (40, 1, '404'),
        (51, 4, '500'),
    ],
)
def test_what_fails_is_listed(server, tmp_path, survey, ra, attempts, reason):
    report = fetch(server, tmp_path, positions(tmp_path, 10, ra, 11), surveys=[survey])
    assert (report.n_fetched, len(report.failures)) == (2, 1)
    assert server.asked[survey, ra] == attempts
    (row,) = csv.DictReader(report.listing.open())
    assert row['survey'] == survey
    assert float(row['ra']) == pytest.approx(ra + 0.25)
    assert any(part in row['reason'] for part in reason.split('|')), row['reason']
    assert len(list((tmp_path / survey).iterdir())) == 2, 'nothing half written'


def test_a_position_without_a_tile(server, tmp_path):
    report = fetch(server, tmp_path, positions(tmp_path, 60), surveys=['wise'])
    assert [failure.reason for failure in report.failures] == ['no WISE tile there']


@pytest.mark.parametrize('survey', ['first', 'wise'])
def test_an_unreachable_service_is_given_up(tmp_path, monkeypatch, capsys, survey):
    monkeypatch.setattr(cutout_fetching, 'BACK_OFF_S', (0.01, 0.02))
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(('localhost', 0))
        address = f'http://localhost:{taken.getsockname()[1]}/x'
        wanted = positions(tmp_path, *range(10, 20))
        options = dict(surveys=[survey], pause_s=1e-3, urls={survey: address})
        report = fetch_cutouts(wanted, tmp_path / 'out', log=Log(), **options)
    assert len(report.failures) == 10
    assert [failure.reason.startswith('not asked for') for failure in report.failures] == [False] * 3 + [True] * 7
    lines = capsys.readouterr().out.splitlines()
    assert sum('; again in 0.0' in line for line in lines) == 6, 'waits are told'


def test_a_place_that_cannot_be_written_is_told_first(server, tmp_path):
    (tmp_path / 'out' / 'failures.csv').mkdir(parents=True)
    (tmp_path / 'file').touch()
    for folder, fault in ((tmp_path / 'out', 'failures.csv: is a folder'), (tmp_path / 'file', 'is not a folder')):
        with pytest.raises(InputError, match=fault):
            fetch(server, folder, positions(tmp_path, 10))
    assert not server.asked


def test_the_list_of_failures_goes_with_them(server, tmp_path):
    assert fetch(server, tmp_path, positions(tmp_path, 51), surveys=['first']).listing.is_file()
    assert not fetch(server, tmp_path, positions(tmp_path, 10), surveys=['first']).listing.exists()


def test_requests_keep_their_distance(server, tmp_path):
    import time

    start = time.monotonic()
    fetch_cutouts(
        positions(tmp_path, 10, 11, 12), tmp_path, surveys=['first'], pause_s=0.2, urls=urls(server), log=Log(True)
    )
    assert time.monotonic() - start > 0.4


def test_command_line(server, tmp_path, capsys):
    table = tmp_path / 'positions.csv'
    table.write_text('name,ra,dec\ngood,10.1,5\nbad,40.1,5\n')
    command = ['dataset', 'fetch', str(table), '-o', str(tmp_path / 'out'), '--survey', 'first', '--pause', '0.001']
    assert main([*command, '--first-url', urls(server)['first']]) == 1
    captured = capsys.readouterr()
    assert '1 cut-outs fetched, 0 were there already' in captured.out
    assert captured.err.count('\n') == 1
    assert 'failures.csv: 1 of 2 cut-outs could not be fetched' in captured.err
    assert (tmp_path / 'out' / 'first' / 'good.fits').is_file()
    table.write_text('name,ra,dec\ngood,10.1,5\n')
    assert main([*command, '--first-url', urls(server)['first']]) == 0


def test_wrong_usage(tmp_path, capsys):
    for wrong in (['--survey', 'nvss'], ['--size', '0'], ['--pause', 'x']):
        with pytest.raises(SystemExit) as end:
            main(['dataset', 'fetch', 'x.csv', '-o', str(tmp_path), *wrong])
        assert end.value.code == 2
    with pytest.raises(InputError, match='at most 30 arcmin'):
        fetch_cutouts({}, tmp_path, size_arcmin=60, log=Log(True))


# ---- lists of positions


def test_positions_of_any_table(tmp_path):
    table = QTable(dict(RA=[10.0, 350.5], DEC=[-3.25, 40.0]))
    for ending, form in (('csv', 'ascii.csv'), ('fits', 'fits'), ('ecsv', 'ascii.ecsv'), ('vot', 'votable')):
        table.write(tmp_path / f'list.{ending}', format=form)
        sky = read_positions(tmp_path / f'list.{ending}')
        assert list(sky) == ['FIRSTJ004000.0-031500', 'FIRSTJ232200.0+400000']
        assert [position.ra.deg for position in sky.values()] == pytest.approx([10.0, 350.5])


def test_rows_of_one_name_and_place_are_one_cut_out(tmp_path):
    (tmp_path / 'list.csv').write_text('RA,DEC,name\n1,2,a\n3,4,b\n1,2,a\n')
    assert list(read_positions(tmp_path / 'list.csv')) == ['a', 'b']


def test_positions_of_a_radio_galaxy_zoo_catalogue(tmp_path):
    path = tmp_path / 'catalogue.csv'
    path.write_text('first_id,num_cpnts\nFIRSTJ074535.0+335754,1\nFIRSTJ074535.0+335754,2\nFIRSTJ000000.0-000130,1\n')
    sky = read_positions(path)
    assert list(sky) == ['FIRSTJ074535.0+335754', 'FIRSTJ000000.0-000130']
    assert sky['FIRSTJ000000.0-000130'].dec.deg == pytest.approx(-0.025)


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('lon,lat\n1,2\n', 'no columns RA and DEC, found lon, lat'),
        ('RA,DEC\n1,95\n', 'no valid position'),
        ('RA,DEC\nabc,2\n', 'positions are text'),
        ('RA,DEC,name\n1,2,a 1\n3,4,a1\n', 'different positions would be stored as a1.fits'),
        ('RA,DEC,name\n1,2,a\n3,4,\n', 'no name in row 1'),
        ('', 'list.csv: '),
        ('SIMPLE  = T', 'list.csv: '),
    ],
)
def test_bad_positions(tmp_path, content, fault):
    path = tmp_path / 'list.csv'
    path.write_text(content)
    with pytest.raises(InputError, match=fault):
        read_positions(path)
    with pytest.raises(InputError, match='no such catalogue'):
        read_positions(tmp_path / 'none.csv')


def test_image_faults():
    good = image(1.0, 2.0)
    assert image_fault(good) is None
    assert image_fault(b'') == "not FITS but ''"
    blank = io.BytesIO()
    fits.PrimaryHDU(np.zeros((9, 9), np.float32)).writeto(blank)
    assert image_fault(blank.getvalue()) == 'an empty image'
    bare = io.BytesIO()
    fits.PrimaryHDU().writeto(bare)
    assert image_fault(bare.getvalue()) == 'FITS without an image'


def test_without_astroquery_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'astroquery', None)
    with pytest.raises(InputError, match=r'is not installed .*pip install "claran_plugin\[fetch\]"'):
        fetch_cutouts(positions(tmp_path, 10), tmp_path, log=Log(True))
