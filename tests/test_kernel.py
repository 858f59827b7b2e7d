"""A run in a real kernel that is interrupted, shut down and started again, as JupyterLab's menu does it."""
import os
import queue
import time

import pytest
from jupyter_client.manager import start_new_kernel

from degas_nb.ground.folders import RunFolder
from lab import ROOT

SEARCH = '''from degas_nb.ground.data import load
from degas_nb.views.live import live
from degas_nb.search.alternating import Search, SearchConfig
images = load('emoji', limit=64)
config = SearchConfig(epochs=2000, batch_size=16, width=4)'''
START = "run = live(Search.from_config(images, config), folder='run', save_every=3600, show=False)"
GO_ON = "run = live(Search.load('run', images), folder='run', save_every=3600, show=False)"


class Kernel:
    "A kernel of its own in `folder`; `said(code)` runs a cell and gives back what it printed, or the name of its error."
    def __init__(self, folder):
        env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
        self.manager, self.client = start_new_kernel(kernel_name='python3', cwd=str(folder), env=env)

    def said(self, code, meanwhile=lambda: None, timeout=60):
        asked, text, busy = self.client.execute(code), '', False
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try: message = self.client.get_iopub_msg(timeout=.2)
            except queue.Empty: continue
            if message['parent_header'].get('msg_id') != asked: continue
            kind, content = message['msg_type'], message['content']
            if kind == 'status' and content['execution_state'] == 'busy' and not busy:
                busy = True
                meanwhile()
            if kind == 'stream': text += content['text']
            if kind == 'error': text += content['ename']
            if kind == 'status' and content['execution_state'] == 'idle': return text.strip()
        raise AssertionError(f'the kernel does not end this cell: {code}')

    def until(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while self.said(f'print(bool({expression}))') != 'True': assert time.monotonic() < end, expression

    def end(self, now=False):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)


@pytest.fixture
def kernels(tmp_path):
    "Kernels in one folder; whatever is left is ended."
    started = []

    def start():
        started.append(Kernel(tmp_path))
        return started[-1]

    yield start
    for kernel in started:
        if kernel.manager.is_alive(): kernel.end(now=True)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_shut_down_and_taken_up_again(kernels, tmp_path):
    first = kernels()
    assert first.said(SEARCH) == first.said(START) == ''          # both return at once and say nothing
    first.until('run.n > 5')
    n = int(first.said('print(run.n)'))
    first.end()
    saved = RunFolder.open(tmp_path/'run', 'search')
    assert saved.load_checkpoint()['step'] >= n and not saved.busy()

    second = kernels()
    second.said(SEARCH)
    assert second.said(f'{GO_ON}\nprint(run.n >= {n})') == 'True'
    second.until(f'run.n > {n} + 5')

    def interrupt():
        time.sleep(.5)
        second.manager.interrupt_kernel()

    assert second.said('run.wait()', interrupt) == 'KeyboardInterrupt'   # the waiting ends ...
    second.until(f'run.state == "running" and run.n > {n} + 20')         # ... and the run goes on
    assert second.said('run.stop()\nprint(run.wait(), run.says.split("; ")[-1].split(" at ")[0])') == 'stopped saved'
    n = int(second.said('print(run.n)'))
    second.manager.restart_kernel(now=False)
    second.client.wait_for_ready(timeout=60)
    second.said(SEARCH)
    assert second.said(f'{GO_ON}\nprint(run.n)') == str(n)
