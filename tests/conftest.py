"""Fixtures that several test files share."""
import gc
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from commands import alone, drawn, found, line, quiet_machine  # noqa: F401
from lab import browser, chromium, lab  # noqa: F401
from sim_device import AVAILABLE, make_known, simulated
from toys import nothing_left_behind  # noqa: F401

ALONE = {'test_browser', 'test_kernel', 'test_serve', 'test_widgets'}
WATCHED = {'chromium', 'serve', 'kernels'}   # fixtures of their tests that somebody beside them could disturb
NAMED = {'device': re.compile(r'\bsimgpu\b|mark\.device\b'), 'alone': re.compile(r'mark\.alone\b')}
LONGEST = ['test_study', 'test_goes_on', 'test_ranks', 'test_docs', 'test_strategies', 'test_cli', 'test_outlives', 'test_decide', 'test_gan', 'test_gpu_script']
SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def shared_cifar()->Path:
    "CIFAR-10, JPEG q75 copy: lies beside the checkout on the project's machines, not in the repository"
    path = SHARED / 'data' / 'cifar10.zip'
    if not path.exists(): pytest.skip(f'{path} is not on this machine')
    return path


def pytest_configure(config):
    if 'TESTS_CACHE' in os.environ: os.environ['XDG_CACHE_HOME'] = os.environ['TESTS_CACHE']   # `make test` has one for all its sessions
    elif 'PYTEST_XDIST_WORKER' not in os.environ:   # a cache of this session's own, which its workers, commands and kernels share: a classifier is trained once
        config.cache_home = tempfile.mkdtemp(prefix='degas-cache-')
        os.environ['XDG_CACHE_HOME'] = config.cache_home
    config.addinivalue_line('markers', 'device: uses the simulated device; `make test` gives these tests a process of their own, see sim_device.make_known')
    config.addinivalue_line('markers', 'alone: watches a clock, a browser or a kernel; `make test` runs these tests with nothing beside them but what is nice')
    config.addinivalue_line('markers', 'long: takes seconds, and much of it is waited for; `make test` leaves it to `make long-test`, and CI makes both')
    if kind_asked_for(config) == 'device' and AVAILABLE: make_known()


def kind_asked_for(config)->str:
    "'device' or 'alone' where only such tests run"
    first = config.getoption('markexpr').split(' and ')[0]
    return first if first in NAMED else ''


def pytest_unconfigure(config):
    if hasattr(config, 'cache_home'): shutil.rmtree(config.cache_home, ignore_errors=True)


def pytest_ignore_collect(collection_path, config):
    "A process for one kind of tests does not read the files that have none: reading them all takes it ten seconds."
    kind = kind_asked_for(config)
    if kind and collection_path.match('test_*.py') and not (kind == 'alone' and collection_path.stem in ALONE) and not NAMED[kind].search(collection_path.read_text()): return True


def pytest_collection_finish():
    gc.collect()
    gc.freeze()   # what is imported is nobody's garbage: not here, and not in the processes that are forked from here


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if 'simgpu' in getattr(item, 'fixturenames', ()): item.add_marker('device')
        elif item.path.stem in ALONE and WATCHED & {*item.fixturenames}: item.add_marker('alone')
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))   # or the last file keeps one core waiting


@pytest.fixture
def simgpu(monkeypatch):
    "A device that is not the CPU: its name, for `--device` and `.to`; see sim_device.py"
    with simulated(monkeypatch) as device: yield device
