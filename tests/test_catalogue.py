"""The columns of both tables: those of the contract, described, and a partition of the components."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd
from catalogue_tables import (
    ALL_SOURCE_COLUMNS,
    CONTRACT_COMPONENTS,
    LABELS,
    groups_table,
    original,
    standard_table,
    tables_of,
)

from claran_plugin.catalogue import (
    COMPONENT_COLUMNS,
    FLAG_MEANINGS,
    HOST_COLUMNS,
    SOURCE_COLUMNS,
    MorphFlag,
    build_component_table,
    build_source_table,
)
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.standard_components import standardise

__all__ = ['original']  # fixtures


# ---- columns


def test_columns_are_those_of_the_contract():
    assert [spec.name for spec in COMPONENT_COLUMNS] == CONTRACT_COMPONENTS.split()
    assert [spec.name for spec in SOURCE_COLUMNS] == ALL_SOURCE_COLUMNS


@pytest.mark.parametrize('spec', COMPONENT_COLUMNS + SOURCE_COLUMNS + HOST_COLUMNS, ids=lambda spec: spec.name)
def test_every_column_is_described(spec):
    assert check_ucd(spec.ucd, check_controlled_vocabulary=True)
    assert 0 < len(spec.description) <= 68
    if spec.unit:
        u.Unit(spec.unit, format='fits')


def test_flags_are_distinct_bits_with_meanings():
    assert [flag.value for flag in MorphFlag] == [2**i for i in range(len(MorphFlag))]
    assert set(FLAG_MEANINGS) == set(MorphFlag)
    assert all(len(f'Morph_Flag {flag.value}: {text}') <= 72 for flag, text in FLAG_MEANINGS.items())


# ---- sources


def test_sums_are_conserved_and_errors_add_in_quadrature():
    rng = np.random.default_rng(1)
    n = 200
    labels = np.concatenate([np.arange(50), rng.integers(0, 50, n - 50)])
    standard = standard_table(rng.uniform(0, 360, n), rng.uniform(-90, 90, n), rng.uniform(0, 1, n))
    sources = build_source_table(standard, labels, groups_table(50))
    np.testing.assert_allclose(sources['Total_flux'].sum(), standard['Total_flux'].sum(), rtol=1e-12)
    assert sources['Assoc'].sum() == n
    for i in range(50):
        own = standard[labels == i]
        assert sources['Peak_flux'][i] == own['Peak_flux'].max()
        np.testing.assert_allclose(sources['E_Total_flux'][i].value, np.linalg.norm(own['E_Total_flux'].value))
        assert sources['Assoc'][i] == len(own)
    assert sources.colnames == ALL_SOURCE_COLUMNS
    assert all(sources[spec.name].unit == (spec.unit and u.Unit(spec.unit)) for spec in SOURCE_COLUMNS)


@pytest.mark.parametrize('labels', [[0, 1], [0, 2, 2], [1, 1, 1], [-1, 0, 0]])
def test_labels_must_be_a_partition(labels):
    with pytest.raises(ValueError, match='labels must'):
        build_source_table(standard_table([1, 2, 3], [1, 2, 3]), labels, groups_table(3))


def test_host_columns_are_written_where_given():
    groups = groups_table(1)
    groups['Host'], groups['Host_Prob'] = SkyCoord([1.0], [2.001], unit='deg'), [0.75]
    sources = build_source_table(standard_table([1], [2]), [0], groups)
    assert sources.colnames[-4:] == ['Host_RA', 'Host_DEC', 'Host_Prob', 'Host_Sep']
    assert sources['Host_Sep'].to_value('arcsec') == pytest.approx([3.6], abs=1e-3)
    assert sources['Host_Prob'] == pytest.approx([0.75])


def test_the_given_table_is_not_changed(original):
    table = read_catalogue(original)
    names = list(table.colnames)
    tables_of(original)
    sources = build_source_table(standardise(table), LABELS, groups_table(3))
    build_component_table(table, sources, LABELS, np.ones(6))
    assert table.colnames == names
