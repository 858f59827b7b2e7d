"""A recorded run played again, and one that goes on elsewhere watched."""
import base64
import io
import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from degas_nb.views.dashboard import best_of_each
from degas_nb.views.replay import Tail, player, replay, row_losses, scrub, watch
from degas_nb.ground.folders import RunFolder
from degas_nb.ground.errors import UserError
from degas_nb.ground.show import thinned
from toys import NAN, recorded, until, weights

pytestmark = pytest.mark.usefixtures('nothing_left_behind')


@pytest.mark.long
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


@pytest.mark.parametrize('n', [2, 7, 50])
def test_a_frame_leaves_nothing_out_and_nothing_interrupts(tmp_path, n):
    "Plotly takes a curve away that a frame does not name, and throws an error when a Pause of its own interrupts it."
    figure = replay(recorded(tmp_path/'run', n).path)
    assert len(figure.data) > len(weights(1)) and {len(frame.data) for frame in figure.frames} == {len(figure.data)}
    for frame in figure.frames:
        assert frame.traces == tuple(range(len(figure.data)))
        for bar in frame.data[:len(weights(1))]: assert {type(c) for c in bar.marker.color} == {str}, 'plotly warns of numbers'
    moves = [step.args[1] for step in figure.layout.sliders[0].steps] + [button.args[1] for menu in figure.layout.updatemenus for button in menu.buttons]
    assert {move['mode'] for move in moves} == {'afterall'}


def test_a_replay_is_shown_with_controls_and_stays_as_it_is(tmp_path):
    figure = replay(recorded(tmp_path/'run', 20).path)
    shown = player(figure)
    slider, play = shown.children[0].children
    assert (play.at, play.last) == (0, 19) == (slider.index, len(figure.frames) - 1)
    play.at = 7                                              # as its button does
    assert slider.value == figure.frames[7].name and shown.said.startswith(f'step {slider.value}:') and play.drawn == 7
    slider.index = 3
    assert (play.at, play.drawn) == (3, 3) and shown.figure.data[0].x == figure.frames[3].data[0].x
    assert shown.figure.layout.shapes[0].x0 == float(slider.value), 'the line at the moment stands still'
    kept = shown._repr_mimebundle_()['application/vnd.plotly.v1+json']
    assert len(kept['frames']) == 20 and kept['layout']['sliders'] and len(kept['data']) == len(figure.data)


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
    targets, samples = (box.children[1] for box in explorer.children[0].children[2].children)

    def seen(tile):
        if tile.value == '<p>none yet</p>': return None
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.value.split('base64,')[1][:-2]))))[0, 0, 0]

    assert not explorer.figure.layout.sliders and not explorer.figure.layout.updatemenus, 'what needs frames has none'
    for step, tone in ((1, None), (2, 1), (3, 1), (4, 2), (6, 3)):
        explorer.controls['step'].value = str(step)
        assert (seen(targets), seen(samples)) == (9, tone), step
        assert f'alt="targets, step {step}"' in targets.value
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
        assert handle.wait(10) == 'done' and handle.dashboard.board.weights == weights(10)


@pytest.mark.long
def test_watch_knows_a_run_that_nobody_works_on(tmp_path, monkeypatch):
    run = recorded(tmp_path/'my run', 5, 10)
    handle = watch(run.path, every=.01)
    assert handle.wait(10) == 'resting' and 'rests at step 5 of 10. To go on from the beginning, as it has no checkpoint:  degas search --resume --out' in handle.says
    with run.lock():                                                          # it is taken up again
        until(lambda: handle.state == 'waiting' and 'no step since 5' in handle.says)
        run.trace.append(dict(step=6, mse=1., weights=weights(6)))
        until(lambda: (handle.state, handle.says) == ('running', ''))
        run.save_checkpoint(dict(step=4))
    until(lambda: handle.state == 'resting')                                  # and killed: known at once, by the lock
    assert handle.says.endswith(f"To go on from step 4, its last checkpoint:  degas search --resume --out '{run.path}'")
    monkeypatch.setattr('degas_nb.views.replay.STILL', .2)
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


def test_pictures_that_are_taken_away_while_somebody_looks_are_none(tmp_path, monkeypatch):
    run, is_dir = recorded(tmp_path/'run', 2), Path.is_dir
    assert run.samples.is_dir() and run.pictures('samples') == []
    def there_and_gone(path): return is_dir(path), shutil.rmtree(path, ignore_errors=True)
    with monkeypatch.context() as m:
        m.setattr(Path, 'is_dir', lambda path: there_and_gone(path)[0])
        assert run.pictures('samples') == []
    shutil.rmtree(run.path)
    assert run.pictures('samples') == []


def test_watch_can_be_stopped(tmp_path):
    handle = watch(recorded(tmp_path/'run', 2).path, every=5)
    until(lambda: handle.n == 2)
    handle.dashboard._pressed(handle.dashboard, dict(action='stop'), [])
    assert handle.wait(3) == 'stopped' and 'left alone' in handle.says
