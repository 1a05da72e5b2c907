"""Runs of `claran dataset rgz` on small catalogues and images, and the published catalogue."""

import csv
import json
from pathlib import Path

import pytest
from rgz_files import write_catalogue, write_folders

from claran_plugin.cli import main
from claran_plugin.datasets.rgz_catalogue import read_subjects


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path)


def run(*arguments):
    return main(['dataset', 'rgz', *map(str, arguments), '--quiet'])


def read(folder, name):
    return json.loads((Path(folder) / f'{name}.json').read_text())


def rejected(folder):
    with open(Path(folder) / 'rejected.csv', newline='') as file:
        return list(csv.DictReader(file))


def catalogue(tmp_path, *subjects):
    return read_subjects(write_catalogue(tmp_path / 'c.csv', subjects))


@pytest.fixture(scope='session')
def published(data_dir):
    return read_subjects(data_dir / 'rgz' / 'catalogue.csv')
