"""The live view in a real JupyterLab and a real browser: bars move and the canvas changes while a cell is running."""
import re
import time

import nbformat
import numpy as np
import pytest

from degas_nb.views.widgets import AlphaView, Board, Curve, best_op, board_picture, pack_curves, pack_weights
from lab import ROOT, Lab, contrast, picture, shoot

# ---- the board, without a browser


@pytest.mark.parametrize('n', [1, 2, 400, 401, 402, 5000])
def test_curve_keeps_its_ends(n):
    curve = Curve()
    for i in range(n): curve.push(i, -i)
    x, y = curve.points()
    assert x[0] == 0 and x[-1] == n - 1 and len(x) <= 401
    assert (y == -x).all() and (np.diff(x) > 0).all()


def test_nothing_breaks_the_picture():
    nan = float('nan')
    board = Board()
    assert board_picture(board)[0][:4] == b'\x89PNG'
    board.push(0, weights={'s0-s1': dict(a=nan, b=nan)}, losses=dict(mse=nan, lap=float('inf')))
    assert board_picture(board)[0][:4] == b'\x89PNG' and best_op(board.weights['s0-s1']) is None
    board.push(1, weights={'other': dict(c=1.)}, samples=np.zeros((40, 10, 3), np.uint8), losses=dict(wass=-3.))
    assert board_picture(board)[0][:4] == b'\x89PNG' and list(board.weights) == ['other']


def test_a_thousand_pushes_stay_small_and_fast():
    view, alpha = AlphaView(), {f'e{i}': {f'op{j}': .25 for j in range(4)} for i in range(11)}
    start = time.process_time()
    for step in range(1000): view.push(step, alpha, losses=dict(mse=1 / (step + 1)))
    assert len(view.numbers) == 4 * 44 and len(view.curves) == 8 * len(view.board.curves['mse'].points()[0])
    assert len(view.numbers) + len(view.curves) < 4096
    assert time.process_time() - start < 5          # of this process, whatever else the machine does; 15 steps a second are 7 % of this


def test_pack_says_what_it_holds():
    board = Board()
    board.push(3, weights={'x': dict(p=.25, q=.75)}, losses=dict(a=1., b=2.))
    (weights, numbers), (lines, points) = pack_weights(board), pack_curves(board)
    assert weights['edges'] == [['x', ['p', 'q']]] and np.frombuffer(numbers, np.float32).tolist() == [.25, .75]
    assert lines == [['a', 1], ['b', 1]] and np.frombuffer(points, np.float32).tolist() == [3, 1, 3, 2]


# ---- in the browser


@pytest.fixture(scope='module')
def lesson(lab, browser):
    "A copy of the lesson with our own cells behind its own, open in the browser. (Lab, cells, index of our first)"
    nb = nbformat.read(ROOT / 'nbs/views/01_widgets.ipynb', 4)
    first = len(nb.cells)
    nb.cells += [nbformat.v4.new_code_cell(source) for source in CELLS]
    (lab[2] / 'views').mkdir(exist_ok=True)
    nbformat.write(nb, lab[2] / 'views/lesson.ipynb')
    page = browser.new_page(viewport=dict(width=1500, height=1000))
    yield Lab(page, lab, 'views/lesson.ipynb'), nb.cells, first
    page.close()


# what the newest view on the page shows: step, bars, pixels, lines
STATE = '''() => { const v = [...document.querySelectorAll(".dg-view")].at(-1), c = v && v.querySelector("canvas");
    if (!v) return null;
    const bars = [...v.querySelectorAll(".dg-fill")].map(e => e.style.width).join();
    const pixels = c && c.width ? [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].reduce((a, b) => a + b, 0) : 0;
    const lines = [...v.querySelectorAll("path.dg-line")].map(e => e.getAttribute("d")).join();
    return [v.dataset.step, bars, pixels, lines]; }'''

CELLS = ['''import time
import numpy as np
from degas_nb.views.widgets import AlphaView
view = AlphaView()
view''',
'''rng = np.random.default_rng(0)
ops = ['deconv_4', 'deconv_6', 'up_conv_1', 'up_conv_3']
edges = {f's{i}-s{i + 1}': rng.standard_normal(9 if i % 2 == 0 else 4) for i in range(6)}
for step in range(40):
    for e in edges: edges[e] = edges[e] + .15 * rng.standard_normal(len(edges[e]))
    alpha = {e: dict(zip(ops + list('abcde'), np.exp(a) / np.exp(a).sum())) for e, a in edges.items()}
    view.push(step, alpha, np.full((32, 64, 3), 4 * step, np.uint8), dict(mse=.9 ** step, lap=float('nan') if step == 5 else .95 ** step))
    time.sleep(.05)
print('loop done')''',
'''view.push(100, weights={'new': dict(p=float('nan'), q=.5)}, losses=dict(extra=2.))
for step in range(101, 1101): view.push(step, losses=dict(extra=step % 7))
print('thousand done')''']


@pytest.mark.timeout(180)
def test_alpha_view_lives_during_a_blocking_loop(lesson):
    it, _, first = lesson
    it.run(first)
    view = it.page.locator('.dg-view').last
    view.wait_for(timeout=30_000)
    assert view.locator('.dg-head').text_content() == 'waiting for the first push'
    seen = watch(it, first + 1, 'loop done')
    steps, bars, pixels, lines = [set(column) for column in zip(*seen)]
    assert len(steps) >= 8, f'only {len(steps)} of 40 steps were drawn while the cell was running'
    assert len(bars) >= 8 and len(pixels) >= 8 and len(lines) >= 8
    label = view.locator('.dg-bars [role=img]').get_attribute('aria-label')
    assert 'step 39' in label and 's0-s1: ' in label
    shoot(view, 'alpha_view_loop')
    check_colours(it)
    it.run(first + 2)
    it.page.wait_for_function('() => [...document.querySelectorAll(".dg-view")].at(-1).dataset.step === "1100"', timeout=15_000)
    assert view.locator('.dg-edge-name').all_text_contents() == ['new']
    assert view.locator('.dg-nan').count() == 1 and it.text(first + 2).strip() == 'thousand done'
    it.was_quiet()


def watch(it, i, done, seconds=30):
    "Run cell `i` and collect what the page shows until the cell has printed `done`."
    it.run(i, wait=False)
    seen, end = [], time.time() + seconds
    while done not in it.text(i) and time.time() < end:
        state = it.page.evaluate(STATE)
        if state and int(state[0]) >= 0: seen.append(tuple(state))
        it.page.wait_for_timeout(25)
    it.page.wait_for_timeout(200)
    assert it.page.evaluate(STATE)[0] == '39'
    return seen


def check_colours(it):
    "The dark theme is dark, and its text can be read: contrast 4.5 at least."
    ink = '''() => { const s = getComputedStyle([...document.querySelectorAll(".dg-best .dg-op")].at(-1)), v = getComputedStyle([...document.querySelectorAll(".dg-view")].at(-1));
        return [s.color, v.backgroundColor]; }'''
    light = it.page.evaluate(ink)
    it.theme('JupyterLab Dark')
    dark = it.page.evaluate(ink)
    shoot(it.page, 'alpha_view_dark')
    for text, paper in (light, dark): assert contrast(text, paper) > 4.5, (text, paper)
    assert light != dark


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_lesson_runs_and_leaves_its_picture(lesson):
    it, cells, first = lesson
    code = [i for i, c in enumerate(cells[:first]) if c.cell_type == 'code' and not re.match(r'#\| (exercise|check)', c.source)]
    for i in code: it.run(i)
    loop = next(i for i in code if 'with AlphaView() as view' in cells[i].source)
    assert not [o for i in code for o in it.outputs(i) if o['output_type'] == 'error']
    it.page.wait_for_function('() => [...document.querySelectorAll(".dg-view")].some(v => v.dataset.step === "60")', timeout=20_000)
    data = it.outputs(loop)[0]['data']
    assert {'image/png', 'application/vnd.jupyter.widget-view+json'} <= set(data) and 'step 60' in data['text/plain']
    it.theme('JupyterLab Light')
    picture(it.page.locator('.dg-view[data-step="60"]').first, 'alpha_view')
    shoot(it.page, 'widgets_lesson')
    it.was_quiet()
