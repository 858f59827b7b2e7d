"""Runs without arithmetic, for the tests of what shows and drives them."""
import math
import os
import threading
import time
from dataclasses import dataclass, field

import pytest

from degas_nb.views.live import ALIVE
from degas_nb.ground.folders import RunFolder

NAN = float('nan')


@dataclass(frozen=True)
class Step:
    n:int
    losses:dict = field(default_factory=lambda: dict(mse=1.))
    weights:dict|None = None


def weights(n): return {'a-b': dict(p=.5 + .4*math.sin(n), q=.5 - .4*math.sin(n)), 'b-c': dict(p=.25, q=.75), 'a-c': dict(p=.5, q=.5)}


class Run:
    "A run without arithmetic; `odd` gives steps that are not plain."
    def __init__(self, total=20, odd=lambda n: None, pause=0.): self.total, self.n, self.odd, self.pause, self.threads, self.saved = total, 0, odd, pause, set(), []
    def __len__(self): return self.total
    def __iter__(self): return self
    def __next__(self):
        if self.n >= self.total: raise StopIteration
        time.sleep(self.pause)
        self.n += 1
        self.threads.add(threading.get_ident())
        return self.odd(self.n) or Step(self.n, dict(mse=1/self.n), weights(self.n))
    def save(self, folder): self.saved.append(self.n)


class Kept(Run):
    "One that keeps a real run folder, as a search does."
    def folder(self, path): return RunFolder.open(path) if os.path.exists(f'{path}/config.json') else RunFolder.create(path, 'search', dict(epochs=1, batch_size=1), dict(n=self.total))
    def save(self, folder): folder.save_checkpoint(dict(step=self.n)); self.saved.append(self.n)


def until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, 'it did not happen'
        time.sleep(.005)


def recorded(path, n=100, total=100, **about):
    run = RunFolder.create(path, about.get('kind', 'search'), dict(epochs=total, batch_size=8), dict(n=8))
    for step in range(1, n + 1): run.trace.append(dict(step=step, epoch=1, lr=.1, mse=1/step, weights=weights(step)))
    return run


@pytest.fixture
def nothing_left_behind():
    "What a test leaves running ends with it."
    yield
    for it in list(ALIVE): it.stop()
    for it in list(ALIVE): it.thread.join(10)
    assert not ALIVE
