"""Live lessons as a student uses them: a real search in a real JupyterLab, its buttons pressed, its explorers moved by keyboard.

DEGAS_PICTURES=nbs/pictures makes the pictures of the page `live_lessons` on the way, from a search that is worth looking at.
"""
import ast
import builtins
import json
import re
import symtable
import time

import nbformat
import pytest

from degas_nb.gan.training import GANConfig
from degas_nb.ground.folders import RunFolder
from lab import FAINT, PALE, PICTURES, ROOT, Lab, lab_setting, picture, shoot, write_notebook
from toys import recorded

# ---- a search with its dashboard

SEARCH = '''import time
import torch
from degas_nb.views.dashboard import Dashboard
from degas_nb.ground.data import load
from degas_nb.views.live import live
from degas_nb.search.prune import explain_prune
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.ground.show import image_grid

def search_of(images, shown=16, **settings):
    search = Search.from_config(images, SearchConfig(**settings))
    index = torch.linspace(0, len(images) - 1, shown).long()
    targets = image_grid(images.batch(index), n_cols=8)
    return search, lambda run: dict(targets=targets, reconstructions=image_grid(run.reconstruct(index), n_cols=8), samples=image_grid(run.sample(shown), n_cols=8))

step_of = Search.__next__
def unhurried(self):   # or it takes the machine from who watches it
    time.sleep(.1)
    return step_of(self)
Search.__next__ = unhurried

search, pictures = search_of(load('emoji', limit=256), epochs=5000, width=8, batch_size=16)
dashboard = Dashboard(decide=explain_prune)'''
HALF = '''run.stop()
run.wait()
search, pictures = search_of(load('emoji', limit={limit}), epochs={epochs}, width={width}, batch_size={batch})
run = live(search, Dashboard(decide=explain_prune), pictures=pictures, picture_every=3600, paused=True)
run.step(len(search) // 2)'''
SIZE = dict(limit=1911, epochs=16, width=16, batch=64) if PICTURES else dict(limit=64, epochs=10, width=4, batch=32)
CELLS = [SEARCH,
         "run = live(search, dashboard, pictures=pictures, picture_every=.5, folder='run', save_every=3600)",
         "print(run.state, search.n)",
         HALF.format(**SIZE),
         "print(run.state, search.n, len(search))"]


class Board:
    "The dashboard in the output of cell `i` of an open notebook."
    def __init__(self, it, i):
        self.it, self.root = it, it.cell(i).locator('.dg-dashboard').first
        self.root.wait_for(timeout=40_000)

    @property
    def step(self): return int(self.root.get_attribute('data-step'))

    @property
    def state(self): return self.root.get_attribute('data-state')

    def says(self): return self.root.locator('.dg-says').text_content()

    def press(self, action):
        "By keyboard: the button has a name and takes the focus."
        button = self.root.locator(f'button[data-action="{action}"]')
        assert button.text_content() and button.get_attribute('aria-disabled') != 'true', f'{action} cannot be pressed'
        button.focus()
        self.it.page.keyboard.press('Enter')

    def until(self, what, seconds=60):
        "Wait for `what(board)`."
        end = time.time() + seconds
        while not what(self):
            assert time.time() < end, f'still {self.state} at step {self.step}: {self.says()}'
            self.it.page.wait_for_timeout(50)

    def resting(self, seconds=.6):
        "The step, which stays the same for a while: several steps long."
        self.it.page.wait_for_timeout(250)                  # the last message is on its way
        step = self.step
        self.it.page.wait_for_timeout(1000 * seconds)
        assert self.step == step, f'went on from {step} to {self.step}'
        return step

    def seen(self):
        "What is drawn, part by part."
        return self.root.evaluate('''v => {
            const pixels = c => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].reduce((a, b) => (31 * a + b) % 1000003, 7);
            const all = (what, f) => [...v.querySelectorAll(what)].map(f).join();
            return {bars: all(".dg-fill", e => e.style.width), lines: all("path.dg-line", e => e.getAttribute("d")),
                    network: all(".dg-net-op", e => e.textContent), heat: all("canvas.dg-heat-map", pixels), pictures: all(".dg-tile canvas", pixels)}; }''')


@pytest.fixture(scope='module')
def search(lab, browser):
    "A notebook whose first cell has made a search. (Lab, folder)"
    folder = lab[2] / 'search'
    folder.mkdir()
    write_notebook(folder / 'search.ipynb', *CELLS)
    it = Lab(browser.new_page(viewport=dict(width=1400, height=1300)), lab, 'search/search.ipynb')
    it.run(0)
    it.run(1)
    yield it, folder
    it.page.close()


@pytest.mark.timeout(320)
def test_the_cell_returns_and_the_pictures_move(search):
    it, _ = search
    board = Board(it, 1)
    board.until(lambda b: b.step >= 3 and b.root.locator('.dg-tile canvas').count() == 3)
    first, n = board.seen(), board.step
    it.run(2)
    state, step = it.text(2).split()
    assert state == 'running' and int(step) >= n, 'the kernel does not answer beside the run'
    board.until(lambda b: b.step >= n + 20)
    board.until(lambda b: b.seen()['pictures'] != first['pictures'], 240)  # 200 times as long as they took: on a busy machine, a minute
    now = board.seen()
    assert {part for part in now if now[part] != first[part]} >= {'bars', 'lines', 'heat', 'pictures'}
    assert now['network'] and board.state == 'running'
    assert re.search(r'step \d+ of 80000, [\d.]+ steps a second, [\d:]+ left', board.root.locator('.dg-head').text_content())


@pytest.mark.timeout(120)
def test_pause_step_continue_save(search):
    it, folder = search
    board = Board(it, 1)
    board.press('pause')
    board.until(lambda b: b.state == 'paused')
    step = board.resting()
    it.run(2)
    assert it.text(2).split() == ['paused', str(step)], 'the page and the search disagree'
    bars = board.seen()['bars']
    board.press('step')
    board.until(lambda b: b.step == step + 1)
    assert board.resting() == step + 1 and board.state == 'paused' and board.seen()['bars'] != bars
    for _ in range(3):
        board.press('step')
        it.page.wait_for_timeout(150)
    board.until(lambda b: b.step == step + 4)
    assert board.resting(.5) == step + 4
    board.press('save')
    board.until(lambda b: f'saved at step {step + 4}' in b.says())
    assert RunFolder.open(folder / 'run', 'search').load_checkpoint()['step'] == step + 4
    board.press('continue')
    board.until(lambda b: b.state == 'running' and b.step > step + 8)
    assert board.root.locator('button[data-action="continue"]').get_attribute('aria-disabled') == 'true'


@pytest.mark.timeout(120)
def test_keys_belong_to_the_dashboard(search):
    "`d d` deletes a cell in JupyterLab, but not while a button has the focus; the arrows walk along the buttons, which never hide the focus."
    it, _ = search
    board, cells = Board(it, 1), it.page.locator('.jp-Notebook .jp-Cell').count()
    focus = lambda: it.page.evaluate('() => document.activeElement.dataset.action')
    board.root.locator('button[data-action="pause"]').focus()
    for key in 'dd': it.page.keyboard.press(key)
    assert it.page.locator('.jp-Notebook .jp-Cell').count() == cells and focus() == 'pause'
    walked = []
    for key in ['ArrowRight'] * 5 + ['ArrowLeft'] * 2:
        it.page.keyboard.press(key)
        walked.append(focus())
    assert walked == ['step', 'continue', 'stop', 'save', 'pause', 'save', 'stop']
    board.root.locator('.dg-heat [role=img]').focus()
    for key in 'dd': it.page.keyboard.press(key)
    assert it.page.locator('.jp-Notebook .jp-Cell').count() == cells


@pytest.mark.timeout(120)
def test_a_narrow_window_keeps_the_network_legible(search):
    it, _ = search
    board, wide = Board(it, 1), it.page.viewport_size
    it.page.set_viewport_size(dict(width=760, height=1000))
    it.page.wait_for_timeout(600)
    width, inside, letters = board.root.evaluate('v => [v.querySelector(".dg-net").getBoundingClientRect().width, v.clientWidth, Math.min(...[...v.querySelectorAll(".dg-net-op")].map(e => e.getBoundingClientRect().height))]')
    shoot(board.root, 'dashboard_narrow')
    assert inside < width and width >= 640 and letters > 8, (width, inside, letters)
    assert board.root.evaluate('v => v.scrollWidth <= v.clientWidth'), 'the dashboard itself is wider than its cell'
    it.page.set_viewport_size(wide)


@pytest.mark.timeout(120)
def test_both_themes_can_be_read(search):
    it, _ = search
    board = Board(it, 1)
    for theme in ('JupyterLab Dark', 'JupyterLab Light'):
        it.theme(theme)
        shoot(board.root, 'dashboard_' + theme.split()[1].lower())
        faint = board.root.evaluate(FAINT)
        assert not faint, f'{theme}: {faint}'


@pytest.mark.timeout(120)
def test_a_closed_page_leaves_the_run_going_and_finds_it_again(search, lab, browser):
    it, _ = search
    n = Board(it, 1).step
    it.save()
    it.was_quiet()
    it.page.close()
    again = Lab(browser.new_page(viewport=dict(width=1400, height=1300)), lab, it.name, attach=True)
    try:
        board = Board(again, 1)
        board.until(lambda b: b.step > n)
        now = board.step
        board.until(lambda b: b.step > now)
        again.run(2)
        assert again.text(2).startswith('running')
        board.press('stop')
        board.until(lambda b: b.state == 'stopped')
        step = board.resting()
        again.run(2)
        assert again.text(2).split() == ['stopped', str(step)]
        again.was_quiet()
    finally: it.page, it.errors, it.outside = again.page, again.errors, again.outside


# ---- half-way through a search

@pytest.mark.timeout(500)
def test_half_way(search):
    "The picture of the page `live_lessons`; without DEGAS_PICTURES from a search of a second."
    it, _ = search
    it.run(3)
    board = Board(it, 3)
    board.until(lambda b: b.state == 'paused', seconds=400)
    step = board.resting()
    it.run(4)
    state, n, total = it.text(4).split()
    assert state == 'paused' and step == int(n) == int(total) // 2
    assert all(board.seen().values()), board.seen()
    it.page.wait_for_timeout(1500)                          # no edge flashes any more
    picture(board.root, 'dashboard')
    it.was_quiet()


# ---- what goes wrong

BAD = ['''import math
import time
from types import SimpleNamespace
from degas_nb.views.dashboard import Dashboard
from degas_nb.views.live import live
from degas_nb.ground.errors import UserError

class Toy:
    "Steps of 20 ms; `at` says what happens at which step."
    def __init__(self, total=10_000, **at): self.n, self.total, self.at = 0, total, at
    def __len__(self): return self.total
    def __iter__(self): return self
    def __next__(self):
        time.sleep(.02)
        self.n += 1
        if self.n == self.at.get('raises'): raise UserError('the paint has dried: buy more')
        if self.n == self.at.get('breaks'): return 1 / 0
        loss = math.nan if self.n == self.at.get('nan') else 1 / self.n
        weights = {'s0-s1': dict(a=math.nan if self.n == 4 else .5 + .4*math.sin(self.n), b=.5 - .4*math.sin(self.n))}
        return SimpleNamespace(n=self.n, losses=dict(mse=loss), weights=weights)''',
       "run = live(Toy(raises=5))",
       "run.wait()",
       "run = live(Toy(breaks=5))",
       "run = live(Toy(nan=5))",
       "toy, dashboard = Toy(), Dashboard()\nrun = live(toy, dashboard)",
       "live(toy, Dashboard())",
       "dashboard.close()\nn = toy.n\ntime.sleep(.5)\nprint('went on', toy.n > n + 5)\nrun.stop()\nrun.wait()",
       "empty = Dashboard()\nempty",
       "from degas_nb.views.replay import watch\nwatching = watch('gan')",
       "run = live(Toy())",
       "run = live(Toy(), paused=True)",
       "from degas_nb.views import live as driving\ndriving.CALM = .5\nview = Dashboard()\nview",
       "toy = Toy()\nrun = live(toy, view, paused=True)",
       """import ipywidgets
import plotly.graph_objects as go
from degas_nb.views.widgets import Explorer

def follow(figure, k):
    figure.data[0].y = [k, 2*k]
    return f'k is {k}'

Explorer(go.Figure(go.Scatter(y=[0, 1])), dict(k=ipywidgets.IntSlider(1, 0, 9, description='k')), follow)""",
       "toy = Toy()\nrun = live(toy)",
       "from degas_nb.views.live import ALIVE\nprint(len(ALIVE), run.state)",
       "from degas_nb.views.replay import replay\nreplay('recorded')"]


@pytest.fixture(scope='module')
def bad(lab, browser):
    "Opened with JupyterLab's own settings: messages of widgets arrive in a thread of their own."
    write_notebook(lab[2] / 'bad.ipynb', *BAD)
    recorded(lab[2] / 'recorded', 60)
    with lab_setting(lab, 'apputils-extension:kernels-settings', {}): it = Lab(browser.new_page(viewport=dict(width=1400, height=1000)), lab, 'bad.ipynb')
    assert it.page.evaluate('() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.commsOverSubshells') == 'perCommTarget'
    it.run(0)
    yield it
    it.page.close()


def whole(it, i): return json.dumps(it.outputs(i))


@pytest.mark.timeout(120)
def test_errors_are_seen_in_the_dashboard_and_in_the_cell(bad):
    it = bad
    for i, sentence in ((1, 'the paint has dried: buy more'), (3, 'ZeroDivisionError'), (4, 'not finite at step 5')):
        it.run(i)
        board = Board(it, i)
        board.until(lambda b: b.state == 'failed')
        assert sentence in board.says() and board.root.locator('[role=alert]').text_content() == board.says()
        board.until(lambda b: sentence in whole(it, i))
        if i == 1:
            it.run(2)
            assert [o['ename'] for o in it.outputs(2) if o['output_type'] == 'error'] == ['UserError'] and sentence in whole(it, 2)
    assert board.root.locator('.dg-row').count() == 2, 'alphas that are NaN leave no bars'
    it.was_quiet()


@pytest.mark.timeout(120)
def test_two_dashboards_a_closed_one_and_an_empty_one(bad):
    it = bad
    it.run(5)
    board = Board(it, 5)
    board.until(lambda b: b.step > 5)
    it.run(6)
    assert [o['ename'] for o in it.outputs(6) if o['output_type'] == 'error'] == ['UserError']
    it.run(7)
    assert it.text(7).startswith('went on True')
    it.run(8)
    empty = Board(it, 8)
    assert (empty.state, empty.step) == ('idle', -1)
    room = empty.root.locator('figure:visible')   # of the losses alone, so that the first step moves nothing
    assert room.count() == 1 and 'dg-curves' in room.get_attribute('class') and room.locator('[aria-label="No losses yet"]').count() == 1
    it.was_quiet()


@pytest.mark.timeout(120)
def test_a_training_is_watched_without_alpha(bad, lab):
    run = RunFolder.create(lab[2] / 'gan', 'gan', GANConfig(steps=3).to_dict(), dict(name='emoji'))
    for step in range(1, 4): run.trace.append(dict(step=step, critic=dict(wass=-1. / step, gp=.1), generator=dict(adv=.5)))
    bad.run(9)
    board = Board(bad, 9)
    board.until(lambda b: b.state == 'done' and b.step == 3)
    assert board.root.locator('.dg-bars:visible, .dg-heat:visible, .dg-network:visible').count() == 0
    assert board.root.locator('path.dg-line').count() > 0
    bad.was_quiet()


@pytest.mark.timeout(120)
def test_buttons_and_sliders_over_subshells(bad):
    it = bad
    it.run(11)
    board = Board(it, 11)
    board.until(lambda b: b.state == 'paused')
    board.press('continue')
    board.until(lambda b: b.step > 5)
    board.press('pause')
    board.until(lambda b: b.state == 'paused')
    step = board.resting()
    board.press('step')
    board.until(lambda b: b.step == step + 1)
    board.press('stop')
    board.until(lambda b: b.state == 'stopped')
    it.run(14)
    slider = it.cell(14).locator('.noUi-handle')
    slider.wait_for()
    slider.focus()
    for _ in range(3): it.page.keyboard.press('ArrowRight')
    it.cell(14).locator('.dg-sentence', has_text='k is 4').wait_for(timeout=8000)
    it.was_quiet()


@pytest.mark.timeout(120)
def test_the_picture_that_stays_follows_a_pause_and_leaves_the_focus(bad):
    "The dashboard was displayed before there was a run. Whoever saves the notebook during a pause saves what is seen; and the button that was pressed keeps the focus."
    it = bad
    it.run(12)
    Board(it, 12)
    it.run(13)
    board = Board(it, 12)
    board.until(lambda b: b.state == 'paused')
    for _ in range(2):
        board.press('step')
        board.until(lambda b: b.state == 'paused')
    step = board.resting()
    kept = lambda: [o['data']['text/plain'] for o in it.outputs(12) if 'image/png' in o.get('data', {})]
    board.until(lambda b: f'step {step};' in ''.join(kept()[0]))
    it.page.wait_for_timeout(300)
    assert it.page.evaluate('() => document.activeElement.dataset.action') == 'step'
    board = Board(it, 12)
    board.press('stop')
    board.until(lambda b: b.state == 'stopped')
    it.was_quiet()


@pytest.mark.timeout(120)
def test_a_live_cell_that_is_run_again_leaves_no_run_without_buttons(bad):
    "The first run stops, and the second says so; and when the cell fails, or does something else, the dashboard of what goes on stays."
    it = bad
    alive = lambda: (it.run(16), it.text(16).split())[1]
    it.run(15)
    Board(it, 15).until(lambda b: b.step > 5)
    before = int(alive()[0])
    it.run(15)
    board = Board(it, 15)
    board.until(lambda b: 'this cell had started another run before: Live(stopped at step' in b.says())
    assert alive() == [str(before), 'running'] and it.cell(15).locator('.dg-dashboard').count() == 1
    it.write(15, '1/0')
    it.run(15)
    board = Board(it, 15)
    step = board.step
    board.until(lambda b: b.state == 'running' and b.step > step)
    assert 'division by zero' in whole(it, 15) and it.cell(15).locator('.dg-dashboard').count() == 1
    board.press('stop')
    board.until(lambda b: b.state == 'stopped')
    assert alive() == [str(before - 1), 'stopped']
    it.was_quiet()


# curves that are drawn, and the moment
CURVES = '''e => [[...e.querySelectorAll(".scatterlayer .js-line")].filter(l => (l.getAttribute("d") || "").length > 10).length, e.querySelector(".widget-readout").textContent]'''


@pytest.mark.timeout(120)
def test_the_replay_keeps_its_curves_while_it_plays_and_rests(bad):
    it = bad
    it.run(17)
    cell = it.cell(17)
    cell.locator('.scatterlayer .js-line').first.wait_for(timeout=20_000)
    cell.scroll_into_view_if_needed()
    curves, first = cell.evaluate(CURVES)
    assert curves == 1 and first == '1'
    cell.get_by_role('button', name='Play').click()
    seen, end = {}, time.time() + 30
    while len(seen) < 6 and time.time() < end:
        n, step = cell.evaluate(CURVES)
        seen[step] = n
        it.page.wait_for_timeout(50)
    assert len(seen) == 6 and set(seen.values()) == {curves}, seen
    cell.get_by_role('button', name='Pause').click()
    it.page.wait_for_timeout(700)
    rests = cell.evaluate(CURVES)
    it.page.wait_for_timeout(700)
    assert cell.evaluate(CURVES) == rests == [curves, rests[1]] and rests[1] != '60'
    cell.locator('.dg-sentence', has_text=f'step {rests[1]}:').wait_for(timeout=5000)
    picture(cell.locator('.dg-explorer'), 'replay')
    it.was_quiet()


def looks(it, i): return [it.cell(i).locator(what).count() for what in ('.dg-explorer, .dg-dashboard', '.dg-stays:visible')]


@pytest.mark.long
@pytest.mark.timeout(150)
def test_a_second_tab_says_how_to_get_the_controls(bad, lab, browser):
    "It shows what was saved: where the notebook is not trusted that is a picture, and a line says what to do."
    it = bad
    it.run(14)
    it.cell(14).locator('.dg-sentence').wait_for()
    assert looks(it, 14) == [1, 0], 'the line is for those who have no controls'
    it.save()
    book = json.loads((lab[2] / 'bad.ipynb').read_text())
    book['cells'][6]['source'] = '# somebody has written something else'     # another file than the one that was signed
    (lab[2] / 'second.ipynb').write_text(json.dumps(book))
    other = Lab(browser.new_page(viewport=dict(width=1000, height=1000)), lab, 'second.ipynb', attach=True)
    try:
        other.cell(14).locator('.dg-stays').wait_for(timeout=20_000)
        assert looks(other, 14) == [0, 1] and 'Trust Notebook' in other.cell(14).locator('.dg-stays').text_content()
        shoot(other.page, 'not_trusted')
        other.run(0)
        other.run(14)
        other.cell(14).locator('.dg-sentence').wait_for(timeout=20_000)
        assert looks(other, 14) == [1, 0]
        other.was_quiet()
    finally: other.page.close()


@pytest.mark.timeout(120)
def test_a_function_that_breaks_and_a_kernel_that_is_restarted(bad):
    "The run is gone with it, and dashboard and explorer say so instead of standing still."
    it = bad
    it.write(14, BAD[14].replace("    return", "    if k == 3: raise RuntimeError('three is broken')\n    return"))
    it.run(14)
    sentence, slider = it.cell(14).locator('.dg-sentence'), it.cell(14).locator('.noUi-handle')
    slider.wait_for()
    it.page.wait_for_timeout(500)
    slider.focus()
    for _ in range(2): it.page.keyboard.press('ArrowRight')
    it.cell(14).locator('.dg-sentence.dg-wrong', has_text='RuntimeError: three is broken; the figure stays as it was').wait_for(timeout=8000)
    assert not it.cell(14).locator('.dg-explorer').evaluate(FAINT)
    shoot(it.cell(14), 'broken')
    slider.focus()
    it.page.keyboard.press('ArrowRight')
    it.cell(14).locator('.dg-sentence:not(.dg-wrong)', has_text='k is 4').wait_for(timeout=8000)
    it.run(10)
    board = Board(it, 10)
    board.until(lambda b: b.step > 5)
    it.page.evaluate('() => { jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }')
    board.until(lambda b: b.state == 'gone')
    step = board.resting()
    assert step > 5 and 'restarted or shut down' in board.root.locator('[role=alert]').text_content()
    assert board.root.locator('button[aria-disabled="false"]').count() == 0
    assert 'run the cell again' in sentence.text_content() and 'dg-wrong' in sentence.get_attribute('class')
    it.was_quiet()


# ---- explorers, from the cells of the lessons

# name of the picture -> function, lesson
EXPLORERS = dict(explore_pyramid=('explore_pyramid', 'search/01_pyramid'), explore_mixture=('explore_mixture', 'search/03_mixed'), explore_merged=('explore_mixture', 'search/04_merged'),
                 explore_prune=('explore_prune', 'search/08_prune'), edit_genotype=('edit_genotype', 'space/03_generator'), explore_latents=('explore_latents', 'gan/05_shipped'),
                 explore_penalty=('explore_penalty', 'gan/02_frameworks'), explore_frechet=('explore_frechet', 'judge/03_metrics'))


def in_order(statements):
    "Statements as they are executed: of one that holds others, what it begins with and then those."
    for s in statements:
        if isinstance(s, ast.For): yield ast.Assign([s.target], s.iter)
        elif isinstance(s, ast.With): yield from [ast.Assign([i.optional_vars], i.context_expr) if i.optional_vars else ast.Expr(i.context_expr) for i in s.items]
        elif isinstance(s, (ast.If, ast.While)): yield ast.Expr(s.test)
        elif not isinstance(s, ast.Try): yield s
        if isinstance(s, (ast.For, ast.With, ast.If, ast.While, ast.Try)):
            for part in (s.body, *(h.body for h in getattr(s, 'handlers', ())), getattr(s, 'orelse', []), getattr(s, 'finalbody', [])): yield from in_order(part)


AT_ONCE = {'listcomp', 'setcomp', 'dictcomp', 'genexpr'}


def read_outside(table, at_once=True):
    "Names that a statement reads from its notebook, each with whether it does so when it is executed, or when somebody calls what it defines."
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == 'module' or symbol.is_global()): yield symbol.get_name(), at_once
    for inner in table.get_children(): yield from read_outside(inner, at_once and (inner.get_name() in AT_ONCE or inner.get_type() == 'class'))


def bound_and_used(source):
    "Names that a cell binds at its top level, and names that it reads and has not bound itself."
    bound, used, later = set(), set(), set()
    for s in in_order(ast.parse(source).body):
        table = symtable.symtable(ast.unparse(ast.fix_missing_locations(s)), '', 'exec')
        for name, at_once in read_outside(table): (later if not at_once else set() if name in bound else used).add(name)
        if isinstance(s, ast.AugAssign): used |= {n.id for n in ast.walk(s.target) if isinstance(n, ast.Name)} - bound
        bound |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return bound, used | (later - bound)


def decorators(source):
    "Names of the decorators of a cell's functions and classes."
    return {d.id for n in ast.parse(source).body for d in getattr(n, 'decorator_list', ()) if isinstance(d, ast.Name)}


def functions(source):
    "Names of a cell's functions."
    return {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}


def lesson_cells(lesson, mark):
    "The first cell of a lesson that holds `mark`; in front of it the cells that it needs, in one; behind it the next one."
    code = [c.source for c in nbformat.read(ROOT / f'nbs/{lesson}.ipynb', 4).cells if c.cell_type == 'code' and not re.match(r'%%|#\| (exercise|check)', c.source)]
    at = next(i for i, source in enumerate(code) if mark in source)
    names, known = [bound_and_used(source) for source in code[:at + 1]], set(dir(builtins))

    def before(i, wanted, needed):
        "Cells above `i` that bind what is wanted; and what is still wanted then."
        for i, (bound, used) in reversed([*enumerate(names[:i])]):
            if bound & wanted: needed, wanted = needed | {i}, (wanted - bound) | (used - known)
        return needed, wanted

    needed, wanted = before(at, names[at][1] - known, set())
    def asked(i): return names[i][0] & wanted or any(decorators(code[i]) & functions(code[k]) for k in needed)
    while late := [i for i in range(at) if i not in needed and asked(i)]:   # defined behind what calls it, or put into a registry
        needed, wanted = before(late[-1], wanted | (names[late[-1]][1] - known), needed | {late[-1]})
        wanted -= {n for k in needed for n in names[k][0]}
    return '\n\n'.join(code[i] for i in sorted(needed)), code[at], code[at + 1]


# lesson -> what its live cell holds
LIVE = {'views/05_live': 'live(run, Dashboard(), pictures=pictures, paused=True)', 'search/07_alternating': 'live(search, Dashboard(), pictures=pictures, paused=True)', 'gan/04_training': 'live(run, pictures=drawn, paused=True)'}


@pytest.fixture(scope='module')
def explorers(lab, browser):
    "One notebook: of each explorer what it needs, and its cell; of each live cell also the one behind it."
    cells = [source for function, lesson in EXPLORERS.values() for source in lesson_cells(lesson, f'{function}(')[:2]]
    write_notebook(lab[2] / 'explorers.ipynb', *cells, *(source for lesson, mark in LIVE.items() for source in lesson_cells(lesson, mark)), 'pass')
    it = Lab(browser.new_page(viewport=dict(width=1300, height=1100)), lab, 'explorers.ipynb')
    yield it
    it.page.close()


# all that is drawn in an output: figures, pictures, the sentence
DRAWN = '''e => [...e.querySelectorAll(".js-plotly-plot path, .js-plotly-plot image, .jp-OutputArea-output svg path, svg text, img, .dg-sentence")]
    .map(n => (n.getAttribute("d") || n.getAttribute("href") || n.getAttribute("src") || n.textContent) + (n.getAttribute("style") || "")).join()'''


# traces that nobody hid and that plotly leaves out, because their numbers are missing
MISSING = '''e => [...e.querySelectorAll(".js-plotly-plot")].flatMap(g => g._fullData.filter((t, i) => t.visible === false && g.data[i].visible === undefined).map(t => `${t.type} ${t.index}`))'''


def changes(it, cell, before, seconds):
    "Is something else drawn, soon?"
    end = time.time() + seconds
    while cell.evaluate(DRAWN) == before:
        if time.time() > end: return False
        it.page.wait_for_timeout(40)
    return True


def moves(it, cell, slider):
    "By keyboard: three steps change what is drawn; where a small change decides nothing, going to the end does. The slider stays at the other end."
    before, value = cell.evaluate(DRAWN), slider.get_attribute('aria-valuetext')
    near, far, back = ('ArrowRight', 'End', 'Home') if slider.get_attribute('aria-valuenow') != slider.get_attribute('aria-valuemax') else ('ArrowLeft', 'Home', 'End')
    slider.focus()
    for _ in range(3): it.page.keyboard.press(near)
    if not changes(it, cell, before, 1.):
        it.page.keyboard.press(far)
        assert changes(it, cell, before, 8), f'a slider changes nothing: {value} to {slider.get_attribute("aria-valuetext")}'
        it.page.keyboard.press(back)
    assert slider.get_attribute('aria-valuetext') != value


def edits(it, cell, text):
    "What is typed is drawn; what is wrong is said, and the last good drawing stays."
    drawing, good = cell.locator('svg, img').first, text.input_value()
    text.fill(good.replace('up_conv_3', 'deconv_4', 1))
    it.page.wait_for_timeout(1500)
    before = cell.evaluate(DRAWN)
    text.fill(good.replace('up_conv_3', '<i>up_conv_9', 1))
    cell.locator('.dg-sentence', has_text='<i>up_conv_9').wait_for(timeout=8000)
    assert drawing.is_visible()
    text.fill(good)
    assert changes(it, cell, before, 8), 'what is typed is not drawn'


def shown(it, name):
    "The cell of an explorer, run if it hasn't been; drawn. (cell, its place in the notebook)"
    i = 2 * list(EXPLORERS).index(name) + 1
    cell = it.cell(i)
    if not cell.locator('.dg-sentence').count():
        for k in (i - 1, i):
            it.run(k)
            errors = [o for o in it.outputs(k) if o['output_type'] == 'error']
            assert not errors, '\n'.join(errors[0]['traceback'])
        cell.locator('.dg-sentence').first.wait_for(timeout=30_000)
        if name != 'edit_genotype': cell.locator('.js-plotly-plot .main-svg').first.wait_for(timeout=30_000)
        it.page.wait_for_timeout(800)
    return cell, i


# controls that a screen reader would not name as they are shown
NAMELESS = '''e => [...e.querySelectorAll("input, select, textarea, [contenteditable=true]")].filter(c => !c.closest(".jp-InputArea") && !c.labels?.length && !c.getAttribute("aria-label")).map(c => c.outerHTML)
    .concat([...e.querySelectorAll(".noUi-handle")].map(h => [h, h.closest(".widget-slider")]).filter(([h, s]) =>
    !h.getAttribute("aria-label") || h.getAttribute("aria-label") !== s.querySelector(".widget-label").textContent || h.getAttribute("aria-valuetext") !== s.querySelector(".widget-readout").textContent)
    .map(([h, s]) => s.textContent))'''

# figures that do not fill their room, or leave it
LOOSE = '''e => [...e.querySelectorAll(".dg-room")].map(f => [f.clientWidth, f.scrollWidth, ...[...f.querySelectorAll(".main-svg")].map(s => s.clientWidth)]).filter(sizes => new Set(sizes).size > 1)'''


def nameless_theme(it, scheme):
    "The colour of soft text on a page that says nothing about its theme, while the system is dark or light."
    it.page.emulate_media(color_scheme=scheme)
    soft = it.page.evaluate('''() => {
        const before = document.body.dataset.jpThemeLight;
        delete document.body.dataset.jpThemeLight;
        const soft = getComputedStyle(document.querySelector(".dg-explorer")).getPropertyValue("--dg-soft");
        document.body.dataset.jpThemeLight = before;
        return soft; }''')
    it.page.emulate_media(color_scheme=None)
    return soft


HEIGHTS = '''e => [...e.querySelectorAll(".dg-room .main-svg")].map(s => s.clientHeight)'''


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize('name', EXPLORERS)
def test_explorer(explorers, name):
    it = explorers
    cell, i = shown(it, name)
    output = cell.locator('.jp-OutputArea-child', has=it.page.locator('.dg-sentence')).last
    output.scroll_into_view_if_needed()
    assert not cell.evaluate(MISSING)
    picture(output, name)
    for look in (FAINT, PALE): assert not cell.locator('.dg-explorer').evaluate(look)
    assert not cell.evaluate(NAMELESS)
    sliders = cell.locator('.noUi-handle:visible').all()
    for slider in sliders: moves(it, cell, slider)
    assert not cell.evaluate(NAMELESS)
    if name == 'edit_genotype': edits(it, cell, cell.locator('textarea'))
    else: assert sliders and not cell.evaluate(MISSING)
    assert not cell.locator('.modebar-btn').count(), 'plotly offers its buttons'
    data = next(o['data'] for o in it.outputs(i) if 'application/vnd.jupyter.widget-view+json' in o.get('data', {}))
    assert {'application/vnd.plotly.v1+json', 'image/svg+xml', 'text/html', 'image/png'} & set(data), 'nothing stays in the saved notebook'
    it.was_quiet()


@pytest.mark.timeout(180)
def test_explorers_keep_what_they_need(explorers):
    "Whatever other cells make of the names: everything that a lesson has assigned so far is something else now, and a slider still moves what it moved."
    it = explorers
    cells = {name: shown(it, name)[0] for name in EXPLORERS}
    body = [n for function, lesson in EXPLORERS.values() for source in lesson_cells(lesson, f'{function}(')[:2] for n in ast.parse(source).body]
    values = {t.id for n in body if isinstance(n, ast.Assign) for t in ast.walk(n) if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Store) and not t.id.isupper()}
    imported = {(a.asname or a.name).split('.')[0] for n in body if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names} | {n.name for n in body if isinstance(n, ast.FunctionDef)}
    values -= imported - {'mix'}                            # one kernel for all lessons: what is a value in one may be a function in another
    assert values >= {'mix', 'x', 'trained', 'cloud', 'walk'}
    last = it.page.locator('.jp-Notebook .jp-Cell').count() - 1
    it.write(last, '\n'.join(f'{name} = "something else"' for name in sorted(values)))
    it.run(last)
    assert not [o for o in it.outputs(last) if o['output_type'] == 'error']
    for name, cell in cells.items():
        if name == 'edit_genotype': continue                # it reads functions alone, and `Generator` is another one in a later lesson
        moves(it, cell, cell.locator('.noUi-handle:visible').first)
        assert not cell.locator('.dg-wrong').count(), f'{name}: {cell.locator(".dg-sentence").text_content()}'
    it.was_quiet()


@pytest.mark.timeout(120)
def test_sliders_that_come_later_have_names(explorers):
    cell, _ = shown(explorers, 'explore_prune')
    for edge in ('s5-s6', 's0-s1'):
        cell.locator('select').select_option(edge)
        cell.locator('.dg-sentence', has_text=edge).wait_for(timeout=8000)
        assert cell.locator('.noUi-handle:visible').count() > 4 and not cell.evaluate(NAMELESS)


def place(page, shape):
    "Where a shape is: left, top, width, height."
    box = shape.bounding_box()
    return [box[side] for side in ('x', 'y', 'width', 'height')]


def drag(page, start, way):
    "The mouse takes what is at `start`, and lets it go `way` farther. The cursor that it had there."
    page.mouse.move(*start)
    cursor = page.evaluate('at => getComputedStyle(document.elementFromPoint(...at)).cursor', start)
    page.mouse.down()
    for share in (.5, 1): page.mouse.move(start[0] + share * way[0], start[1] + share * way[1], steps=3)
    page.mouse.up()
    return cursor


@pytest.mark.timeout(120)
def test_a_box_is_dragged_with_the_mouse(explorers):
    it = explorers
    cell, _ = shown(it, 'explore_frechet')
    cell.get_by_role('button', name='moved').click()
    cell.locator('.dg-sentence', has_text='distance 0.800').wait_for(timeout=8000)
    assert 'box with the mouse' in cell.locator('.dg-hint').text_content()
    cell.locator('.js-plotly-plot').scroll_into_view_if_needed()
    box, reads = cell.locator('.shapelayer path').nth(1), lambda: {name: float(cell.get_by_role('slider', name=f'fake: {name}').get_attribute('aria-valuetext').replace('−', '-'))
                                                                 for name in ('mean, across', 'mean, up', 'deviation, across', 'deviation, up')}
    before, (x, y, width, height) = reads(), place(it.page, box)
    assert list(before.values()) == [.4, .8, 1, 1]
    for start, way, cursor, moved in (((x + width / 2, y + height / 2), (width / 4, 0), 'move', 'mean, across'), ((x + 1.25 * width - 1, y + height / 2), (width / 4, 0), 'e-resize', 'deviation, across')):
        said = cell.locator('.dg-sentence').text_content()
        assert drag(it.page, start, way) == cursor
        it.page.wait_for_function('([e, said]) => e.textContent !== said', arg=[cell.locator('.dg-sentence').element_handle(), said], timeout=8000)
        it.page.wait_for_timeout(300)
        assert reads()[moved] > before[moved] and reads()['mean, up'] == .8 and reads()['deviation, up'] == 1
    assert reads()['mean, across'] == pytest.approx(.4 + 1 + .5, abs=.06) and reads()['deviation, across'] == pytest.approx(1.25, abs=.06)
    it.was_quiet()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_explorers_in_the_dark_and_in_a_narrow_window(explorers):
    it = explorers
    cells = {name: shown(it, name)[0] for name in EXPLORERS}
    it.theme('JupyterLab Dark')
    for name, cell in cells.items():
        faint = [f for look in (FAINT, PALE) for f in cell.locator('.dg-explorer').evaluate(look)]
        assert not faint, f'{name}: {faint}'
        shoot(cell.locator('.dg-explorer'), name + '_dark')
    assert nameless_theme(it, 'dark') != nameless_theme(it, 'light'), 'a page without a theme does not follow the system'
    it.theme('JupyterLab Light')
    heights = {name: cell.evaluate(HEIGHTS) for name, cell in cells.items()}
    it.page.evaluate('() => jupyterapp.shell.collapseLeft()')
    it.page.set_viewport_size(dict(width=560 + it.page.evaluate('() => innerWidth - document.querySelector(".jp-Notebook").clientWidth'), height=1100))
    it.page.wait_for_timeout(1000)
    assert 540 <= it.page.evaluate('() => document.querySelector(".jp-Notebook").clientWidth') <= 560
    for name, cell in cells.items():
        shoot(cell.locator('.dg-explorer'), name + '_narrow')
        if name != 'edit_genotype': assert not cell.evaluate(LOOSE) and cell.evaluate(HEIGHTS) == heights[name], name      # a whole network needs more: it is scrolled
    it.was_quiet()


# ---- live cells, from the lessons

# where the parts of a dashboard stand in it
ROOM = '''v => [v, ...v.querySelectorAll(".dg-figure")].map(f => { const a = v.getBoundingClientRect(), b = f.getBoundingClientRect(); return [f.className, Math.round(b.top - a.top), Math.round(b.height)]; })'''


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize('lesson', ['views/04_dashboard', 'views/06_replay', 'search/08_prune'])
def test_what_is_stored_fits_its_cell_and_says_how_to_get_the_controls(lab, browser, lesson):
    "A notebook that was only opened, in two widths."
    (lab[2] / lesson).parent.mkdir(exist_ok=True)
    (lab[2] / f'{lesson}.ipynb').write_text((ROOT / f'nbs/{lesson}.ipynb').read_text())
    it = Lab(browser.new_page(viewport=dict(width=1300, height=1000)), lab, f'{lesson}.ipynb', attach=True)
    try:
        it.page.evaluate('() => jupyterapp.shell.collapseLeft()')
        it.page.locator('.dg-stays').first.wait_for(timeout=20_000)
        other = it.page.evaluate('() => innerWidth - document.querySelector(".jp-Notebook").clientWidth')
        for width in (900, 700):
            it.page.set_viewport_size(dict(width=width + other, height=1000))
            end = time.time() + 10                          # plotly draws anew some time after the window has its size
            while (wide := it.page.evaluate(WIDE)) and time.time() < end: it.page.wait_for_timeout(200)
            assert not wide, f'wider than their cell at {width}: {wide}'
        shoot(it.page, f'stored_{lesson}')
        it.was_quiet()
    finally: it.page.close()


# stored figures and pictures that reach beyond their cell, and words of theirs that are cut off
WIDE = '''() => [...document.querySelectorAll(".jp-OutputArea-output")].filter(o => o.querySelector("img, svg")).flatMap(o => {
    const right = o.getBoundingClientRect().right + 2, told = e => `${e.nodeName} ${e.textContent.slice(0, 60)}`;
    const beyond = [...o.querySelectorAll("img, svg, svg text")].filter(e => e.getClientRects().length && e.getBoundingClientRect().right > right).map(told);
    return beyond.concat(o.scrollWidth > o.clientWidth + 1 ? [`${o.className} ${o.scrollWidth} in ${o.clientWidth}`] : []);
}).slice(0, 5)'''


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize('lesson', LIVE)
def test_the_live_cell_of_a_lesson(explorers, lesson):
    "A student runs the cell, plays with its buttons, and goes on with the lesson, whatever was pressed."
    it, i = explorers, 2 * len(EXPLORERS) + 3 * list(LIVE).index(lesson)
    it.run(i)
    it.run(i + 1)
    board = Board(it, i + 1)
    board.until(lambda b: b.state == 'paused' and b.step == 0)   # it rests before its first step, and its first pictures are there: a run that is over in seconds can't be caught
    step = board.resting(.5)
    before = board.root.evaluate(ROOM)
    board.press('step')
    board.until(lambda b: b.step == step + 1 and b.state == 'paused')
    board.until(lambda b: b.root.locator('path.dg-line').count())
    assert board.root.evaluate(ROOM) == before, 'the first step makes the page jump'
    top, bottom = board.root.evaluate('v => [v.querySelector(".dg-buttons").getBoundingClientRect().top, v.querySelector(".dg-curves").getBoundingClientRect().bottom]')
    assert bottom - top < 400, f'the losses are {bottom - top:.0f} pixels below the buttons'
    for action in {'gan/04_training': ['stop'], 'search/07_alternating': ['step'] * 5}.get(lesson, ['continue']): board.press(action)   # steps that are in flight when the next cell starts
    it.run(i + 2)
    errors = [o for k in range(3) for o in it.outputs(i + k) if o['output_type'] == 'error']
    assert not errors, '\n'.join(errors[0]['traceback'])
    board.until(lambda b: b.state in ('done', 'stopped'))
    it.was_quiet()
