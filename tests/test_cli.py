import io
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.visualization.wcsaxes import WCSAxes
from small_field import write_field

import claran_plugin
from claran_plugin import catalogue_writing, images, plotting
from claran_plugin.catalogue import COMPONENT_COLUMNS, SOURCE_COLUMNS, MorphFlag
from claran_plugin.cli import main
from claran_plugin.commands import options
from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.morphology import CLASSES
from claran_plugin.progress import Log

NEW = [spec.name for spec in COMPONENT_COLUMNS]
SOURCES = [spec.name for spec in SOURCE_COLUMNS]


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    """An image and PyBDSF's own srl and gaul catalogues of it."""
    folder = tmp_path_factory.mktemp('field')
    image = write_field(folder / 'field.fits')
    img = run_pybdsf(images.read_image(image))
    catalogues = {kind: write_pybdsf_catalogue(img, folder / f'{kind}.fits', kind) for kind in ('srl', 'gaul')}
    return SimpleNamespace(image=str(image), **{kind: str(path) for kind, path in catalogues.items()})


def read(path):
    """Read a table as it is: no masks."""
    return Table(fits.getdata(path, 1)) if path.suffix == '.fits' else Table.read(path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- usage


def test_help_is_quick_because_it_imports_nothing_heavy():
    code = (
        'import contextlib, io, sys\n'
        'from claran_plugin.cli import main\n'
        'for arguments in (["--help"], ["run", "--help"], ["--version"], ["run"]):\n'
        '    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n'
        '        with contextlib.redirect_stderr(io.StringIO()):\n'
        '            main(arguments)\n'
        'print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "astropy", "torch", "matplotlib"}))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == '[]'


def test_module_runs_as_the_command():
    command = [sys.executable, '-m', 'claran_plugin', '--version']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert claran_plugin.__version__ in done.stdout


def test_package_offers_associate_but_does_not_load_it():
    assert 'associate' in dir(claran_plugin)
    from claran_plugin.pipeline import associate

    assert claran_plugin.associate is associate
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = claran_plugin.no_such_name


@pytest.mark.parametrize('command', ['run', 'associate', 'detect', 'simulate', 'dataset', 'dataset pack', 'demo'])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), '--help'])
    assert caught.value.code == 0
    assert 'claran ' + command in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments',
    [
        '',
        'fly',
        'run',
        'associate image.fits',
        'run image.fits --survey none',
        'run image.fits --format xls',
        'run image.fits --pybdsf thresh_pix',
        'run image.fits --fov -3',
        'run image.fits --kind shapelet',
        'run image.fits --beam 1 2',
        'simulate --number 0',
        'simulate --seed x',
        'dataset pack -o out',
        'dataset pack -o out --first folder',
        'dataset pack --simulate 3',
    ],
)
def test_wrong_usage(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith('usage: claran')
    assert names(tmp_path) == []


def test_choices_are_those_of_the_library():
    assert set(options.SURVEYS) == set(images.SURVEYS)
    assert set(options.FORMATS) == set(catalogue_writing.FORMATS)


def test_pybdsf_options_are_literals_or_text():
    values = [options.pybdsf_option(text)[1] for text in ('a=4.5', 'a=(60, 20)', 'a=True', 'a=None', 'a=map=x', 'a=')]
    assert values == [4.5, (60, 20), True, None, 'map=x', '']


# ---- what the commands write


def test_run_appends_to_pybdsfs_own_table(field, tmp_path, known_grouping, capsys):
    assert main(['run', field.image, '-o', str(tmp_path)]) == 0
    assert names(tmp_path) == ['field.components.fits', 'field.evidence.fits', 'field.png', 'field.sources.fits']
    assert_columns_kept(field.srl, tmp_path / 'field.components.fits')
    components, sources = (read(tmp_path / f'field.{kind}.fits') for kind in ('components', 'sources'))
    assert sources.colnames == SOURCES
    out, err = capsys.readouterr()
    assert err == ''
    summary = [' '.join(line.split()) for line in out.splitlines()]
    assert {f'components {len(components)}', f'sources {len(sources)}', 'of several components 1'} <= set(summary)
    assert all(str(tmp_path / name) in out for name in names(tmp_path))


def assert_columns_kept(original, extended):
    """All of the original's columns, to the last bit, and all of its header cards but those that count columns."""
    with fits.open(original) as before, fits.open(extended) as after:
        old, new = before[1], after[1]
        assert new.columns.names == [*old.columns.names, *NEW]
        for name in old.columns.names:
            assert old.data[name].tobytes() == new.data[name].tobytes(), name
        changed = {'NAXIS1', 'TFIELDS'}
        cards = [card.image for card in old.header.cards if card.keyword not in changed]
        kept = {card.image for card in new.header.cards}
        # PyBDSF puts the time of writing into its comments.
        assert [card for card in cards if card not in kept and 'PyBDSF' not in card] == []


def test_associate_finds_the_double(field, tmp_path, known_grouping):
    assert main(['associate', field.image, field.srl, '-o', str(tmp_path), '--quiet']) == 0
    assert_columns_kept(field.srl, tmp_path / 'field.components.fits')
    components, sources = (read(tmp_path / f'field.{kind}.fits') for kind in ('components', 'sources'))
    double = components[components['Assoc'] == 2]
    assert len(double) == 2
    assert len(set(double['Assoc_id'])) == 1
    assert set(double['Morphology']) == {'2C_2P'}
    assert len(sources) == len(components) - 1
    np.testing.assert_allclose(sources['Total_flux'].sum(), components['Total_flux'].sum(), rtol=1e-12)
    assert sorted(set(components['Assoc_id'])) == list(range(len(sources)))
    np.testing.assert_array_equal(sources['Source_Name'][components['Assoc_id']], components['Source_Name'])


def test_gaussians_may_be_associated_instead(field, tmp_path, known_grouping):
    assert main(['run', field.image, '-o', str(tmp_path), '--kind', 'gaul', '--no-picture', '--quiet']) == 0
    assert names(tmp_path) == ['field.components.fits', 'field.evidence.fits', 'field.sources.fits']
    assert_columns_kept(field.gaul, tmp_path / 'field.components.fits')


@pytest.mark.parametrize(('form', 'ending'), catalogue_writing.FORMATS.items())
@pytest.mark.parametrize('command', ['run', 'associate'])
def test_every_format_can_be_read(command, form, ending, field, tmp_path, known_grouping):
    catalogue = [field.srl] if command == 'associate' else []
    options = ['-o', str(tmp_path), '--format', form, '--no-picture', '--quiet']
    assert main([command, field.image, *catalogue, *options]) == 0
    components, sources = (read(tmp_path / f'field.{kind}{ending}') for kind in ('components', 'sources'))
    assert components.colnames == [*fits.getdata(field.srl).columns.names, *NEW]
    assert sources.colnames == SOURCES
    assert len(components) == len(fits.getdata(field.srl))
    np.testing.assert_array_equal(components['RA'], fits.getdata(field.srl)['RA'])
    assert set(sources['Morphology']) <= set(CLASSES)


@pytest.mark.parametrize('form', ['votable', 'csv', 'ascii.ecsv'])
def test_catalogues_in_other_formats_are_read(form, field, tmp_path, known_grouping):
    path = tmp_path / 'catalogue'
    Table.read(field.srl).write(path, format=form)
    assert main(['associate', field.image, str(path), '-o', str(tmp_path), '--quiet', '--no-picture']) == 0
    np.testing.assert_array_equal(read(tmp_path / 'field.components.fits')['DEC'], fits.getdata(field.srl)['DEC'])


def test_detect_writes_what_was_detected(field, tmp_path, known_grouping, capsys, monkeypatch):
    titles = []
    monkeypatch.setattr(WCSAxes, 'set_title', lambda axis, text, **_: titles.append(text))
    assert main(['detect', field.image, '-o', str(tmp_path)]) == 0
    out = capsys.readouterr().out
    told = dict(re.findall(r'^(\S.*\S) +(\d+)$', out, re.MULTILINE))
    assert told['sources'] == '1'
    assert int(told['not detected, left out']) == int(told['components']) - 2 > 0
    assert 20 < float(re.search(r'the brightest of these +([\d.]+) mJy', out).group(1)) < 40  # of 30 mJy
    (title,) = titles
    assert f'({told["not detected, left out"]} not detected)' in title
    assert names(tmp_path) == ['field.detections.fits', 'field.png']
    found = read(tmp_path / 'field.detections.fits')
    assert found.colnames == SOURCES
    assert len(found) == 1  # nothing else was seen by the detector
    assert found['Morphology'][0] == '2C_2P'
    assert not found['Morph_Flag'][0] & MorphFlag.NO_DETECTION
    np.testing.assert_allclose(found['Box_Width'], 36 * 0.0005 * 3600, rtol=1e-3)
    np.testing.assert_allclose(sum(found[f'P_{name}'][0] for name in CLASSES), 1, atol=0.1)


def test_provenance(field, tmp_path, known_grouping):
    folder = tmp_path / 'with a space'
    main(['associate', field.image, field.srl, '-o', str(folder), '--quiet', '--no-picture'])
    for path in folder.iterdir():
        header = fits.getheader(path, 1)
        assert header['CLVERS'] == claran_plugin.__version__
        assert header['CLWHASH'] == '0123456789ab'
        assert header['CLIMAGE'] == 'field.fits'
        history = ''.join(header['HISTORY'])
        assert f"CLCMD claran associate {field.image} {field.srl} -o '{folder}'" in history


@pytest.mark.parametrize(
    ('name', 'stem'),
    [
        ('a.b.fits', 'a.b'),
        ('a.fits.gz', 'a'),
        ('x/A.FITS', 'A'),
        ('a.fits.fz', 'a'),
        ('a.fit', 'a'),
        ('a.fts.bz2', 'a'),
        ('fits', 'fits'),
        ('a.image', 'a.image'),
        ('.fits', 'image'),
    ],
)
def test_stem(name, stem):
    assert images.image_stem(name) == stem


def test_infrared_goes_through(field, tmp_path, known_grouping):
    infrared = tmp_path / 'w1.fits'
    with fits.open(field.image) as hdus:
        fits.PrimaryHDU(np.abs(hdus[0].data), hdus[0].header).writeto(infrared)
    arguments = [
        'associate',
        field.image,
        field.srl,
        '-o',
        str(tmp_path / 'out'),
        '--infrared',
        str(infrared),
        '--quiet',
    ]
    assert main(arguments) == 0
    assert fits.getheader(tmp_path / 'out' / 'field.sources.fits', 1)['CLINFRA'] == 'w1.fits'


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ('beam=(1,1,0)', 'beam is no option here: give it with --beam'),
        ('filename=other.fits', 'the image is given by itself'),
        ('spectralindex_do=True', 'measure cubes with bdsf.process_image and claran_plugin.hooks.OpClaran'),
    ],
)
def test_options_that_are_not_pybdsf_s(field, tmp_path, option, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(['run', str(field.image), '-o', str(tmp_path), '--pybdsf', option])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_pybdsf_options_arrive(field, tmp_path, known_grouping, capsys):
    arguments = ['run', field.image, '-o', str(tmp_path), '--pybdsf', 'thresh_pix=150', '--pybdsf', "thresh='hard'"]
    assert main([*arguments, '--quiet']) == 0
    assert len(read(tmp_path / 'field.components.fits')) < len(fits.getdata(field.srl))
    assert main([*arguments, '--overwrite', '--pybdsf', 'no_such_option=1']) == 1
    assert 'no_such_option' in capsys.readouterr().err


# ---- simulate, dataset


@pytest.mark.parametrize('size', ['1.9', '601', '1e9'])
def test_simulated_fields_have_a_size_that_can_be(tmp_path, capsys, size):
    assert main(['simulate', '-o', str(tmp_path / 'out'), '--size', size]) == 1
    assert f'--size {float(size):g}: too ' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_outputs_that_the_system_refuses(tmp_path, capsys, monkeypatch):
    arguments = ['simulate', '--size', '2', '-o']
    assert main([*arguments, str(tmp_path / ('x' * 300))]) == 1
    assert capsys.readouterr().err.endswith('choose another folder with -o\n')

    def closed(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr('pathlib.Path.is_dir', closed)
    assert main([*arguments, str(tmp_path / 'out')]) == 1
    assert 'cannot be written (Permission denied); choose another' in capsys.readouterr().err


def test_simulate_is_repeatable_field_by_field(tmp_path, capsys):
    options = ['--size', '3', '--infrared', '--quiet']
    assert main(['simulate', '-o', str(tmp_path / 'a'), '--seed', '7', '--number', '2', *options]) == 0
    assert main(['simulate', '-o', str(tmp_path / 'b'), '--seed', '8', '--size', '3', '--quiet']) == 0
    kinds = ('fits', 'infrared.fits', 'truth.fits')
    assert names(tmp_path / 'a') == [f'field_{seed:04d}.{kind}' for seed in (7, 8) for kind in kinds]
    assert names(tmp_path / 'b') == ['field_0008.fits', 'field_0008.truth.fits']
    again, other = (fits.getdata(tmp_path / name) for name in ('b/field_0008.fits', 'a/field_0007.fits'))
    np.testing.assert_array_equal(fits.getdata(tmp_path / 'a' / 'field_0008.fits'), again)
    assert not np.array_equal(again, other)
    assert capsys.readouterr().out == ''


def test_dataset_pack(tmp_path, capsys):
    import json

    arguments = ['dataset', 'pack', '--simulate', '3', '--seed', '2', '-o', str(tmp_path / 'packed')]
    assert main(arguments) == 0
    assert names(tmp_path / 'packed') == ['snr.npy', 'subjects.json']
    subjects = json.loads((tmp_path / 'packed' / 'subjects.json').read_text())['subjects']
    assert [subject['origin'] for subject in subjects] == ['simulated'] * 3
    out = capsys.readouterr().out
    counts = np.bincount([label for subject in subjects for label in subject['labels']], minlength=6)
    row = next(line for line in out.splitlines() if line.startswith('simulated'))
    assert row.split()[1:] == [str(number) for number in (*counts, counts.sum())]
    assert main(arguments) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert main([*arguments, '--overwrite', '--quiet']) == 0


def test_dataset_pack_of_real_images(tmp_path, data_dir, capsys):
    import shutil

    def size_of(path):  # a galaxy wider than the cut-out is left out
        return float(path.name.split('.fits')[0].rpartition('_')[2])

    galaxies = sorted((data_dir / 'first' / 'unlabelled').glob('[1-4]??_*'), key=size_of)
    for name, paths in (('first', sorted((data_dir / 'first' / 'rgz_train').glob('FIRSTJ*'))), ('fr', galaxies)):
        (tmp_path / name).mkdir()
        for path in paths[:2]:
            shutil.copy(path, tmp_path / name)
    kept = {path.name.split('.fits')[0] for path in (tmp_path / 'first').iterdir()}
    lines = (data_dir / 'rgz' / 'catalogue.csv').read_text().splitlines()
    (tmp_path / 'rgz.csv').write_text('\n'.join([lines[0], *(x for x in lines if any(name in x for name in kept))]))
    arguments = ['dataset', 'pack', '--first', str(tmp_path / 'first'), '--rgz', str(tmp_path / 'rgz.csv')]
    arguments += ['--fr', str(tmp_path / 'fr'), '--simulate', '1', '-o', str(tmp_path / 'packed')]
    assert main(arguments) == 0
    assert len(np.load(tmp_path / 'packed' / 'snr.npy')) == 5
    origins = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1].isalpha()]
    assert [name for name in origins if name in ('first', 'first_fr', 'simulated')] == [
        'first',
        'first_fr',
        'simulated',
    ]


# ---- failures that are not the user's


@pytest.mark.parametrize(('error', 'code'), [(KeyboardInterrupt(), 130), (RuntimeError('a bug'), None)])
def test_nothing_is_left_after_a_failure_while_writing(
    error, code, field, tmp_path, known_grouping, monkeypatch, capsys
):
    def fail(association, path, **options):
        path.write_bytes(b'half a picture')
        raise error

    monkeypatch.setattr(plotting, 'overlay', fail)
    arguments = ['associate', field.image, field.srl, '-o', str(tmp_path / 'out'), '--quiet']
    if code is None:  # a bug shows its traceback
        with pytest.raises(RuntimeError, match='a bug'):
            main(arguments)
    else:
        assert main(arguments) == code
        assert capsys.readouterr().err == 'claran: interrupted\n'
    assert names(tmp_path) == []


def test_a_missing_detector_is_one_line(field, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'claran_plugin.detection.inference', None)
    weights = tmp_path / 'weights.pth'
    weights.touch()
    arguments = ['associate', field.image, field.srl, '-o', str(tmp_path / 'out'), '--weights', str(weights)]
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith('claran: ')
    assert err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


# ---- progress


def test_progress_in_lines(capsys, monkeypatch):
    assert list(Log().fields(range(3), 3)) == [0, 1, 2]
    assert capsys.readouterr() == ('claran: 3 fields of view looked at\n', '')
    assert list(Log(quiet=True).fields(range(3), 3)) == [0, 1, 2]
    assert capsys.readouterr() == ('', '')
    monkeypatch.setattr('claran_plugin.progress.LINE_SECONDS', -1.0)
    assert list(Log().track(iter('ab'), None, 'things')) == ['a', 'b']
    assert capsys.readouterr().out.splitlines() == ['claran: 1 things', 'claran: 2 things', 'claran: 2 things']


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert list(Log().fields(range(3), 3)) == [0, 1, 2]
    assert '3/3' in terminal.getvalue() or '100%' in terminal.getvalue() or '0/3' in terminal.getvalue()


# ---- with the real detector


def test_run_with_a_detector_that_knows_nothing(field, tmp_path, random_weights):
    assert main(['run', field.image, '-o', str(tmp_path), '--weights', str(random_weights), '--quiet', '--all']) == 0
    assert_columns_kept(field.srl, tmp_path / 'field.components.fits')
    components, sources = (read(tmp_path / f'field.{kind}.fits') for kind in ('components', 'sources'))
    assert sorted(set(components['Assoc_id'])) == list(range(len(sources)))


def test_run_on_a_simulated_field_with_the_bundled_detector(tmp_path, bundled_weights, capfd):
    assert main(['simulate', '-o', str(tmp_path), '--size', '4', '--seed', '5', '--quiet']) == 0
    image = str(tmp_path / 'field_0005.fits')
    assert main(['run', image, '-o', str(tmp_path / 'out'), '--device', 'cpu']) == 0
    out, err = capfd.readouterr()
    assert err == ''  # none of the libraries' chatter
    assert all(line.startswith(('claran: ', 'components', 'sources', 'of several', str(tmp_path))) for line in
               out.splitlines()[:-1])  # fmt: skip
    sources = read(tmp_path / 'out' / 'field_0005.sources.fits')
    assert len(sources)
    total = sum(sources[f'P_{name}'] for name in CLASSES)
    assert np.all(total <= 1 + 1e-5)
    np.testing.assert_allclose(
        sources['Morph_Prob'], np.max([sources[f'P_{name}'] for name in CLASSES], axis=0), rtol=1e-6
    )


def test_a_real_field(tmp_path, data_dir, bundled_weights):
    image = next(iter(sorted((data_dir / 'first' / 'fields').glob('*.fits.gz'))))
    assert main(['run', str(image), '--survey', 'first', '-o', str(tmp_path), '--quiet']) == 0
    stem = images.image_stem(image)
    components, sources = (read(tmp_path / f'{stem}.{kind}.fits') for kind in ('components', 'sources'))
    assert len(components) >= len(sources) > 0
