"""The dashboard without a browser: what is sent, what drives a run, and everything that can go wrong with it."""
import io
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from degas_nb.dashboard import PER_SECOND, Dashboard, Desk, Heat, Pace, best_of_each, desk_picture, network_plan, ordered_nodes
from degas_nb.live import ALIVE, live, stop_all
from degas_nb.replay import Tail, replay, row_losses, scrub, thinned, watch
from degas_nb.runs import RunFolder
from degas_nb.show import UserError

NAN = float('nan')


@dataclass(frozen=True)
class Step:
    n: int
    losses: dict = field(default_factory=lambda: dict(mse=1.))
    weights: dict | None = None


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


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    for it in list(ALIVE): it.stop()
    for it in list(ALIVE): it.thread.join(10)
    assert not ALIVE


def until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, 'it did not happen'
        time.sleep(.005)


class Counted(Dashboard):
    sent = 0
    def send_state(self, key=None):
        self.sent += bool(key)
        super().send_state(key)


# ---- what is sent

def test_at_most_twenty_messages_a_second_and_the_last_push_arrives():
    view = Counted()
    view.sent, begin = 0, time.monotonic()
    for n in range(1000): view.push(n, weights(n), dict(made=np.full((4, 6, 3), n % 250, np.uint8)), dict(mse=1/(n + 1)), 1000)
    until(lambda: view.step == 999)
    assert view.sent <= PER_SECOND*(time.monotonic() - begin) + 1
    assert view.gallery == [['made', 4, 6]] and view.pixels == bytes([999 % 250])*72
    assert view.total == 1000 and len(view.heat) == 6*view.heat_plan['columns'] and view.heat_plan['last'] == 999


def test_one_message_holds_everything():
    view = Counted()
    view.flush()
    view.sent, view._sent = 0, -math.inf
    view.push(1, weights(1), dict(made=np.zeros((4, 4, 3), np.uint8)), dict(mse=1.), 10)
    assert view.sent == 1 and {'plan', 'network', 'heat'} <= set(view.get_state()) and view.network['nodes']


def test_a_closed_comm_stops_nothing():
    view = Dashboard()
    run, handle = Run(200, pause=.001), None
    handle = live(run, view)
    view.close()
    assert handle.wait(20) == 'done' and run.n == 200
    view.push(201, weights(1))
    assert view.board.step == 201


def test_a_comm_that_raises_stops_nothing():
    class Gone(Dashboard):
        def send_state(self, key=None):
            if key and hasattr(self, 'board'): raise RuntimeError('no socket')
    handle = live(Run(), Gone())
    assert handle.wait(20) == 'done'


def test_an_empty_first_message_and_nothing_but_losses():
    view = Dashboard()
    view.push(0)
    view.push(1, {}, {}, {})
    assert desk_picture(view.board)[0][:4] == b'\x89PNG'
    view.push(2, losses={'critic wass': -2.})
    view.flush()
    assert view.network.get('nodes', []) == [] and view.heat == b'' and view.plan['edges'] == []
    assert desk_picture(view.board)[0][:4] == b'\x89PNG'


def test_alphas_that_are_nan_are_drawn_and_said():
    def decide(w): raise UserError('p on a-b is nan: the search diverged')
    view = Dashboard(decide)
    view.push(1, {'a-b': dict(p=NAN, q=NAN), 'b-c': dict(p=.5, q=NAN)}, losses=dict(mse=NAN))
    view.flush()
    assert 'the search diverged' in view.network['undecided'] and view.network['nodes']
    assert list(view.heat) == [255, 255, 127, 255]
    assert desk_picture(view.board)[0][:4] == b'\x89PNG'


def test_pictures_must_be_pictures():
    with pytest.raises(ValueError, match='uint8'): Dashboard().push(1, pictures=dict(made=np.zeros((4, 4))))


def test_state_holds_everything_newest_for_a_view_that_comes_late():
    view = Dashboard()
    handle = live(Run(), view, pictures=lambda run: dict(made=np.full((2, 2, 3), run.n, np.uint8)))
    handle.wait(20)
    until(lambda: view.state == 'done')
    state = view.get_state()
    assert state['step'] == 20 and state['total'] == 20 and state['pixels'] == bytes([20])*12 and state['actions'] == []
    assert state['network']['words'] and state['plan']['curves'] == [['mse', 20]]


@pytest.mark.parametrize('content', [None, 'pause', {}, dict(action='format'), dict(action=['pause']), dict(action='pause')])
def test_strange_messages_and_buttons_without_a_run(content):
    view = Dashboard()
    view._pressed(view, content, [])
    view.flush()
    assert ('no run is attached' in view.says) == (content == dict(action='pause'))


def test_pace_forgets_a_rest():
    pace = Pace()
    for i in range(50): pace.tick(i, i*.1)
    assert pace.rate() == pytest.approx(10)
    pace.rest()
    pace.tick(50, 1000.)
    assert pace.rate() == 0
    pace.tick(51, 1000.5)
    assert pace.rate() == pytest.approx(2)


def test_pace_of_steps_that_come_in_heaps():
    "Ten steps a second, read from a file twice a second: the speed of reading is not the speed of the run."
    pace = Pace()
    for look in range(20):
        for i in range(5): pace.tick(100 + 5*look + i, .5*look + 1e-4*i)
        assert look == 0 or pace.rate() == pytest.approx(10, rel=.01)
    assert Pace().rate() == 0


def test_the_caption_says_who_decides():
    titles = []
    for decide in (None, best_of_each):
        view = Dashboard(decide)
        view.push(1, weights(1))
        view.flush()
        titles.append(view.network['title'])
    assert 'no rule' in titles[0] and titles[1] == 'the network that pruning would give now'


def test_a_picture_is_repeatable():
    def filled():
        desk = Desk()
        for n in range(300): desk.add(n, weights(n), dict(a=np.full((8, 30, 3), 9, np.uint8)), dict(mse=1/(n + 1)), 300)
        return desk
    assert desk_picture(filled()) == desk_picture(filled())


@pytest.mark.parametrize('edges, nodes', [(['s0-s1', 's0-s2', 's1-s2'], ['s0', 's1', 's2']), (['b-c', 'a-b'], ['a', 'b', 'c']), (['new'], []), (['a-b', 'b-a'], []), (['a-a'], []), ([], [])])
def test_nodes_in_order(edges, nodes):
    assert ordered_nodes(edges) == nodes
    plan = network_plan(edges, [dict(edge=e, op='conv_3') for e in edges])
    assert [n[2] for n in plan.get('nodes', [])] == nodes


def test_heat_starts_anew_with_other_rows():
    heat = Heat()
    heat.push_weights(1, {'a': dict(p=1.)})
    heat.push_weights(2, {'b': dict(p=.5, q=.5)})
    steps, columns = heat.columns()
    assert steps == [2] and columns.tolist() == [[127], [127]]


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
    assert handle.dashboard.board.alpha == plain[-1].weights
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
    assert stop_all() == [first, second] and (first.state, second.state) == ('stopped', 'stopped') and first.run.saved
    assert stop_all() == [] and live(Run(), folder=tmp_path/'run').wait(10) == 'done'


def test_runs_that_are_none():
    for thing in ([1, 2], None, Run, 3):
        with pytest.raises(UserError, match='live needs a run'): live(thing)
    with pytest.raises(UserError, match='has no save'): live(iter([]), folder='x')
    with pytest.raises(UserError, match='ask for 1 step'): live(Run(), paused=True).step(0)


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
    with pytest.raises(UserError, match='cannot write'): handle.save()
    handle.resume()
    assert handle.wait(10) == 'done' and run.n == 20 and 'no longer written down' in handle.says
    assert not (tmp_path/'run').exists()


def test_the_kernel_goes_away_and_the_run_is_saved(tmp_path):
    code = f'''if True:
        import time
        from degas_nb.live import live
        from test_dashboard import Kept
        handle = live(Kept(10**6, pause=.002), folder={str(tmp_path/'run')!r})
        while handle.n < 20: time.sleep(.01)'''
    subprocess.run([sys.executable, '-c', code], cwd=os.path.dirname(__file__), check=True, timeout=60)
    assert RunFolder.open(tmp_path/'run').load_checkpoint()['step'] >= 20


# ---- looking back, and from elsewhere

def recorded(path, n=100, total=100, **about):
    run = RunFolder.create(path, about.get('kind', 'search'), dict(epochs=total, batch_size=8), dict(n=8))
    for step in range(1, n + 1): run.trace.append(dict(step=step, epoch=1, lr=.1, mse=1/step, weights=weights(step)))
    return run


def test_replay_is_small_and_has_its_frames(tmp_path):
    path = recorded(tmp_path/'run', 500).path
    figure = replay(path, decide=best_of_each)
    assert len(figure.frames) == 60 == len(figure.layout.sliders[0].steps) and len(figure.to_json()) < 200_000
    assert [f.name for f in figure.frames][::59] == ['1', '500']
    assert 'b-c q' in figure.frames[3].layout.title.text
    wide = RunFolder.create(tmp_path/'wide', 'search', {}, {})
    for step in range(200): wide.trace.append(dict(step=step, weights={f'e{i}-f{i}': {f'op_{k}': (k + step % 7 + 1/3)/90 for k in range(12)} for i in range(24)}))
    assert len(replay(wide.path).to_json()) < 200_000


def test_replay_of_what_cannot_be_replayed(tmp_path):
    with pytest.raises(UserError, match='no folder'): replay(tmp_path/'none')
    with pytest.raises(UserError, match='holds no run'): replay(tmp_path)
    with pytest.raises(UserError, match='has no alpha'): replay(RunFolder.create(tmp_path/'gan', 'gan', {}, {}).path)
    run = recorded(tmp_path/'run', 3)
    with pytest.raises(UserError, match='max_frames'): replay(run.path, max_frames=1)
    with open(run.trace.path, 'a') as f: f.write('{"step": 4, "weights": [1, 2]}\n')
    with pytest.raises(UserError, match='damaged: its weights at step 4'): replay(run.path)
    with open(run.trace.path, 'a') as f: f.write('no json\n')
    with pytest.raises(UserError, match='line 5 .* is damaged'): replay(run.path)


def test_replay_survives_nan(tmp_path):
    run = recorded(tmp_path/'run', 3)
    run.trace.append(dict(step=4, mse=NAN, weights={e: {op: NAN for op in ops} for e, ops in weights(1).items()}))
    assert replay(run.path).frames[-1].data[0].x == (None, None)


def test_scrub_moves_the_same_bars(tmp_path):
    explorer = scrub(recorded(tmp_path/'run', 50).path)
    explorer.controls['step'].value = '50'
    assert explorer.figure.data[0].x == pytest.approx(list(weights(50)['a-b'].values()), abs=1e-3) and 'step 50' in explorer.said


def test_scrub_shows_the_pictures_of_that_time(tmp_path):
    "A search makes pictures at the end of each epoch: at a step the newest are those of the last whole epoch."
    from PIL import Image
    run = RunFolder.create(tmp_path/'run', 'search', dict(epochs=3, batch_size=4), dict(n=8))
    for step in range(1, 7): run.trace.append(dict(step=step, epoch=(step + 1)//2, mse=1/step, weights=weights(step)))
    for name, tone in (('targets', 9), ('samples_0001', 1), ('samples_0002', 2), ('samples_0003', 3), ('samples_0009', 4)):
        Image.new('RGB', (8, 8), (tone,)*3).save(run.samples/f'{name}.png')
    explorer = scrub(run.path)
    targets, samples = (box.children[1] for box in explorer.children[0].children[1].children)
    seen = lambda image: np.asarray(Image.open(io.BytesIO(image.value)))[0, 0, 0] if image.value else None
    for step, tone in ((1, None), (2, 1), (3, 1), (4, 2), (6, 3)):
        explorer.controls['step'].value = str(step)
        assert (seen(targets), seen(samples)) == (9, tone), step
    (run.samples/'samples_0001.png').unlink()
    explorer.controls['step'].value = '2'
    assert 'cannot be read' in explorer.said


def test_thinned_keeps_the_ends():
    for n in range(1, 200): assert len(t := thinned(list(range(n)), 60)) == min(n, 60) and (t[0], t[-1]) == (0, n - 1) and len(set(t)) == len(t)


def test_losses_of_a_line():
    assert row_losses(dict(step=1, epoch=1, lr=.1, critic=dict(gp=1., ct=None), psnr=3)) == {'critic gp': 1., 'critic ct': pytest.approx(NAN, nan_ok=True), 'psnr': 3.}


def test_tail_reads_only_what_is_new_and_whole(tmp_path):
    file = tmp_path/'t'
    tail = Tail(file)
    assert tail.read() == (False, [])
    file.write_bytes(b'a\nb')
    assert tail.read() == (False, [(1, b'a')])
    with open(file, 'ab') as f: f.write(b'c\n\nd\n')
    assert tail.read() == (False, [(2, b'bc'), (4, b'd')])
    assert tail.read() == (False, [])
    with open(file, 'r+b') as f: f.truncate(2)
    assert tail.read() == (True, [(1, b'a')])
    (tmp_path/'new').write_bytes(b'x\ny\nz\nu\n')
    os.replace(tmp_path/'new', file)                                # longer than before, and yet another one
    assert tail.read() == (True, [(1, b'x'), (2, b'y'), (3, b'z'), (4, b'u')])


def test_watch_follows_to_the_end(tmp_path):
    from PIL import Image
    run = recorded(tmp_path/'run', 5, 10)
    with run.lock():
        handle = watch(run.path, every=.01)
        until(lambda: handle.n == 5 and handle.looks)
        assert (handle.state, handle.dashboard.rate) == ('running', 0)       # five steps were read, none was seen to be done
        Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(run.samples/'samples_0001.png')
        until(lambda: 'samples' in handle.dashboard.board.pictures)
        for step in range(6, 11): run.trace.append(dict(step=step, mse=1., weights=weights(step)))
        assert handle.wait(10) == 'done' and handle.dashboard.board.alpha == weights(10)


def test_watch_knows_a_run_that_nobody_works_on(tmp_path, monkeypatch):
    run = recorded(tmp_path/'run', 5, 10)
    handle = watch(run.path, every=.01)
    assert handle.wait(10) == 'resting' and 'rests at step 5 of 10; degas search --resume --out' in handle.says
    with run.lock():                                                          # it is taken up again
        until(lambda: handle.state == 'waiting' and 'no step since 5' in handle.says)
        run.trace.append(dict(step=6, mse=1., weights=weights(6)))
        until(lambda: (handle.state, handle.says) == ('running', ''))
    until(lambda: handle.state == 'resting')                                  # and killed: known at once, by the lock
    monkeypatch.setattr('degas_nb.replay.STILL', .2)
    handle.dashboard.pace.rest()
    other = watch(recorded(tmp_path/'free', 2, 10, kind='gan').path, every=.01)   # written by a loop that takes no lock
    until(lambda: other.state == 'resting' and 'degas train --resume' in other.says)
    other.run.trace.append(dict(step=3, mse=1.))
    until(lambda: other.state == 'running')
    until(lambda: other.state == 'resting' and 'at step 3' in other.says)


def test_a_lock_waits_for_somebody_who_only_asks(tmp_path):
    "Whoever asks whether a run is at work shares its lock for an instant; that must not keep a run from starting."
    run, on = recorded(tmp_path/'run', 1), threading.Event()
    def ask():
        while not on.is_set(): run.busy()
    asking = [threading.Thread(target=ask) for _ in range(2)]
    for a in asking: a.start()
    for _ in range(50):
        with run.lock(): pass
    on.set()
    for a in asking: a.join()
    assert not run.busy()


def test_watch_of_odd_folders(tmp_path):
    with pytest.raises(UserError, match='no folder'): watch(tmp_path/'none')
    run = RunFolder.create(tmp_path/'run', 'gan', dict(steps=9), dict(n=3))
    handle = watch(run.path, every=.01)
    until(lambda: handle.state == 'waiting')
    with open(run.trace.path, 'a') as f: f.write('damaged\n' + json.dumps(dict(step=1, critic=dict(gp=2.))) + '\n{"step": 2, "cri')
    until(lambda: handle.n == 1 and 'line 1' in handle.says)
    (run.samples/'samples_000001.png').write_bytes(b'half a pict')
    time.sleep(.05)
    shutil.rmtree(run.path)
    until(lambda: handle.state == 'failed')
    with pytest.raises(UserError, match='is gone'): handle.wait(10)
    assert handle.state == 'failed'


def test_watch_can_be_stopped(tmp_path):
    handle = watch(recorded(tmp_path/'run', 2).path, every=5)
    until(lambda: handle.n == 2)
    handle.dashboard._pressed(handle.dashboard, dict(action='stop'), [])
    assert handle.wait(3) == 'stopped' and 'left alone' in handle.says


# ---- real runs

def test_a_search_has_the_same_bits(tmp_path):
    from degas_nb.data import load
    from degas_nb.prune import explain_prune
    from degas_nb.search import Search, SearchConfig
    images = load('emoji', limit=32)
    config = SearchConfig(epochs=3, batch_size=16, width=4)
    plain = list(Search.from_config(images, config))[-1].weights
    search = Search.from_config(images, config)
    handle = live(search, Dashboard(explain_prune), folder=tmp_path/'run', paused=True)
    handle.step(2), handle.wait(60), handle.save(), handle.resume()
    assert handle.wait(60) == 'done' and handle.dashboard.board.alpha == plain
    assert Search.load(tmp_path/'run', images).n == 6
    assert len(replay(tmp_path/'run', decide=explain_prune).frames) == 6
    other = watch(tmp_path/'run')
    assert other.wait(10) == 'done' and other.dashboard.board.alpha == plain


def test_a_gan_training_has_no_alpha_and_is_shown(tmp_path):
    from degas_nb.data import load
    from degas_nb.gan import GANConfig, GANTraining
    from degas_nb.genotype import Genotype
    training = GANTraining.from_config(Genotype.named('cifar10_paper'), load('emoji', limit=16), GANConfig(steps=2, batch_size=8, width=4, n_critic=1))
    handle = live(training, folder=tmp_path/'run', pictures=lambda t: dict(samples=t.sample(2)[0].permute(1, 2, 0).numpy()))
    assert handle.wait(60) == 'done' and 'critic wass' in handle.dashboard.board.curves and not handle.dashboard.board.alpha
    with pytest.raises(UserError, match='has no alpha'): replay(tmp_path/'run')


def test_workers_are_given_back():
    "GNU's OpenMP counts sleeping workers of other threads, and a run in a thread would take twice as long."
    code = '''
import os, torch
from degas_nb.live import give_back_workers
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
