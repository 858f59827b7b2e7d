"""Whatever drives a run in the background, and everything that can go wrong with it."""
import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from ctypes.util import find_library
from types import SimpleNamespace

import pytest

from degas_nb.views import live as driving
from degas_nb.views import widgets
from degas_nb.views.dashboard import Dashboard
from degas_nb.views.live import live, stop_all
from degas_nb.views.replay import replay, watch
from degas_nb.ground.folders import RunFolder
from degas_nb.ground.errors import UserError
from warm import python
from toys import NAN, Kept, Run, Step, recorded, until, weights

pytestmark = pytest.mark.usefixtures('nothing_left_behind')


# ---- driving

def test_pause_step_continue_stop():
    run = Run(10**6, pause=.001)
    handle = live(run)
    until(lambda: run.n > 5)
    handle.pause()
    assert handle.wait(10) == 'paused'
    n = run.n
    time.sleep(.2)
    assert run.n == n == handle.n
    for k in (1, 3):
        handle.step(k)
        assert handle.wait(10) == 'paused'
        n += k
        assert run.n == n
    handle.resume()
    until(lambda: run.n > n + 5)
    begin = time.monotonic()
    handle.stop()
    assert handle.wait(10) == 'stopped' and time.monotonic() - begin < 2
    assert len(run.threads) == 1 and threading.get_ident() not in run.threads


def test_buttons_do_the_same():
    view, run = Dashboard(), Run(10**6, pause=.001)
    handle = live(run, view)
    press = lambda action: view._pressed(view, dict(action=action), [])
    press('pause')
    assert handle.wait(10) == 'paused'
    until(lambda: view.state == 'paused' and 'continue' in view.actions and 'pause' not in view.actions)
    n = run.n
    press('step')
    assert handle.wait(10) == 'paused' and run.n == n + 1
    press('save')
    until(lambda: 'no folder' in view.says)
    press('continue')
    until(lambda: run.n > n + 5)
    press('stop')
    assert handle.wait(10) == 'stopped'
    press('continue')
    until(lambda: 'is stopped' in view.says)
    assert view.heard == 6


def test_hundred_hands_at_once():
    run = Run(10**6)
    handle = live(run)
    def meddle(i):
        for k in range(20): (handle.pause, handle.resume, lambda: handle.step(2), lambda: handle.call(lambda: run.n, 20))[(i + k) % 4]()
    hands = [threading.Thread(target=meddle, args=(i,)) for i in range(20)]
    for h in hands: h.start()
    for h in hands: h.join(30)
    assert not any(h.is_alive() for h in hands)
    handle.pause()
    assert handle.wait(10) == 'paused' and handle.n == run.n
    handle.stop()
    assert handle.wait(10) == 'stopped'


def test_calls_run_between_steps_in_the_thread():
    run = Run(10**6, pause=.001)
    handle = live(run)
    assert handle.call(threading.get_ident) in run.threads
    with pytest.raises(ZeroDivisionError): handle.call(lambda: 1/0)
    assert handle.call(lambda: handle.call(lambda: 7)) == 7               # from inside, too
    handle.pause()
    handle.wait(10)
    assert handle.call(lambda: run.n) == run.n
    handle.stop()
    handle.wait(10)
    assert handle.call(lambda: 'after the end') == 'after the end'


def test_a_call_that_gets_no_turn():
    go = threading.Event()
    handle = live(Run(odd=lambda n: go.wait(20) and None))
    with pytest.raises(UserError, match='no step ended within 0.1'): handle.call(lambda: 1, timeout=.1)
    go.set()
    assert handle.wait(20) == 'done'


def test_the_same_steps_as_a_plain_loop():
    run = Run(50)
    handle = live(run, paused=True)
    handle.step(7), handle.wait(10), handle.resume()
    assert handle.wait(10) == 'done'
    plain = list(Run(50))
    assert handle.dashboard.board.weights == plain[-1].weights
    assert handle.dashboard.board.curves['mse'].kept == [(s.n, s.losses['mse']) for s in plain]


def test_it_returns_at_once_and_the_wait_can_end():
    handle = live(Run(1, odd=lambda n: time.sleep(.5)))
    assert handle.wait(.05) == 'running'
    assert handle.wait(10) == 'done'


# ---- bad use

@pytest.mark.parametrize('odd, says', [
    (lambda n: 1/0, 'ZeroDivisionError: division by zero'),
    (lambda n: Step(n, dict(mse=NAN)), 'mse is not finite at step 1: the run diverged; try a smaller learning rate'),
    (lambda n: Step(n, {('critic', 'gp'): float('inf')}), 'critic gp is not finite at step 1: the run diverged; try a smaller learning rate'),
    (lambda n: 'a word', "live needs steps with n and losses: 'str' object has no attribute 'n'")])
def test_a_run_that_raises_says_so(odd, says):
    view = Dashboard()
    handle = live(Run(odd=odd), view, paused=True)
    handle.resume()
    with pytest.raises(Exception) as raised: handle.wait(10)
    assert says.endswith(str(raised.value)) and (handle.state, handle.says) == ('failed', says)
    until(lambda: (view.state, view.says, view.actions) == ('failed', says, []))


def test_an_error_that_nobody_waits_for_is_printed(capsys):
    live(Run(odd=lambda n: {}['lost'])).thread.join(10)
    assert capsys.readouterr().out == "KeyError: 'lost'\n"


def test_two_drivers_two_dashboards():
    run, view = Run(), Dashboard()
    handle = live(run, view, paused=True)
    with pytest.raises(UserError, match='already going on'): live(run, Dashboard())
    with pytest.raises(UserError, match='another run'): live(Run(), view)
    handle.stop()
    assert handle.wait(10) == 'stopped'
    assert live(run, view).wait(10) == 'done'
    with pytest.raises(UserError, match='all of its 20 steps are done'): live(run)
    assert live(Run(5), view).wait(10) == 'done' and view.board.curves['mse'].kept[0][0] == 1 and view.board.step == 5


def test_a_cell_that_is_run_twice(tmp_path):
    "The first run goes on, and the second says so; in the same folder it is refused, by its name."
    first = live(Run(10**6, pause=.01), folder=tmp_path/'run')
    second = live(Run(10**6, pause=.01))
    assert 'another run is there in this kernel, Live(running at step' in second.says and 'stop_all()' in second.says
    until(lambda: second.says == second.dashboard.says)
    with pytest.raises(UserError, match=r'run is in use by another run of this kernel, Live\(running.*stop_all\(\) ends it'): live(Run(), folder=tmp_path/'x'/'..'/'run')
    second.pause(), second.wait(10), second.resume()
    assert 'another run is there' in second.says, 'still true'
    assert stop_all() == [first, second] and (first.state, second.state) == ('stopped', 'stopped') and first.run.saved
    assert stop_all() == [] and live(Run(), folder=tmp_path/'run').wait(10) == 'done'


@pytest.fixture
def cell(monkeypatch):
    "Pretend to be a cell of a notebook: cell('a') is executed, and executed again each time."
    def now(name):
        now.count += 1
        monkeypatch.setattr(widgets, 'get_ipython', lambda: SimpleNamespace(parent_header=dict(metadata=dict(cellId=name), header=dict(msg_id=str(now.count)))))
    now.count = 0
    yield now
    monkeypatch.undo()


@pytest.mark.parametrize('make', [lambda folder, n: Kept(10**6, pause=.01), lambda folder, n: Run(10**6, pause=.01)])
def test_a_notebook_cell_that_is_run_again_ends_what_it_had_started(cell, tmp_path, make):
    cell('a')
    first, beside = (live(make(tmp_path, n), folder=tmp_path/f'run{n}') for n in (1, 2))    # two of one execution bear each other
    assert (first.state, beside.state) == ('running', 'running')
    cell('b')
    other = live(Run(10**6, pause=.01))
    assert 'another run is there' in other.says and first.state == 'running'
    until(lambda: first.n > 3)
    cell('a')
    second = live(Run(10**6, pause=.01))
    assert (first.state, beside.state, other.state) == ('stopped', 'stopped', 'running') and first.run.saved
    assert f'this cell had started another run before: Live(stopped at step {first.n}' in second.says and f'saved at step {first.n}' in second.says


def test_the_same_run_and_the_same_dashboard_go_on_when_their_cell_is_run_again(cell):
    run, view = Run(10**6, pause=.01), Dashboard()
    cell('a')
    first = live(run, view)
    until(lambda: run.n > 3)
    cell('a')
    second = live(run, view)
    n = first.n
    assert first.state == 'stopped' and second.n == n and view.driver is second
    until(lambda: second.n > n + 3)
    cell('a')
    with pytest.raises(UserError): live([1, 2])                     # a slip ends nothing
    assert second.state == 'running'


def test_a_watching_cell_that_is_run_again(cell, tmp_path):
    folder = recorded(tmp_path/'run', 5, 10).path
    cell('a')
    first, run = watch(folder, every=.01), live(Run(10**6, pause=.01))
    cell('a')
    second = watch(folder, every=.01)
    assert (first.state, run.state) == ('stopped', 'running') and second.state != 'stopped', 'who watches ends who watches'


def test_stop_all_is_named_with_its_import_where_there_was_none(monkeypatch):
    offered = lambda: live(Run(10**6, pause=.01), paused=True).says
    offered()
    assert 'from degas_nb.views.live import stop_all; stop_all() ends all' in offered()
    monkeypatch.setattr(sys.modules['__main__'], 'stop_all', lambda: 'something else', raising=False)
    assert 'from degas_nb.views.live import stop_all; stop_all() ends all' in offered()
    monkeypatch.setattr(sys.modules['__main__'], 'stop_all', stop_all)
    assert ': stop_all() ends all' in offered()


@pytest.mark.parametrize('library', ['m', 'c'])
def test_a_runtime_that_cannot_be_asked(monkeypatch, library):
    "An OpenMP of before `omp_pause_resource_all`, as older wheels bring it: a real library without that name."
    real = ctypes.CDLL(find_library(library))
    monkeypatch.setattr(driving.ctypes, 'CDLL', lambda path: real)
    assert driving.give_back_workers() == 0
    assert live(Run()).wait(10) == 'done'
    asked = []
    monkeypatch.setattr(driving.ctypes, 'CDLL', lambda path: SimpleNamespace(omp_pause_resource_all=asked.append))
    assert driving.give_back_workers() == len(asked) and set(asked) <= {2}


def test_weights_are_there_before_the_first_step():
    "Bars, network and weights over time have their room when the first step comes."
    class Named(Run):
        def named_weights(self): return weights(self.n)
    class Holder(Run):
        def __init__(self, *args): super().__init__(*args); self.net = Named()
    for run in (Named(), Holder(), Named(30)):
        handle = live(run, paused=True)
        until(lambda: handle.dashboard.board.step == 0)
        assert handle.dashboard.board.weights == weights(0) and handle.dashboard.board.curves == {}
        handle.step()
        until(lambda: run.n == 1 and handle.state == 'paused')
        assert handle.dashboard.board.weights == weights(1)
        handle.stop()


def test_runs_that_are_none():
    for thing in ([1, 2], None, Run, 3):
        with pytest.raises(UserError, match='live needs a run'): live(thing)
    handle = live(Run(), paused=True)
    with pytest.raises(UserError, match=r'live\(handle.run\)'): live(handle)
    handle.stop()
    assert handle.wait(10) == 'stopped' and 'give the run to live() again' in handle.says
    with pytest.raises(UserError, match='has no save'): live(iter([]), folder='x')
    with pytest.raises(UserError, match='ask for 1 step'): live(Run(), paused=True).step(0)


def test_a_run_that_rests_first_is_paused_at_once_and_may_be_driven_to_its_end_by_somebody_else():
    run, view = Run(), Dashboard()
    handle = live(run, view, paused=True)
    assert handle.state == handle.wait(0) == 'paused'
    for step in run: pass
    handle.resume()
    assert handle.wait(10) == 'done' and handle.n == run.n == 20 and 'no step was left' not in handle.says


def test_an_iterator_without_length_that_is_used_up():
    handle = live(Step(n) for n in ())
    assert handle.wait(10) == 'done' and 'no step was left' in handle.says


def test_pictures_that_fail_end_the_pictures_only():
    handle = live(Run(), pictures=lambda run: 1/0)
    assert handle.wait(10) == 'done' and handle.says == 'no more pictures: ZeroDivisionError: division by zero'


def test_checkpoints(tmp_path):
    run = Kept(30, pause=.005)
    handle = live(run, folder=tmp_path/'run', save_every=.02)
    assert handle.wait(20) == 'done' and len(run.saved) > 2 and run.saved[-1] == 30
    folder = RunFolder.open(tmp_path/'run')
    assert folder.load_checkpoint() == dict(step=30)
    rows = folder.trace.read()
    assert [r['step'] for r in rows] == list(range(1, 31)) and rows[-1]['weights'] == weights(30)
    with pytest.raises(UserError, match='holds this run at step 30, this one is at 0'): live(Kept(30), folder=tmp_path/'run')
    with folder.lock(): pass                                       # free again


def test_a_folder_in_use(tmp_path):
    handle = live(Kept(), folder=tmp_path/'run', paused=True)
    handle.wait(10)
    with pytest.raises(UserError, match='in use by another run of this kernel'): live(Kept(), folder=tmp_path/'run')
    with pytest.raises(UserError, match='another process is working'):
        with RunFolder.open(tmp_path/'run').lock(): pass
    handle.save()
    handle.stop()
    assert handle.wait(10) == 'stopped' and 'saved at step 0' in handle.says
    (tmp_path/'other').mkdir()
    (tmp_path/'other/mine.txt').write_text('keep')
    with pytest.raises(UserError, match='holds other files'): live(Kept(), folder=tmp_path/'other')


def test_a_diverged_run_overwrites_no_checkpoint(tmp_path):
    run = Kept(odd=lambda n: Step(n, dict(mse=NAN)) if n == 5 else None)
    handle = live(run, folder=tmp_path/'run', paused=True)
    handle.step(4), handle.wait(10), handle.save(), handle.resume()
    with pytest.raises(UserError, match='not finite at step 5'): handle.wait(10)
    assert RunFolder.open(tmp_path/'run').load_checkpoint() == dict(step=4)


def test_a_removed_folder_is_told_and_the_run_goes_on(tmp_path):
    run = Kept(20)
    handle = live(run, folder=tmp_path/'run', paused=True)
    handle.step(2), handle.wait(10)
    shutil.rmtree(tmp_path/'run')
    with pytest.raises(UserError, match='no longer the folder that this run works in'): handle.save()
    handle.resume()
    assert handle.wait(10) == 'done' and run.n == 20 and 'no longer written down' in handle.says
    assert not (tmp_path/'run').exists()


def test_the_kernel_goes_away_and_the_run_is_saved(tmp_path):
    code = f'''if True:
        import time
        from degas_nb.views.live import live
        from toys import Kept
        handle = live(Kept(10**6, pause=.002), folder={str(tmp_path/'run')!r})
        while handle.n < 20: time.sleep(.01)'''
    assert python('-c', code, cwd=os.path.dirname(__file__), timeout=60).returncode == 0
    assert RunFolder.open(tmp_path/'run').load_checkpoint()['step'] >= 20


# ---- real runs

@pytest.mark.long
def test_a_search_has_the_same_bits(tmp_path):
    from degas_nb.ground.data import load
    from degas_nb.search.prune import explain_prune
    from degas_nb.search.alternating import Search, SearchConfig
    images = load('emoji', limit=32)
    config = SearchConfig(epochs=3, batch_size=16, width=4)
    plain = list(Search.from_config(images, config))[-1].weights
    search = Search.from_config(images, config)
    handle = live(search, Dashboard(explain_prune), folder=tmp_path/'run', paused=True)
    handle.step(2), handle.wait(60), handle.save(), handle.resume()
    assert handle.wait(60) == 'done' and handle.dashboard.board.weights == plain
    assert Search.load(tmp_path/'run', images).n == 6
    assert len(replay(tmp_path/'run', decide=explain_prune).frames) == 6
    other = watch(tmp_path/'run')
    assert other.wait(10) == 'done' and other.dashboard.board.weights == plain


def test_a_gan_training_has_no_alpha_and_is_shown(tmp_path):
    from degas_nb.ground.data import load
    from degas_nb.gan.training import GANConfig, GANTraining
    from degas_nb.space.genotype import Genotype
    training = GANTraining.from_config(load('emoji', limit=16), GANConfig(steps=2, batch_size=8, width=4, n_critic=1), Genotype.named('cifar10_paper'))
    handle = live(training, folder=tmp_path/'run', pictures=lambda t: dict(samples=t.sample(2)[0].permute(1, 2, 0).numpy()))
    assert handle.wait(60) == 'done' and 'critic wass' in handle.dashboard.board.curves and not handle.dashboard.board.weights
    with pytest.raises(UserError, match='has no alpha'): replay(tmp_path/'run')


@pytest.mark.long
def test_workers_are_given_back():
    "GNU's OpenMP counts sleeping workers of other threads, and a run in a thread would take twice as long."
    code = '''
import os, torch
from degas_nb.views.live import give_back_workers
x = torch.randn(600, 600)
threads = lambda: len(os.listdir('/proc/self/task'))
first = (x @ x).relu_()
before, asked = threads(), give_back_workers()
print(asked, before - threads(), bool(((x @ x).relu_() == first).all()))
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='2'))
    assert done.returncode == 0, done.stderr
    asked, gone, same = done.stdout.split()
    assert same == 'True' and int(gone) == int(asked)
