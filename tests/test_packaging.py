"""The package as it is installed: what it imports, what a wheel carries, and that it runs on any machine."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MAPPED = {'claran_plugin.hooks': 'hooks', 'claran_plugin.configs': 'mmdet_configs'}
CODE = ('claran_plugin', *MAPPED.values())
LEFT = (
    'claran_plugin/weights/mine.pth~',
    'claran_plugin/weights/.DS_Store',
    'hooks/.op_claran.py.swp',
    'mmdet_configs/claran_compact.py~',
    'tests/.hypothesis/constants',
    'tests/__pycache__/conftest.pyc',
    'tests/field.fits.pybdsf.log',
    'docs/.ipynb_checkpoints/columns.md',
)
"""Files that runs, editors and desktops leave."""

IMPORT_SKY_SIDE = """
import importlib, json, pkgutil, sys
import claran_plugin

def walk(package):  # unlike pkgutil.walk_packages, this does not import detection to look into it
    yield package.__name__
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):
        if found.name in ('claran_plugin.detection', 'claran_plugin.__main__'):
            continue
        if found.ispkg:
            yield from walk(importlib.import_module(found.name))
        else:
            yield found.name

names = []
culprits = []
for name in walk(claran_plugin):
    names.append(name)
    importlib.import_module(name)
    loaded = [other for other in ('torch', 'mmengine', 'mmcv', 'mmdet') if other in sys.modules]
    if loaded:
        culprits.append(f'{loaded} loaded by {name}')
        break
print(json.dumps({'names': names, 'culprits': culprits}))
"""

LOCATE = """
import importlib.resources, json, sys
print(json.dumps({name: str(importlib.resources.files(name).joinpath('.')) for name in sys.argv[1:]}))
"""


def run_python(code: str, *arguments: str, cwd: Path) -> dict[str, object]:
    """Run code in a fresh interpreter that sees the installed package only, and read the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def source_files(folder: Path, pattern: str = '*') -> set[str]:
    """Return the files below a folder, as relative POSIX paths, without caches."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob(pattern)
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the source, and leave in it what runs, editors and desktops leave."""
    source = tmp_path_factory.mktemp('source')
    for name in CODE:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.cfg', 'pyproject.toml', 'LICENSE', 'MANIFEST.in', 'tests/conftest.py', '.ci/run', *LEFT):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name in LEFT:
            (source / name).touch()
        else:
            shutil.copy(REPOSITORY / name, source / name)
    return source


@pytest.fixture(scope='module')
def wheel_names(source: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build a wheel from a copy of the source, and return the names of the files in it."""
    target = tmp_path_factory.mktemp('wheel')
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--no-index']
    done = subprocess.run(
        [*command, '--wheel-dir', str(target), str(source)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob('claran_plugin-*.whl')
    return set(zipfile.ZipFile(wheel).namelist())


def test_sky_side_imports_no_torch(tmp_path: Path) -> None:
    found = run_python(IMPORT_SKY_SIDE, cwd=tmp_path)
    assert not found['culprits']
    on_disk = {
        'claran_plugin.' + name.removesuffix('.py').replace('/', '.').removesuffix('.__init__')
        for name in source_files(REPOSITORY / 'claran_plugin', '*.py')
        if name.split('/')[0] not in ('detection', '__init__.py', '__main__.py')
    }
    assert on_disk <= set(found['names'])


def test_mapped_folders_are_importable_where_setup_cfg_says(tmp_path: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / 'setup.cfg')
    lines = setup['options']['package_dir'].split('\n')
    mapping = dict(re.split(r'\s*=\s*', line.strip()) for line in lines if line.strip())
    assert mapping == {'claran_plugin': 'claran_plugin', **MAPPED}

    installed = run_python(LOCATE, *MAPPED, cwd=tmp_path)
    for name, folder in MAPPED.items():
        assert source_files(REPOSITORY / folder, '*.py') <= source_files(Path(installed[name]), '*.py')


def test_wheel_has_every_module_config_and_weight(wheel_names: set[str]) -> None:
    expected = {f'claran_plugin/{name}' for name in source_files(REPOSITORY / 'claran_plugin', '*.py')}
    for name, folder in MAPPED.items():
        expected |= {f'{name.replace(".", "/")}/{file}' for file in source_files(REPOSITORY / folder, '*.py')}
    weights = REPOSITORY / 'claran_plugin' / 'weights'
    if weights.is_dir():
        expected |= {f'claran_plugin/weights/{name}' for name in source_files(weights)}
    assert expected <= wheel_names


def test_wheel_has_nothing_else(wheel_names: set[str]) -> None:
    assert {name.split('/')[0].split('-')[0] for name in wheel_names} == {'claran_plugin'}
    assert not [name for name in wheel_names if '__pycache__' in name]
    assert not {Path(name).name for name in wheel_names} & {Path(name).name for name in LEFT}


def test_source_distribution_has_nothing_that_was_left(source: Path) -> None:
    command = [sys.executable, '-c', 'import setuptools; setuptools.setup()', '--quiet', 'egg_info']
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names = set((source / 'claran_plugin.egg-info' / 'SOURCES.txt').read_text(encoding='utf-8').splitlines())
    assert not names & set(LEFT)
    expected = {'.ci/run', 'tests/conftest.py', 'MANIFEST.in'}
    expected |= {f'claran_plugin/weights/{name}' for name in source_files(REPOSITORY / 'claran_plugin' / 'weights')}
    assert expected <= names


def test_no_file_names_a_place_on_one_machine() -> None:
    suspicious = re.compile(r'(?<![\w.\-~}])/(?:home|root|Users|work|mnt|scratch)/\w')
    texts = [REPOSITORY / name for name in ('Makefile', 'setup.cfg', 'pyproject.toml', 'MANIFEST.in', '.ci/run')]
    texts += [REPOSITORY / '.pre-commit-config.yaml']
    for folder in (*CODE, 'tests', 'benchmarks'):
        texts += [
            path
            for path in (REPOSITORY / folder).rglob('*')
            if path.suffix in ('.py', '.sh', '.cfg', '.toml', '.json', '.yaml', '.yml') and path.is_file()
        ]
    found = [
        f'{path.relative_to(REPOSITORY)}:{number}: {line.strip()}'
        for path in texts
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), start=1)
        if suspicious.search(line)
    ]
    assert not found, '\n'.join(found)
