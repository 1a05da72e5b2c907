"""Many images: the list, the record, faults in the middle, and one catalogue without repetitions."""

import csv
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table, vstack
from astropy.wcs import WCS
from survey_runs import N_IMAGES, contents, few, finished, here, images, run, survey, wait_for

from claran_plugin.catalogue import MorphFlag
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.footprints import island_components
from claran_plugin.images import read_image
from claran_plugin.simulation import simulate_field, write_field
from claran_plugin.subjects import Sky
from claran_plugin.survey import merging, work
from claran_plugin.survey.listing import read_list
from claran_plugin.survey.manifest import COLUMNS, Manifest
from claran_plugin.survey.merging import merge
from claran_plugin.survey.overlaps import Shown, repeated_sources

__all__ = ['few', 'here', 'images']  # fixtures
distributed = pytest.importorskip('distributed')


# ---- the list


def test_a_list_of_lines(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('# a survey\na.fits\nsub/b.fits.gz b.srl.fits  # with a catalogue\n\n/c.fits - /w.fits\n')
    assert [tuple(pointing) for pointing in read_list(path)] == [
        ('a', f'{tmp_path}/a.fits', '', ''),
        ('b', f'{tmp_path}/sub/b.fits.gz', f'{tmp_path}/b.srl.fits', ''),
        ('c', '/c.fits', '', '/w.fits'),
    ]


@pytest.mark.parametrize('ending', ['csv', 'ecsv', 'fits', 'vot'])
def test_a_table(tmp_path, ending):
    path = tmp_path / f'list.{ending}'
    table = Table(dict(image=['P1/mosaic.fits', 'P2/mosaic.fits'], catalogue=['P1/c.fits', ''], mag=[1.0, 2.0]))
    table.write(path, **(dict(format='votable') if ending == 'vot' else {}))
    assert [pointing.name for pointing in read_list(path)] == ['P1_mosaic', 'P2_mosaic']
    assert [pointing.catalogue for pointing in read_list(path)] == [f'{tmp_path}/P1/c.fits', '']


def test_empty_cells_and_numbers_in_a_table(tmp_path):
    path = tmp_path / 'list.csv'
    path.write_text('image,catalogue,infrared,name,rms\na.fits,c.fits,,007,0.1\nb.fits,,,1.10,\n')
    found = read_list(path)
    assert [pointing.name for pointing in found] == ['007', '1.10']
    assert [pointing.catalogue for pointing in found] == [f'{tmp_path}/c.fits', '']
    assert [pointing.infrared for pointing in found] == ['', '']


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('a.txt', '# nothing\n', 'lists no image'),
        ('a.txt', 'a b c d\n', 'line 1 has 4 words'),
        ('a.txt', '- cat.fits\n', 'entry 1 has no image'),
        ('a.txt', 'x/a.fits\ny/x/a.fits\n', 'images have the name x_a'),
        ('a.csv', 'picture\na.fits\n', 'no column "image"; it has picture'),
        ('a.csv', 'image,name\na.fits,n\nb.fits,n\n', 'images have the name n; give a table with a column "name"'),
        ('a.fits', 'no table', 'not a table that astropy reads'),
        ('a.csv', 'image,name\na.fits,../n\n', 'cannot begin the names of files'),
    ],
)
def test_a_faulty_list(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_list(tmp_path / name)
    with pytest.raises(InputError, match='no such file'):
        read_list(tmp_path / 'none.txt')


# ---- the record


def test_the_last_row_of_an_image_counts_and_a_cut_one_does_not(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.begin()
    manifest.add(dict(name='a', image='a.fits', state='failed', error='a, "quoted"\tfault'))
    manifest.add(dict(name='b', image='b.fits', state='done', sources=3, ra=1.25, key='k'))
    manifest.add(dict(name='a', image='a.fits', state='done', sources=0, seconds=0.1, key='k'))
    with manifest.path.open('a') as opened:
        opened.write('c,c.fits,,,done,4')
    again = Manifest(tmp_path)
    again.read()
    assert set(again.rows) == {'a', 'b'}
    assert again.rows['a'] | dict(sources=0, seconds=0.1, state='done', error='') == again.rows['a']
    assert again.rows['b']['ra'] == 1.25
    again.finish(['b', 'a'])
    assert [row['name'] for row in csv.DictReader(manifest.path.open())] == ['b', 'a']
    manifest.path.write_text('something,else\n')
    with pytest.raises(InputError, match='not a manifest of this version'):
        Manifest(tmp_path).read()


# ---- runs


@pytest.fixture(scope='module')
def reference(images, require_detector, tmp_path_factory):
    output = tmp_path_factory.mktemp('survey') / 'one'
    code, out, err = run(images, output, '--workers', '1')
    assert code == 0, err
    assert 'dashboard at http://' in out
    assert f'images done             {N_IMAGES:6d}, 0 of them earlier' in out
    return output


def test_the_same_with_two_workers(images, reference, tmp_path):
    code, _, err = run(images, tmp_path / 'two', '--workers', '2', '--quiet')
    assert (code, err) == (0, '')
    assert contents(tmp_path / 'two') == contents(reference)


def test_the_merged_tables_are_those_of_the_images(reference):
    for table in ('components', 'sources'):
        alone = [Table.read(path) for path in sorted(reference.glob(f'per_image/*.{table}.fits'))]
        parts = [Table.read(path) for path in sorted((reference / f'{table}.parquet').iterdir())]
        assert [len(part) for part in parts] == [len(part) for part in alone]
        for one, part in zip(alone, parts, strict=True):
            one.convert_bytestring_to_unicode()
            assert part.colnames == [*one.colnames, 'Image']
            for name in one.colnames:
                assert part[name].unit == one[name].unit or (name, one[name].unit) == ('PA', None)  # deg is assumed
                assert part[name].description == one[name].description
                np.testing.assert_array_equal(np.asarray(part[name]), np.asarray(one[name]))
    import pandas

    whole = pandas.read_parquet(reference / 'sources.parquet')
    assert len(whole) == sum(len(part) for part in parts)
    rows = list(csv.DictReader((reference / 'manifest.csv').open()))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row['sources']) for row in rows] == [len(part) for part in parts]


def test_a_worker_that_is_killed(images, reference, tmp_path):
    output = tmp_path / 'killed'
    process = run(images, output, '--workers', '2', wait=False)
    wait_for(lambda: finished(output) >= 1, process)
    workers = [child for child in psutil.Process(process.pid).children() if 'spawn_main' in ' '.join(child.cmdline())]
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    names = [row['name'] for row in csv.DictReader((output / 'manifest.csv').open())]
    assert names == [f'f{number}' for number in range(N_IMAGES)]
    assert contents(output) == contents(reference)


def test_a_run_that_is_killed_is_gone_on_with(images, reference, tmp_path):
    output = tmp_path / 'stopped'
    process = run(images, output, '--workers', '2', wait=False)
    wait_for(lambda: finished(output) >= 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive  # nobody is left behind
    done = finished(output)
    assert 2 <= done < N_IMAGES
    assert not list(output.glob('*.parquet'))
    dates = {path: path.stat().st_mtime_ns for path in output.glob('per_image/f*.fits')}
    for name in ('.123-f7.components.fits', '.123-f0.sources.fits.old'):  # as if it had been killed while writing
        (output / 'per_image' / name).write_bytes(b'SIMPLE')
    code, _, err = run(images, output, '--workers', '2')
    assert code == 1
    assert 'exists already; give --resume to go on with it' in err
    code, out, err = run(images, output, '--workers', '2', '--resume')
    assert code == 0, err
    assert f'{done} of them earlier' in out
    kept = [path for path, date in dates.items() if path.stat().st_mtime_ns == date]
    assert len(kept) >= 3 * done
    assert contents(output) == contents(reference)


# ---- in this process: no workers


def test_what_is_done_is_told_by_content_and_parameters(few, here, random_weights, capsys, monkeypatch):
    monkeypatch.setattr(work.time, 'perf_counter', lambda: 1.0)  # so that only what was done tells rows apart
    model = ['--weights', str(random_weights)]
    assert survey(few, *model) == 0
    for change, options, kept in (
        (lambda: None, [], 2),
        (lambda: os.utime(few / 'f0.fits'), [], 2),  # another date
        (lambda: fits.setval(few / 'f0.fits', 'OBJECT', value='x'), [], 1),  # another content, same name
        (lambda: (few / 'out' / 'per_image' / 'f1.sources.fits').unlink(), [], 1),
        (lambda: None, ['--fov', '150'], 0),
        (lambda: None, ['--fov', '150'], 2),
    ):
        change()
        capsys.readouterr()
        assert survey(few, *model, '--resume', *options) in (0, 1)
        assert f'{kept} of them earlier' in capsys.readouterr().out


def test_a_broken_image_does_not_stop_the_others(few, here, random_weights, capsys):
    (few / 'f0.fits').write_bytes(b'nothing')
    with (few / 'list.txt').open('a') as opened:
        opened.write('missing.fits\n')
    assert survey(few, '--weights', str(random_weights)) == 1
    said = capsys.readouterr()
    assert '2 of 3 images failed, the first because' in said.err
    assert 'f0.fits: not a readable FITS file' in said.err
    rows = {row['name']: row for row in csv.DictReader((few / 'out' / 'manifest.csv').open())}
    assert [rows[name]['state'] for name in ('f0', 'f1', 'missing')] == ['failed', 'done', 'failed']
    assert 'missing.fits: no such file' in rows['missing']['error']
    assert len(list((few / 'out' / 'sources.parquet').iterdir())) == 1


def test_nothing_is_replaced_unasked(few, here, random_weights, capsys):
    model = ['--weights', str(random_weights)]
    assert survey(few, *model, '--quiet') == 0
    assert survey(few, *model) == 1
    assert 'manifest.csv: exists already' in capsys.readouterr().err
    assert survey(few, *model, '--overwrite', '--quiet') == 0
    with pytest.raises(SystemExit):
        survey(few, '--overwrite', '--resume')


def test_no_scheduler_there(few, capsys):
    assert survey(few, '--scheduler', 'tcp://127.0.0.1:1') == 1
    assert 'no Dask scheduler answers there' in capsys.readouterr().err


# ---- merging


def row_of(name, ra, dec=0.0, radius=1.0):
    return dict(name=name, state='done', ra=ra, dec=dec, radius=radius, beam=0.002)


def shown(places, owner, distance, flags=None):
    coords = SkyCoord([ra for ra, _ in places], [dec for _, dec in places], unit='deg')
    shape = np.tile([0.001, 0.001, 0.0], (len(places), 1))
    return Shown(coords, shape, np.array(owner), np.array(distance, float), np.array(flags or [0] * len(distance)))


def test_no_component_of_a_source_is_lost_to_an_image_that_does_not_show_it():
    b, c = (10.0, 0.0), (10.3, 0.0)  # a small image shows one lobe as a source of its own
    rows = [row_of('small', 10.0, radius=0.2), row_of('large', 10.5)]
    images = [shown([b], [0], [0.0]), shown([b, c], [0, 0], [0.35])]
    assert repeated_sources(rows, images.__getitem__) == {0: {0}}
    images[1] = images[1]._replace(owner=np.array([0, 1]), distance=np.array([0.5, 0.2]), flags=np.zeros(2, int))
    assert repeated_sources(rows, images.__getitem__) == {1: {0}}  # c is in no group: it stays


def test_one_component_here_and_two_there():
    rows = [row_of('a', 10.0, radius=0.1), row_of('b', 10.3)]
    two = shown([(10.0, 0.0), (10.003, 0.0)], [0, 1], [0.0, 0.0])
    wide = shown([(10.0015, 0.0)], [0], [0.3])  # 1.5 times the matching distance from either
    assert repeated_sources(rows, [two, wide].__getitem__) == {}  # too narrow to be both
    wide = wide._replace(shape=np.array([[0.004, 0.001, 90.0]]))
    assert repeated_sources(rows, [two, wide].__getitem__) == {1: {0}}
    assert repeated_sources(rows, [two, wide._replace(shape=np.array([[0.004, 0.001, 0.0]]))].__getitem__) == {}
    assert repeated_sources(rows, [two, wide._replace(shape=np.full((1, 3), np.nan))].__getitem__) == {}
    near = wide._replace(coords=two.coords[:1])  # the first is its partner, the second lies within it
    assert repeated_sources(rows, [two, near].__getitem__) == {1: {0}}


def test_of_a_chain_every_component_is_listed():
    places = [(10.0 + 0.01 * k, 0.0) for k in range(4)]
    rows = [row_of('a', 10.0), row_of('b', 10.02), row_of('c', 10.03)]
    images = [
        shown(places[:2], [0, 0], [0.0]),
        shown(places[1:3], [0, 0], [0.0]),
        shown(places[2:], [0, 0], [0.1]),
    ]
    assert repeated_sources(rows, images.__getitem__) == {1: {0}}  # a has the first two, c the others
    cut = [images[0], images[1], images[2]._replace(flags=np.array([int(MorphFlag.EDGE)]))]
    assert repeated_sources(rows, cut.__getitem__) == {1: {0}}


def test_parts_have_the_same_columns(tmp_path):
    (tmp_path / 'per_image').mkdir()
    base = dict(RA=[10.0, 11.0], DEC=[1.0, 2.0], Total_flux=[1.0, np.nan], Assoc_id=[0, 1], Assoc_Prob=[1.0, 0.5])
    sources = Table(dict(RA=[10.0, 11.0], DEC=[1.0, 2.0], Assoc_id=[0, 1], Morph_Flag=[0, 0]))
    extras = [dict(S_Code=['S', '']), dict(Number=[1, 2], Image=['mine', 'yours']), dict(Cube=np.zeros((2, 3)))]
    for number, extra in enumerate(extras):
        table = Table(base | extra)
        table['Total_flux'].unit = 'Jy'
        table.write(tmp_path / 'per_image' / f'{number}.components.fits')
        sources.write(tmp_path / 'per_image' / f'{number}.sources.fits')
    (tmp_path / 'per_image' / '3.components.fits').write_text('nothing')
    with pytest.warns(InputWarning, match='Cube: several values in each row'):
        done = merge(tmp_path, [row_of(str(number), 10.0 * number) for number in range(4)])
    assert (done.components, done.sources) == (6, 6)
    assert list(done.unreadable) == ['3']
    parts = [Table.read(path) for path in sorted((tmp_path / 'components.parquet').iterdir())]
    assert len({tuple(part.colnames) for part in parts}) == 1
    assert all(part['Total_flux'].unit == u.Jy for part in parts)
    import pandas

    whole = pandas.read_parquet(tmp_path / 'components.parquet')
    assert whole['S_Code'].tolist() == ['S', '', '', '', '', '']
    np.testing.assert_array_equal(whole['Number'], [np.nan, np.nan, 1, 2, np.nan, np.nan])
    assert whole['Image_of_catalogue'].tolist() == ['', '', 'mine', 'yours', '', '']
    assert whole['Image'].tolist() == ['0', '0', '1', '1', '2', '2']
    assert np.isnan(whole['Total_flux']).sum() == 3


def test_units_as_other_programs_write_them(tmp_path):
    (tmp_path / 'per_image').mkdir()
    spellings = [('deg', 'Jy/beam'), ('degrees', 'mJy/bm'), ('hourangle', 'JY/BEAM')]
    for number, (angle, peak) in enumerate(spellings):
        ra = 1.0 if angle == 'hourangle' else 15.0
        columns = dict(RA=[ra], DEC=[0.0], Total_flux=[2.0], Peak_flux=[1.0], Assoc_id=[0], Assoc_Prob=[1.0])
        made = fits.table_to_hdu(Table(columns))
        made.header.update(TUNIT1=angle, TUNIT2='deg', TUNIT3='Jy', TUNIT4=peak)
        made.writeto(tmp_path / 'per_image' / f'{number}.components.fits')
        Table(dict(RA=[15.0], DEC=[0.0], Assoc_id=[0], Morph_Flag=[0])).write(
            tmp_path / 'per_image' / f'{number}.sources.fits'
        )
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        merge(tmp_path, [row_of(str(number), 10.0 * number) for number in range(3)])
    parts = [Table.read(path) for path in sorted((tmp_path / 'components.parquet').iterdir())]
    assert [part['RA'][0] for part in parts] == pytest.approx([15, 15, 15])
    assert [part['Peak_flux'][0] for part in parts] == pytest.approx([1, 1e-3, 1])
    assert {str(part['RA'].unit) for part in parts} == {'deg'}


@pytest.mark.parametrize(('in_memory', 'reads'), [(100, 2 * 6), (4, 2 * (6 + 4)), (0, 2 * (6 + 6))])
def test_tables_are_read_again_only_where_memory_is_short(tmp_path, monkeypatch, in_memory, reads):
    (tmp_path / 'per_image').mkdir()
    rows = [row_of(str(number), 10.0 + 0.5 * number) for number in range(3)]
    for number, row in enumerate(rows):  # each image's last component is the next one's first
        ra = row['ra'] + np.array([-0.25, 0.25])
        columns = dict(RA=ra, DEC=[0.0, 0.0], Total_flux=[1.0, 1.0] * u.Jy, Assoc_id=[0, 1], Assoc_Prob=[1.0, 1.0])
        Table(columns).write(tmp_path / 'per_image' / f'{number}.components.fits')
        Table(dict(RA=ra, DEC=[0.0, 0.0], Assoc_id=[0, 1], Morph_Flag=[0, 0])).write(
            tmp_path / 'per_image' / f'{number}.sources.fits'
        )
    opened = []
    read = Table.read
    monkeypatch.setattr(merging, 'COMPONENTS_IN_MEMORY', in_memory)
    monkeypatch.setattr(Table, 'read', lambda path, **options: opened.append(path) or read(path, **options))
    done = merge(tmp_path, rows)
    assert (done.components, done.sources, done.left_out) == (4, 4, 2)
    assert len(opened) == reads


# ---- overlaps


@pytest.fixture(scope='module')
def overlapping(tmp_path_factory, require_detector):
    """Two images that are the two sides of one field, with 200 of its 500 columns in common, and their survey."""
    folder = tmp_path_factory.mktemp('overlap')
    made = simulate_field(np.random.default_rng(12), size_arcmin=15, n_sources=70)
    path, _ = write_field(made, folder / 'whole.fits')
    with fits.open(path) as hdus:
        data, header = hdus[0].data, hdus[0].header
    wcs = WCS(header)
    for name, middle in (('left', 174.5), ('right', 324.5)):
        cut = Cutout2D(data, (middle, 249.5), (500, 350), wcs)
        cards = header.copy()
        cards.update(cut.wcs.to_header())
        fits.writeto(folder / f'{name}.fits', cut.data, cards)
    for name in ('left', 'right', 'whole'):
        sky = Sky(read_image(folder / f'{name}.fits'))
        island_components(sky).write(folder / f'{name}.islands.fits')
    (folder / 'list.txt').write_text('left.fits left.islands.fits\nright.fits right.islands.fits\n')
    with pytest.MonkeyPatch.context() as patch:
        from claran_plugin.commands import survey as command
        from claran_plugin.survey.work import process

        def process_all(pointings, settings, known, **_):
            yield from (process(pointing, settings, known.get(pointing.name)) for pointing in pointings)

        patch.setattr(command, 'process_all', process_all)
        assert survey(folder, '--quiet') == 0
    return folder


def merged(folder, table):
    return vstack([Table.read(path) for path in sorted((folder / 'out' / f'{table}.parquet').iterdir())],
                  metadata_conflicts='silent')  # fmt: skip


def test_components_in_the_overlap_are_listed_once(overlapping):
    components = merged(overlapping, 'components')
    coords = SkyCoord(components['RA'], components['DEC'])
    _, separation, _ = coords.match_to_catalog_sky(coords, nthneighbor=2)
    assert separation.min() > 2.7 * u.arcsec
    whole = Table.read(overlapping / 'whole.islands.fits')
    found = SkyCoord(whole['RA'], whole['DEC']).match_to_catalog_sky(coords)[1] < 2.7 * u.arcsec
    assert found.mean() > 0.97  # islands at the inner edges differ
    both = sum(len(Table.read(path)) for path in overlapping.glob('out/per_image/*.components.fits'))
    assert both > len(components) + 20


def test_the_better_image_is_kept(overlapping):
    sources = merged(overlapping, 'sources')
    alone = {name: Table.read(overlapping / 'out' / 'per_image' / f'{name}.sources.fits') for name in ('left', 'right')}
    middles = {
        name: read_image(overlapping / f'{name}.fits').wcs.pixel_to_world(174.5, 249.5) for name in ('left', 'right')
    }
    x, _ = read_image(overlapping / 'whole.fits').wcs.world_to_pixel(SkyCoord(sources['RA'], sources['DEC']))
    checked = 0
    for row, column in zip(sources, x, strict=True):
        own, other = (row['Image'], 'right' if row['Image'] == 'left' else 'left')
        if not 160 < column < 340 or row['Morph_Flag'] & (MorphFlag.EDGE | MorphFlag.BLANK_PIXELS):
            continue
        place = SkyCoord(row['RA'], row['DEC'], unit='deg')
        twin, separation, _ = place.match_to_catalog_sky(SkyCoord(alone[other]['RA'], alone[other]['DEC']))
        if separation < 1 * u.arcsec and alone[other]['Assoc'][twin] == row['Assoc']:
            is_cut = alone[other]['Morph_Flag'][twin] & int(MorphFlag.EDGE | MorphFlag.BLANK_PIXELS)
            assert is_cut or place.separation(middles[own]) <= place.separation(middles[other]) + 2 * u.arcsec
            checked += 1
    assert checked >= 10
    rows = [
        (row['Image'], component['Image'])
        for row in sources
        for component in merged(overlapping, 'components')
        if component['Source_Name'] == row['Source_Name']
    ]
    assert all(a == b for a, b in rows)
    assert Path(overlapping / 'out' / 'sources.parquet').is_dir()
