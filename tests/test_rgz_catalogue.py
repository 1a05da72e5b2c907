"""Reading a Radio Galaxy Zoo catalogue: which subjects are used, how they are split, what is said of faulty ones."""

import pytest
from rgz_files import SUBJECTS, Source, Subject, write_catalogue
from rgz_runs import catalogue

from claran_plugin.datasets.rgz_catalogue import published_split, random_split, read_subjects, select
from claran_plugin.errors import InputError


def test_one_source_decides_over_its_subject(tmp_path):
    good = Source(((0, 0),), 1, 20)
    names = [f'FIRSTJ10000{k}.0+200000' for k in range(6)]
    subjects = catalogue(
        tmp_path,
        Subject(names[0], (good, good._replace(offsets=((30, 0),)))),
        Subject(names[1], (good, good._replace(consensus=0.59))),
        Subject(names[2], (good, Source(((0, 0),), 4, 20))),
        Subject(names[3], (Source(((0, 0),) * 4, 4, 20), good)),
        Subject(names[4], (good._replace(consensus=0.6),)),
        Subject(names[5], (Source(((0, 0), (9, 9)), 1, 20),)),  # fewer peaks than components: none of the classes
    )
    assert [subject.name for subject in select(subjects)] == [names[0], names[4]]
    assert len(select(subjects, min_consensus=0.5)) == 3
    assert len(select(subjects, min_consensus=0.5, most_peaks=1)) == 3
    assert [len(subject.sources) for subject in subjects] == [2, 2, 2, 2, 1, 1]


def test_random_split(tmp_path):
    subjects = catalogue(tmp_path, *(Subject(f'FIRSTJ10{k:02d}00.0+200000', SUBJECTS[0].sources) for k in range(50)))
    split = random_split(subjects, 7, 0.3)
    assert (len(split.training), len(split.testing), split.by) == (35, 15, 7)
    assert sorted(s.name for s in split.all) == sorted(s.name for s in subjects)
    names = {s.name for s in split.testing}
    assert {s.name for s in random_split(subjects[::-1], 7, 0.3).testing} == names
    assert {s.name for s in random_split(subjects, 8, 0.3).testing} != names
    assert not random_split(subjects, 7, 0.0).testing


def test_overlapping_fields_are_in_one_set(tmp_path):
    pairs = [f'FIRSTJ10{k:02d}{second}.0+200000' for k in range(20) for second in ('00', '11')]  # 2.6' apart
    subjects = catalogue(tmp_path, *(Subject(name, SUBJECTS[0].sources) for name in pairs))
    split = random_split(subjects, 3, 0.5)
    assert len(split.testing) == 20
    assert not {s.name[:10] for s in split.testing} & {s.name[:10] for s in split.training}
    chain = [f'FIRSTJ10{10 + k // 5}{12 * (k % 5):02d}.0+200000' for k in range(15)]  # 2.8' from one to the next
    more = catalogue(tmp_path, *(Subject(name, SUBJECTS[0].sources) for name in [*chain, *pairs[:12]]))
    assert all(len(random_split(more, seed, 0.5).testing) >= 12 for seed in range(8))


def test_published_split_must_be_in_the_catalogue(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    lines = path.read_text().splitlines()
    mixed = [*lines[:2], lines[2], lines[3][:-1] + '0', *lines[4:]]
    path.write_text('\n'.join(mixed))
    with pytest.raises(InputError, match='does not say whether it is for training'):
        published_split(read_subjects(path))
    path.write_text('\n'.join(line.rsplit(',', 1)[0] for line in lines))
    with pytest.raises(InputError, match='use --split random'):
        published_split(read_subjects(path))
    assert len(random_split(read_subjects(path), 1).all) == len(SUBJECTS)


@pytest.mark.parametrize(
    ('old', 'new', 'fault'),
    [
        ('first_id', 'id', "KeyError: 'first_id'"),
        ('FIRSTJ100000.0+200000', 'unknown', 'not a Radio Galaxy Zoo catalogue'),
        (',0.8,', ',,', 'sources without a consensus level'),
        (',20,', ',wide,', "line 2, FIRSTJ.*: could not convert string to float: 'wide'"),
        ('FIRSTJ100000.0+200000', 'unknown', 'first_id unknown: holds no position'),
        (',1\n', ',2\n', 'line 2, FIRSTJ.*: training is 2, neither 1 nor 0'),
    ],
)
def test_bad_catalogues(tmp_path, old, new, fault):
    path = write_catalogue(tmp_path / 'c.csv')
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=fault):
        read_subjects(path)


def test_a_position_of_one_coordinate(tmp_path):
    path = tmp_path / 'c.csv'
    path.write_text(
        'first_id,num_cpnts,num_peaks,cpnts_ras,cpnts_decs,ang_extent,cl\n'
        'FIRSTJ100000.0+200000,2,2,150.0;150.01,20.0,20,0.8\n'
    )
    with pytest.raises(InputError, match=r'line 2, FIRSTJ100000\.0\+200000: 2 right ascensions, but 1 declinations'):
        read_subjects(path)


def test_a_byte_order_mark(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    expected = read_subjects(path)
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert [one.name for one in read_subjects(path)] == [one.name for one in expected]


def test_a_source_that_is_listed_twice(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    first, *others = path.read_text().splitlines()[1:]
    path.write_text(path.read_text() + '99' + first[first.index(',') :] + '\n')
    with pytest.raises(InputError, match=f'line {len(others) + 3}, FIRSTJ.*: a source is listed twice'):
        read_subjects(path)


@pytest.mark.parametrize('length', [65, 45, 30])
def test_a_catalogue_that_was_cut_off(tmp_path, length):
    path = write_catalogue(tmp_path / 'c.csv')
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([*lines[:2], lines[2][:length]]))
    with pytest.raises(InputError, match='ValueError: line 3 is cut short'):
        read_subjects(path)


def test_an_entry_that_never_ends(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    path.write_text(f'{path.read_text()}"{"x" * 200_000}')
    with pytest.raises(InputError, match='after line 7: field larger than field limit'):
        read_subjects(path)


def test_empty_and_missing_catalogues(tmp_path):
    with pytest.raises(InputError, match='no such catalogue'):
        read_subjects(tmp_path / 'none.csv')
    with pytest.raises(InputError, match='has no sources'):
        catalogue(tmp_path)
