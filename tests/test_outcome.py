"""How a command ends that is interrupted or terminated: what it has begun is cleared away, and the exit code tells."""

import os
import signal
import tempfile
import time

import pytest

from claran_plugin.cli import main
from claran_plugin.commands import training
from claran_plugin.hooks import claran_after_pybdsf
from claran_plugin.outcome import exit_code


@pytest.fixture
def usual():
    """Let signals do what they usually do, also in a background job, and check that SIGTERM does so afterwards."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, interrupt)
    assert signal.signal(signal.SIGTERM, before) is signal.SIG_DFL


@pytest.mark.parametrize(
    ('number', 'code', 'said'), [(signal.SIGTERM, 143, 'terminated'), (signal.SIGINT, 130, 'interrupted')]
)
def test_temporary_files_are_removed(usual, tmp_path, capsys, number, code, said):
    def work():
        with tempfile.TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), number)
            time.sleep(10)

    assert exit_code('program', work) == code
    assert capsys.readouterr().err == f'program: {said}\n'
    assert not list(tmp_path.iterdir())


def test_being_terminated_twice_leaves_nothing_either(usual, tmp_path):
    def work():
        file = tmp_path / 'begun'
        try:
            file.touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # as a batch system and the script that it runs both do
            time.sleep(0.01)
            file.unlink()

    assert exit_code('program', work) == 143
    assert not list(tmp_path.iterdir())


def test_a_child_process_is_terminated_as_usual(usual, capfd):
    def work():
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM

    assert exit_code('program', work) == 0
    assert capfd.readouterr().err == ''


def test_a_training_is_told_to_end_not_killed(usual, tmp_path, monkeypatch, capfd):
    # as torch's launcher of several processes, which would leave these running
    tool = tmp_path / 'tool.py'
    tool.write_text(
        'import os, pathlib, signal, sys, time\n'
        'begun = pathlib.Path(__file__).with_name("begun")\n'
        'signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), begun.unlink(), sys.exit(1)))\n'
        'begun.touch()\n'
        'os.kill(os.getppid(), signal.SIGTERM)\n'
        'time.sleep(10)\n'
    )
    monkeypatch.setattr(training, 'find_tool', lambda name: tool)
    assert main(['train', 'compact']) == 143
    assert not (tmp_path / 'begun').exists()
    assert capfd.readouterr().err == 'claran: terminated\n'


def test_the_script_for_pipelines_ends_like_the_command(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(claran_after_pybdsf, 'read_image', interrupted)
    arguments = [str(tmp_path / 'field.fits'), '--catalogue-out', str(tmp_path / 'out' / 'field')]
    assert claran_after_pybdsf.main(arguments, associate=interrupted) == 130
    assert capsys.readouterr().err == 'claran_after_pybdsf: interrupted\n'
    assert not list(tmp_path.iterdir())
