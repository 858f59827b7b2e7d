"""Fixtures that several test files share."""
from pathlib import Path

import pytest

from commands import drawn, found, line, quiet_machine  # noqa: F401
from lab import browser, chromium, lab  # noqa: F401
from toys import nothing_left_behind  # noqa: F401

SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def shared_cifar() -> Path:
    "CIFAR-10, JPEG q75 copy: lies beside the checkout on the project's machines, not in the repository"
    path = SHARED / 'data' / 'cifar10.zip'
    if not path.exists(): pytest.skip(f'{path} is not on this machine')
    return path


@pytest.fixture
def simgpu(monkeypatch):
    "A device that is not the CPU: its name, for `--device` and `.to`; see sim_device.py"
    from sim_device import simulated  # not at the top: it makes the device known to the whole process
    with simulated(monkeypatch) as device: yield device
