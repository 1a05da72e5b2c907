"""Faults in what a user gives: one line that names file, fault and remedy, exit code 1, and nothing written."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_field import BEAM_DEG, write_field

from claran_plugin.catalogue import COMPONENT_COLUMNS, SOURCE_COLUMNS
from claran_plugin.cli import main
from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.images import read_image

COMMANDS = ('run', 'associate', 'detect')


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """A folder with a good image and its catalogue; tests work on copies."""
    folder = tmp_path_factory.mktemp('good')
    image = write_field(folder / 'field.fits')
    write_pybdsf_catalogue(run_pybdsf(read_image(image)), folder / 'cat.fits')
    return folder


@pytest.fixture
def folder(good, tmp_path, monkeypatch):
    """The folder of one test, and the current one."""
    copy = tmp_path / 'work'
    shutil.copytree(good, copy)
    monkeypatch.chdir(copy)
    return copy


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob('*')}


def arguments_of(command, image='field.fits', catalogue='cat.fits'):
    return [command, image, *([catalogue] if command == 'associate' else []), '-o', 'out']


def assert_fails(arguments, folder, capsys, *, names, fault, remedy):
    """One line on stderr, nothing on stdout but progress, exit code 1, and the folder as it was."""
    before = contents(folder)
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert err.count('\n') == 1, err
    assert err.startswith('claran: ')
    for text in (names, fault, remedy):
        assert text in err
    assert all(line.startswith('claran: ') for line in out.splitlines())
    assert contents(folder) == before


# ---- images


def missing(path):
    path.unlink()


def not_fits(path):
    path.write_text('not an image at all\n' * 300)


def truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def without_its_end(path):
    path.write_bytes(path.read_bytes()[:-1500])


def truncated_gzip(path):
    content = gzip.compress(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])


def change(path, data=None, **cards):
    with fits.open(path) as hdus:
        header, pixels = hdus[0].header, hdus[0].data.copy()
    for key, value in cards.items():
        header.remove(key, ignore_missing=True) if value is None else header.set(key, value)
    fits.PrimaryHDU(pixels if data is None else data(pixels), header).writeto(path, overwrite=True)


def no_wcs(path):
    change(path, **dict.fromkeys(('CTYPE1', 'CTYPE2', 'CRVAL1', 'CRVAL2', 'CRPIX1', 'CRPIX2', 'CDELT1', 'CDELT2')))


def no_beam(path):
    change(path, BMAJ=None, BMIN=None, BPA=None)


def all_nan(path):
    change(path, data=lambda pixels: np.full_like(pixels, np.nan))


def constant(path):
    change(path, data=np.ones_like)


def foreign_unit(path):
    change(path, BUNIT='K')


def one_axis(path):
    fits.PrimaryHDU(np.zeros(10, np.float32)).writeto(path, overwrite=True)


def only_a_table(path):
    shutil.copy('cat.fits', path)


IMAGE_FAULTS = [
    (missing, 'no such', ''),
    (not_fits, 'not a readable FITS file', 'again'),
    (truncated, 'truncated', 'again'),
    (truncated_gzip, 'truncated', 'again'),
    (no_wcs, 'no celestial WCS', 'CTYPE'),
    (no_beam, 'no beam', '--beam MAJ MIN PA'),
    (all_nan, 'all pixels are blank', 'give an image with data'),
    (constant, 'same value', 'give an image with data'),
    (foreign_unit, "'K'", 'Jy/beam'),
    (one_axis, 'no image with two axes', 'give a FITS image'),
    (only_a_table, 'no image with two axes', 'give a FITS image'),
]


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize(('spoil', 'fault', 'remedy'), IMAGE_FAULTS, ids=lambda value: getattr(value, '__name__', ''))
def test_bad_image(command, spoil, fault, remedy, folder, capsys):
    spoil(folder / 'field.fits')
    assert_fails(arguments_of(command), folder, capsys, names='field.fits', fault=fault, remedy=remedy)


def test_what_the_header_lacks_can_be_given(folder, known_grouping, capsys):
    change(folder / 'field.fits', BMAJ=None, BMIN=None, BPA=None, RESTFREQ=None)
    beam = ['--beam', str(BEAM_DEG), str(BEAM_DEG), '-10']
    assert main([*arguments_of('run'), *beam, '--frequency', '1.4e9', '--quiet', '--no-picture']) == 0
    assert main([*arguments_of('run'), '--survey', 'first', '--quiet', '--no-picture', '--overwrite']) == 0
    assert capsys.readouterr().err == ''


def test_only_pybdsf_needs_the_frequency(folder, known_grouping, capsys):
    change(folder / 'field.fits', RESTFREQ=None)
    assert_fails(arguments_of('run'), folder, capsys, names='field.fits', fault='no frequency', remedy='--frequency HZ')
    assert main([*arguments_of('associate'), '--quiet']) == 0
    assert main([*arguments_of('detect'), '--quiet', '--overwrite']) == 0


@pytest.mark.parametrize(
    'beam', [('0', '0', '0'), ('-1', '1', '0'), ('nan', '1', '0'), ('5.4', '5.4', '0'), ('2.6e-5', '2.6e-5', '0')]
)
def test_impossible_beam(beam, folder, capsys):
    told = {'5.4': ('larger than the image', 'degrees'), '2.6e-5': ('far smaller than a pixel', 'degrees')}
    fault, remedy = told.get(beam[0], ('beam', 'above 0'))
    arguments = [*arguments_of('detect'), '--beam', *beam]
    assert_fails(arguments, folder, capsys, names='beam', fault=fault, remedy=remedy)


@pytest.mark.parametrize('command', ['associate', 'detect'])
def test_fields_of_view_smaller_than_the_beam(command, folder, known_grouping, capsys):
    arguments = [*arguments_of(command), '--fov', '1', '--quiet']
    assert_fails(arguments, folder, capsys, names='field.fits', fault='smaller than its beam', remedy='arcsec')


def test_impossible_frequency(folder, capsys):
    arguments = [*arguments_of('run'), '--frequency', '-1']
    assert_fails(arguments, folder, capsys, names='frequency', fault='-1', remedy='Hz')


def test_a_missing_unit_is_a_warning(folder, known_grouping, capsys):
    change(folder / 'field.fits', BUNIT=None)
    assert main([*arguments_of('run'), '--quiet', '--no-picture']) == 0
    err = capsys.readouterr().err
    assert err.startswith('claran: warning: ')
    assert err.count('\n') == 1
    assert 'BUNIT' in err


# ---- catalogues


def without_positions(path):
    table = Table.read(path)
    table.remove_columns(['RA', 'E_RA'])
    table.write(path, overwrite=True)


def without_fluxes(path):
    table = Table.read(path)
    table.remove_columns([name for name in table.colnames if 'lux' in name])
    table.write(path, overwrite=True)


def of_another_field(path):
    table = Table.read(path)
    table['RA'] += 5
    table.write(path, overwrite=True)


def image_as_catalogue(path):
    shutil.copy('field.fits', path)


def binary_rubbish(path):
    path.write_bytes(bytes(range(256)) * 40)


def blank_positions(path):
    table = Table.read(path)
    table['DEC'][2] = np.nan
    table.write(path, overwrite=True)


def processed_before(path):
    table = Table.read(path)
    for spec in COMPONENT_COLUMNS:
        table[spec.name] = 0
    table.write(path, overwrite=True)


CATALOGUE_FAULTS = [
    (missing, 'no such catalogue', 'check the path'),
    (without_positions, 'needed columns are missing', 'expected RA, DEC'),
    (without_fluxes, 'needed columns are missing', 'Total_flux or Peak_flux'),
    (of_another_field, 'lies on the image', 'give the catalogue of this field'),
    (image_as_catalogue, 'no table in this FITS file', 'not the image'),
    (binary_rubbish, 'neither FITS nor text', 'give a FITS table'),
    (truncated, 'truncated', 'give the whole catalogue'),
    (without_its_end, 'not a readable catalogue', 'give a FITS table'),
    (blank_positions, 'no valid position in 1 rows', 'remove or repair'),
    (processed_before, 'Assoc_id', '--overwrite-columns'),
]


@pytest.mark.parametrize(
    ('spoil', 'fault', 'remedy'), CATALOGUE_FAULTS, ids=lambda value: getattr(value, '__name__', '')
)
def test_bad_catalogue(spoil, fault, remedy, folder, known_grouping, capsys):
    spoil(folder / 'cat.fits')
    assert_fails(arguments_of('associate'), folder, capsys, names='cat', fault=fault, remedy=remedy)


def test_columns_of_an_earlier_run_can_be_replaced(folder, known_grouping):
    assert main([*arguments_of('associate'), '--quiet']) == 0
    (folder / 'out' / 'field.components.fits').rename(folder / 'again.fits')
    arguments = [*arguments_of('associate', catalogue='again.fits'), '--overwrite', '--quiet']
    assert main([*arguments, '--overwrite-columns']) == 0
    assert (folder / 'out' / 'field.components.fits').exists()


def assert_empty_tables(folder, err, out_names):
    assert err.startswith('claran: warning: ')
    assert err.count('\n') == 1
    for name, specs in out_names.items():
        table = fits.getdata(folder / 'out' / name)
        assert len(table) == 0
        assert table.columns.names[-len(specs) :] == [spec.name for spec in specs]


@pytest.mark.parametrize('empty', ['pybdsf', 'rows', 'ascii', 'csv'])
def test_empty_catalogue(empty, folder, known_grouping, capsys):
    if empty == 'pybdsf':
        write_pybdsf_catalogue(run_pybdsf(read_image('field.fits'), thresh_pix=1e6), 'cat.fits')
    elif empty == 'rows':
        Table.read('cat.fits')[:0].write('cat.fits', overwrite=True)
    elif empty == 'ascii':
        (folder / 'cat.fits').write_text('# Generated by PyBDSF\n# nothing was found\n')
    else:
        (folder / 'cat.fits').write_text('RA,DEC,Total_flux\n')
    assert main([*arguments_of('associate'), '--quiet']) == 0
    tables = {'field.components.fits': COMPONENT_COLUMNS, 'field.sources.fits': SOURCE_COLUMNS}
    assert_empty_tables(folder, capsys.readouterr().err, tables)
    assert (folder / 'out' / 'field.png').stat().st_size > 1000


@pytest.mark.parametrize('kind', ['srl', 'gaul'])
def test_no_islands(kind, folder, known_grouping, capsys):
    write_field(folder / 'noise.fits', components=[], size=128)
    assert main([*arguments_of('run', 'noise.fits'), '--quiet', '--kind', kind]) == 0
    tables = {'noise.components.fits': COMPONENT_COLUMNS, 'noise.sources.fits': SOURCE_COLUMNS}
    assert_empty_tables(folder, capsys.readouterr().err, tables)


def test_nothing_to_detect(folder, known_grouping, capsys):
    write_field(folder / 'noise.fits', components=[], size=128)
    assert main([*arguments_of('detect', 'noise.fits'), '--quiet']) == 0
    assert_empty_tables(folder, capsys.readouterr().err, {'noise.detections.fits': SOURCE_COLUMNS})


@pytest.mark.parametrize('form', ['votable', 'csv', 'ascii.ecsv'])
def test_empty_tables_in_other_formats(form, folder, known_grouping, capsys):
    write_field(folder / 'noise.fits', components=[], size=128)
    assert main([*arguments_of('run', 'noise.fits'), '--quiet', '--format', form, '--no-picture']) == 0
    sources = Table.read(next((folder / 'out').glob('noise.sources.*')))
    assert len(sources) == 0
    assert sources.colnames == [spec.name for spec in SOURCE_COLUMNS]


# ---- infrared


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize(
    ('spoil', 'fault'),
    [
        (lambda path: change(path, CRVAL1=250.0), 'does not overlap'),
        (not_fits, 'not a readable FITS file'),
        (truncated, 'truncated'),
        (no_wcs, 'no celestial WCS'),
        (all_nan, 'all pixels are blank'),
        (lambda path: path.unlink(), 'no such'),
    ],
    ids=['elsewhere', 'not FITS', 'truncated', 'no WCS', 'blank', 'missing'],
)
def test_bad_infrared(command, spoil, fault, folder, known_grouping, capsys):
    shutil.copy(folder / 'field.fits', folder / 'w1.fits')
    spoil(folder / 'w1.fits')
    arguments = [*arguments_of(command), '--infrared', 'w1.fits']
    assert_fails(arguments, folder, capsys, names='w1.fits', fault=fault, remedy=':')


# ---- outputs


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('which', [0, -1])
def test_existing_output_is_found_before_the_work(command, which, folder, capsys):
    """The image is not even there: what is checked first is whether the result could be written."""
    outputs = (
        ['field.detections.fits']
        if command == 'detect'
        else [
            'field.components.fits',
            'field.evidence.fits',
            'field.sources.fits',
        ]
    )
    (folder / 'out').mkdir()
    existing = [*outputs, 'field.png'][which]
    (folder / 'out' / existing).write_text('precious')
    (folder / 'field.fits').unlink()
    assert_fails(arguments_of(command), folder, capsys, names=existing, fault='exists already', remedy='--overwrite')


def test_overwrite_replaces_and_leaves_nothing_else(folder, known_grouping):
    for _ in range(2):
        assert main([*arguments_of('associate'), '--overwrite', '--quiet']) == 0
    assert sorted(path.name for path in (folder / 'out').iterdir()) == [
        'field.components.fits',
        'field.evidence.fits',
        'field.png',
        'field.sources.fits',
    ]


@pytest.mark.parametrize('command', [*COMMANDS, 'simulate', 'demo', 'dataset pack'])
def test_output_folder_is_a_file(command, folder, capsys):
    (folder / 'out').write_text('a file')
    if command in COMMANDS:
        arguments = arguments_of(command)
    else:
        arguments = [*command.split(), '-o', 'out', *(['--simulate', '1'] if 'pack' in command else [])]
    assert_fails(arguments, folder, capsys, names='out', fault='not a folder', remedy='-o')


def test_an_output_name_that_is_a_folder(folder, capsys):
    (folder / 'out' / 'field.png').mkdir(parents=True)
    arguments = [*arguments_of('detect'), '--overwrite']
    assert_fails(arguments, folder, capsys, names='field.png', fault='is a folder', remedy='remove')


@pytest.mark.parametrize(('command', 'existing'), [('simulate', 'field_0001.truth.fits'), ('demo', 'demo.png')])
def test_existing_output_of_other_commands(command, existing, folder, capsys):
    (folder / 'out').mkdir()
    (folder / 'out' / existing).write_text('precious')
    assert_fails([command, '-o', 'out'], folder, capsys, names=existing, fault='exists', remedy='--overwrite')


# ---- detector


@pytest.mark.parametrize('command', [*COMMANDS, 'demo'])
@pytest.mark.parametrize(
    ('options', 'names', 'fault', 'remedy'),
    [
        (['--weights', 'none.pth'], 'none.pth', 'no such weights', '--weights'),
        (['--model', 'none'], 'none', 'no such model', '--model'),
    ],
)
def test_missing_model(command, options, names, fault, remedy, folder, capsys):
    arguments = [command, '-o', 'out'] if command == 'demo' else arguments_of(command)
    assert_fails([*arguments, *options], folder, capsys, names=names, fault=fault, remedy=remedy)


def test_unreadable_weights(folder, require_detector, capsys):
    (folder / 'bad.pth').write_bytes(b'no weights at all')
    arguments = [*arguments_of('run'), '--weights', 'bad.pth']
    assert_fails(arguments, folder, capsys, names='bad.pth', fault='not a readable weights file', remedy='give')


def test_foreign_weights(folder, require_detector, capsys):
    import torch

    torch.save({'some.layer': torch.zeros(3)}, folder / 'foreign.pth')
    arguments = [*arguments_of('associate'), '--weights', 'foreign.pth']
    assert_fails(arguments, folder, capsys, names='foreign.pth', fault='weights of another model', remedy='--model')
    torch.save([1, 2], folder / 'list.pth')
    arguments = [*arguments_of('detect'), '--weights', 'list.pth']
    assert_fails(arguments, folder, capsys, names='list.pth', fault='not a state dictionary', remedy='give')


def test_weights_that_run_code_are_refused(folder, require_detector, capsys):
    import pickle

    (folder / 'evil.pth').write_bytes(pickle.dumps(contents))
    arguments = [*arguments_of('run'), '--weights', 'evil.pth']
    assert_fails(arguments, folder, capsys, names='evil.pth', fault='not a readable weights file', remedy='give')


@pytest.mark.parametrize('device', ['cuda:77', 'cpu:x', 'toaster', 'meta'])
def test_missing_device(device, folder, random_weights, capsys):
    arguments = [*arguments_of('run'), '--weights', str(random_weights), '--device', device]
    assert_fails(arguments, folder, capsys, names=device, fault=device, remedy='--device')


def test_config_that_is_none(folder, random_weights, capsys):
    for name, text in (('broken.py', 'model = ('), ('empty.py', 'x = 1\n')):
        (folder / name).write_text(text)
        arguments = [*arguments_of('run'), '--model', name, '--weights', str(random_weights)]
        assert_fails(arguments, folder, capsys, names=name, fault=name, remedy='config')


# ---- other commands


def test_field_too_small_to_simulate(folder, capsys):
    assert_fails(
        ['simulate', '--size', '0.5', '-o', 'out'],
        folder,
        capsys,
        names='--size 0.5',
        fault='too small',
        remedy='at least',
    )


@pytest.mark.parametrize('option', ['--first', '--fr', '--radiogalaxynet', '--rgz'])
@pytest.mark.parametrize('there', [True, False])
def test_nothing_to_pack(option, there, folder, capsys):
    if there:
        (folder / 'empty').mkdir()
        (folder / 'images').mkdir()
        (folder / 'images' / 'FIRSTJ074535.0+335754.fits').touch()
    options = [option, 'empty']
    if option == '--rgz':
        options += ['--first', 'images']
    elif option == '--first':
        options += ['--rgz', 'cat.fits']
    name = 'images' if option == '--rgz' and not there else 'empty'
    assert_fails(['dataset', 'pack', *options, '-o', 'out'], folder, capsys, names=name, fault='no', remedy='')
