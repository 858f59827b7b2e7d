"""The explorers of the search: controls, what they say, bad input, and what stays in a saved notebook; no browser here."""
import ast
import json
import re

import ipywidgets
import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from plotly.basedatatypes import Undefined

from degas_nb.views.explore import LOOKS, NOW, compared_edges, curve, edge_states, edit_genotype, explore_mixture, explore_prune, explore_pyramid, read_table, table_lines
from degas_nb.space.genotype import DEGAS, Genotype, svg
from degas_nb.search.merged import MergedOp
from degas_nb.search.mixed import candidates
from degas_nb.space.ops import batch_norm
from degas_nb.search.prune import explain_prune, mixing_weights
from degas_nb.search.pyramid import band_means, collapse, laplacian_pyramid
from degas_nb.ground.show import COLOURS
from degas_nb.views.widgets import INK, LINES, QUIET, REST, SOFT, Explorer, static_text
from lab import ROOT, contrast

PLOTLY = 'application/vnd.plotly.v1+json'
SIDES = {f's{i}': side for i, side in enumerate([4, 4, 8, 8, 16, 16, 32])}


def buttons(explorer):
    "Button label -> button."
    return {w.description: w for w in explorer.children[0].children if isinstance(w, ipywidgets.Button)}


def stays(explorer):
    "What a saved notebook keeps of it."
    data = explorer._repr_mimebundle_()
    kept = {k: v for k, v in data.items() if 'widget' not in k}
    assert len(json.dumps(kept)) < 60_000
    return kept


# ---- mixture


def linear(alpha):
    "A mixture of constants 0, 1, 2 whose target is 2."
    w = np.exp(alpha - alpha.max())/np.exp(alpha - alpha.max()).sum()
    o = np.arange(3.)
    m = w @ o
    return dict(weights=w, gradient=2*(m - 2)*w*(o - m), loss=(m - 2)**2, output=np.full((4, 4), m), kernel=None)


def test_downhill_goes_down_and_stays_on_the_sliders():
    explorer = explore_mixture(linear, ['zero', 'one', 'two'], rate=5.)
    loss = [linear(np.zeros(3))['loss']]
    for _ in range(10):
        buttons(explorer)['one step downhill'].click()
        alpha = [explorer.controls[o].value for o in ('zero', 'one', 'two')]
        assert max(map(abs, alpha)) <= 4
        loss.append(linear(np.array(alpha))['loss'])
    assert loss == sorted(loss, reverse=True) and loss[-1] < .1 < loss[0]
    buttons(explorer)['all alphas 0'].click()
    assert 'all weights are 0.33' in explorer.said


def test_axes_stay_while_sliders_move():
    explorer = explore_mixture(linear, ['zero', 'one', 'two'])
    axes = lambda: [(explorer.figure.layout[f'{x}axis{i}'].range) for x in 'xy' for i in ('', 2, 3)] + [explorer.figure.data[2].zmax]
    before = axes()
    explorer.move(zero=4., two=-4.)
    assert axes() == before
    assert all(s.description and s.min == -4 and s.max == 4 for s in explorer.controls.values())


def test_one_evaluation_for_a_move_of_all():
    calls = []
    explorer = explore_mixture(lambda alpha: calls.append(1) or linear(alpha), ['zero', 'one', 'two'])
    calls.clear()
    explorer.move(zero=1., one=2., two=3.)
    assert len(calls) == 1
    explorer.controls['zero'].value = 2.
    assert len(calls) == 2


def test_the_kernel_shown_is_the_stencil():
    torch.manual_seed(0)
    mix, h = MergedOp(candidates('up', 1, batch_norm(affine=False), 4)).requires_grad_(False), torch.rand(1, 1, 4, 4)

    def state(logits):
        alpha = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
        output = mix(h, h, alpha.softmax(0))
        loss = output.square().mean()
        return dict(weights=alpha.softmax(0).detach().numpy(), gradient=torch.autograd.grad(loss, alpha)[0].numpy(), loss=loss.item(),
                    output=output[0, 0].detach().numpy(), kernel=mix.stencil(alpha.softmax(0))[0, 0].detach().numpy())

    explorer = explore_mixture(state, list(mix.ops))
    explorer.move(deconv_6=3.)
    assert explorer.figure.data[3].z.shape == (6, 6) and explorer.figure.data[2].z.shape == (16, 16)
    assert np.allclose(explorer.figure.data[3].z, state([0, 3., 0, 0])['kernel'], atol=1e-3)
    assert len(stays(explorer)[PLOTLY]['data']) == 4


@pytest.mark.parametrize('what', ['weights', 'gradient', 'loss'])
def test_a_mixture_that_diverged_says_so(what):
    broken = []
    explorer = explore_mixture(lambda a: linear(a) | ({what: linear(a)[what]*float('nan')} if broken else {}), ['zero', 'one', 'two'])
    before = explorer.figure.data[0].x.copy()
    broken.append(True)
    for act in (lambda: explorer.move(zero=1.2), buttons(explorer)['one step downhill'].click):
        act()
        assert explorer.said == f'not possible: the {what} is not a finite number there; the figure stays as it was'
        assert (explorer.figure.data[0].x == before).all() and explorer.controls['zero'].value == 1.2


def test_alpha_must_fit_the_ops():
    with pytest.raises(ValueError): explore_mixture(linear, ['zero', 'one', 'two'], alpha=[0.])


# ---- pyramid


def tensor(x): return torch.as_tensor(x).permute(2, 0, 1)[None]


def array(x): return x[0].permute(1, 2, 0).numpy()


@pytest.fixture
def pyramid():
    picture = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3))
    return picture, explore_pyramid(picture, lambda x: [array(b) for b in laplacian_pyramid(tensor(x))], lambda ls: array(collapse([tensor(b) for b in ls])))


def test_every_level_can_be_looked_at_and_removed(pyramid):
    picture, explorer = pyramid
    for level in range(4):
        explorer.move(level=level, **{f'keep_{j}': j != level for j in range(4)})
        bands = laplacian_pyramid(tensor(picture))
        bands[level] = 0*bands[level]
        missing = band_means(tensor(picture) - collapse(bands))[0]
        assert np.allclose(explorer.figure.data[3].x, missing, atol=1e-6)
        assert f'without {32 >> level}×{32 >> level} ' in explorer.said
        assert [t.z.shape for t in explorer.figure.data[:3]] == [(32, 32, 3)]*3


def test_nothing_left_and_everything_back(pyramid):
    picture, explorer = pyramid
    explorer.move(**{f'keep_{j}': False for j in range(4)})
    assert np.allclose(explorer.figure.data[3].x, explorer.figure.data[4].x, atol=1e-6)     # all of it is missing
    explorer.move(**{f'keep_{j}': True for j in range(4)})
    assert 'the picture is whole' in explorer.said
    assert np.abs(explorer.figure.data[2].z.astype(int) - ((picture + 1)*127.5).round()).max() <= 1
    assert stays(explorer)['text/plain'].startswith('Explorer(looking at')


# ---- pruning


def random_alpha(seed):
    rng = np.random.default_rng(seed)
    return {e.name: {op: round(float(rng.normal()), 1) for op in DEGAS.ops(e)} for e in DEGAS.edges}


@pytest.mark.parametrize('seed', range(5))
def test_decisions_come_one_by_one(seed):
    alpha = random_alpha(seed)
    explorer, records = explore_prune(SIDES, alpha, mixing_weights, explain_prune), explain_prune(mixing_weights(alpha))
    assert explorer.said.startswith(f'0 of {len(records)} decisions')
    for n, record in enumerate(records, 1):
        buttons(explorer)['next decision'].click()
        assert explorer.said == f"decision {n} of {len(records)}, stage {record['stage']}: {record['says']}"
        bars = explorer.figure.data[-1]
        assert list(bars.marker.color).count('#d55e00') == 1 and bars.x[list(bars.marker.color).index('#d55e00')] == pytest.approx(record['value'], abs=1e-6)
    buttons(explorer)['next decision'].click()
    assert explorer.said.startswith('0 of ')                       # and round again


def test_who_saw_all_goes_on_seeing_all():
    alpha = random_alpha(1)
    explorer = explore_prune(SIDES, alpha, mixing_weights, explain_prune)
    explorer.move(step_=explorer.controls['step_'].max)
    for value in (4., -4.):
        explorer.move(**{f's0-s2 {op}': value*(i == 0) for i, op in enumerate(alpha['s0-s2'])} | {f's0-s4 {op}': value*(i == 0) for i, op in enumerate(alpha['s0-s4'])})
        n = explorer.controls['step_'].max
        assert explorer.controls['step_'].value == n and explorer.said.startswith(f'decision {n} of {n}')


@pytest.mark.parametrize('seed', range(5))
def test_states_are_the_decisions(seed):
    records, edges = explain_prune(mixing_weights(random_alpha(seed))), [e.name for e in DEGAS.edges]
    for step in range(len(records) + 1):
        states = edge_states(edges, records, step)
        assert set(states.values()) <= set(LOOKS)
        assert {e for e, s in states.items() if s in ('kept', 'new')} == {r['edge'] for r in records[:step]}
        decided = {r['node'] for r in records[:step]} - {r['node'] for r in records[step:]}
        assert {e for e, s in states.items() if s == 'lost'} == {e for e in edges if e.split('-')[1] in decided} - {r['edge'] for r in records}
    assert compared_edges(records[0], edges) == ['s0-s1']


def test_the_dropdown_shows_the_sliders_of_its_edge():
    explorer = explore_prune(SIDES, random_alpha(0), mixing_weights, explain_prune)
    stack = next(w for w in explorer.children[0].children if isinstance(w, ipywidgets.Stack))
    for i, edge in enumerate(e.name for e in DEGAS.edges):
        explorer.controls['edge'].value = edge
        assert stack.selected_index == i
        assert [s.description for s in stack.children[i].children] == list(DEGAS.ops(DEGAS.edges[i])) and edge in explorer.said


@pytest.mark.long
def test_what_is_decided_can_be_dragged_at_once():
    "Another step moves the dropdown to the edge of its decision; an alpha never does."
    alpha = random_alpha(1)
    explorer, records = explore_prune(SIDES, alpha, mixing_weights, explain_prune), explain_prune(mixing_weights(alpha))
    edge, step = explorer.controls['edge'], explorer.controls['step_']
    assert edge.value == 's0-s1'
    for carry_on in (lambda n: buttons(explorer)['next decision'].click(), lambda n: step.set_trait('value', n), lambda n: explorer.move(step_=n)):
        step.value = 0
        for n, record in enumerate(records, 1):
            carry_on(n)
            assert edge.value == record['edge'] and 'no part' not in explorer.said
    edge.value = 's4-s5'
    assert explorer.said.endswith('; s4-s5, whose alphas are shown, has no part in it')
    for value in (4., -4., 0.):                                    # more decisions, and fewer: still the reader's edge
        explorer.move(**{f's0-s2 {op}': value for op in alpha['s0-s2']} | {f's2-s4 {op}': -value*(i == 0) for i, op in enumerate(alpha['s2-s4'])} | {'s0-s4 deconv_4': value})
        assert edge.value == 's4-s5' and step.value == step.max
    explorer.controls['s4-s5 conv_1'].value = 4.
    assert edge.value == 's4-s5'


def test_fewer_decisions_are_no_step_of_the_reader():
    alpha = {'s0-s1': dict(conv_1=1.), 's0-s2': dict(deconv_4=2., up_conv_1=0.), 's1-s2': dict(deconv_4=0., up_conv_1=.5)}

    def decide(weights):
        direct = max(weights['s1-s2'].values()) > max(weights['s0-s2'].values())
        return [dict(node='s2', stage=1, edge='s1-s2' if direct else 's0-s2', op='deconv_4', says='')] + [dict(node='s2', stage=2, edge='s1-s2', op='deconv_4', says='')]*(not direct)

    explorer = explore_prune(dict(s0=4, s1=4, s2=8), alpha, lambda raw: raw, decide)
    explorer.controls['step_'].value = 2
    explorer.controls['edge'].value = 's0-s1'
    for value, n in ((4., 1), (0., 2)):
        explorer.controls['s1-s2 deconv_4'].value = value
        assert (explorer.controls['step_'].value, explorer.controls['step_'].max, explorer.controls['edge'].value) == (n, n, 's0-s1')


def test_alpha_that_is_nan_is_said():
    alpha, broken = random_alpha(0), []
    explorer = explore_prune(SIDES, alpha, lambda a: {e: dict.fromkeys(ops, float('nan')) for e, ops in a.items()} if broken else mixing_weights(a), explain_prune)
    broken.append(True)
    explorer.controls['s0-s1 conv_1'].value = 2.
    assert explorer.said.startswith('not possible: conv_1 on s0-s1 is nan: the search diverged')


def test_curves_end_beside_the_nodes():
    for e in DEGAS.edges:
        x, y = curve(SIDES, e.name)
        assert len(x) > 10 and (np.diff(x) > 0).all() and DEGAS.nodes.index(e.src) < x[0] and x[-1] < DEGAS.nodes.index(e.dst)
        flat = y.min() == y.max()
        assert flat == (e.kind == 'normal')


# ---- what goes wrong later

BROKEN = [lambda: {}['gone'], lambda: [][1], lambda: 1/0, lambda: None + 1, lambda: undefined_name, lambda: (_ for _ in ()).throw(RuntimeError('two\nlines'))]   # noqa: F821


@pytest.mark.parametrize('raises', BROKEN)
@pytest.mark.parametrize('drawing', ['figure', 'svg'])
def test_an_exception_is_said_in_red_and_the_last_good_picture_stays(raises, drawing):
    "Whatever the function raises when a control is moved: nobody would see a traceback, and the sentence must not go on saying what was."
    def follow(figure, k):
        if drawing == 'figure': figure.data[0].y = [k, k]
        if drawing == 'svg': figure.value = f'<svg>{k}</svg>'
        if k == 5: raises()
        return f'k is {k}'

    at = lambda k: Explorer('<svg></svg>' if drawing == 'svg' else go.Figure(go.Scatter(y=[0, 0])), dict(k=ipywidgets.IntSlider(k, 0, 9)), follow)
    explorer = at(1)
    look = lambda: explorer.figure.value if drawing == 'svg' else explorer.figure.data[0].y
    before = look()
    explorer.controls['k'].value = 5
    error = explorer.error
    assert explorer.said.startswith(type(explorer.error).__name__) and 'the figure stays as it was' in explorer.said and '\n' not in explorer.said
    assert look() == before and explorer.sentence.wrong and explorer.sentence.value == explorer.said
    explorer.controls['k'].value = 6
    assert (explorer.said, explorer.error, explorer.sentence.wrong) == ('k is 6', None, False) and look() != before
    with pytest.raises(type(error)): at(5)                   # when it is made, the cell has the traceback


def test_a_step_downhill_that_breaks_is_said():
    broken = []
    def mix(alpha): return broken[0] if broken else linear(alpha)
    explorer = explore_mixture(mix, ['zero', 'one', 'two'])
    broken.append({})
    downhill = next(c for c in explorer.children[0].children if isinstance(c, ipywidgets.Button))
    downhill.click()
    assert explorer.said.startswith("KeyError: 'weights'") and explorer.sentence.wrong


def functions_and_variables(cells):
    "Of a notebook: its functions, and names that its cells assign at top level (no constants: those are written in capitals)."
    functions, variables = {}, set()
    for source in cells:
        todo = list(ast.parse(source).body)
        while todo:
            node = todo.pop()
            if isinstance(node, ast.FunctionDef): functions[node.name] = node
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not node.id.isupper(): variables.add(node.id)
            elif not isinstance(node, (ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)): todo += ast.iter_child_nodes(node)
    return functions, variables


def read_by(function, functions, seen=()):
    "Names that a function, and what it calls of its notebook, reads when it is called: not its defaults."
    body = function.body if isinstance(function.body, list) else [function.body]
    nodes = [n for part in body for n in ast.walk(part)]
    own = {a.arg for n in [function, *nodes] if isinstance(n, (ast.FunctionDef, ast.Lambda)) for a in [*n.args.args, *n.args.kwonlyargs, n.args.vararg, n.args.kwarg] if a} | {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - own
    for name in found & set(functions) - set(seen): found |= read_by(functions[name], functions, (*seen, name))
    return found


def of_the_reader(path):
    "Functions that a lesson hands to an explorer or a live run, and the variables of the notebook that they read when a control is moved."
    code = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == 'code' and not c.source.startswith('%%')]
    functions, variables = functions_and_variables(code)
    for source in code:
        if source.startswith('#| export'): continue
        for call in ast.walk(ast.parse(source)):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and re.fullmatch('explore_.*|edit_genotype|Explorer|live', call.func.id)): continue
            for arg in [*call.args, *(k.value for k in call.keywords)]:
                handed = arg if isinstance(arg, ast.Lambda) else functions.get(getattr(arg, 'id', None))
                if handed: yield ast.unparse(arg), read_by(handed, functions) & variables


@pytest.mark.long
def test_what_moves_keeps_what_it_needs():
    "A cell that is run again, or another one that takes the name, must not change what a slider computes: what it needs is a default or a closure."
    handed = {re.sub(r'\d\d_', '', path.relative_to(ROOT/'nbs').with_suffix('').as_posix()): list(of_the_reader(path)) for path in sorted((ROOT/'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in path.parts}
    for lesson in ('views/widgets', 'views/explore', 'views/planes', 'space/generator', 'search/pyramid', 'search/mixed', 'search/merged', 'search/glo', 'search/alternating', 'search/prune', 'gan/frameworks', 'gan/training', 'judge/metrics', 'guides/live_lessons'):
        assert handed[lesson], lesson
    stale = {f'{lesson}: {name}': reads for lesson, found in handed.items() for name, reads in found if reads}
    assert not stale, stale


@pytest.mark.parametrize('source, reads', [('k = 1\ndef f(x): return x + k\nexplore_it(f)', {'k'}), ('k = 1\ndef f(x, k=k): return x + k\nexplore_it(f)', set()), ('k = 1\ndef g(): return k\nexplore_it(lambda x: g())', {'k'}), ('def f(x):\n    k = x\n    return k\nexplore_it(f)', set())])
def test_it_is_seen_when_one_does_not(tmp_path, source, reads):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path/'a.ipynb')
    assert [r for _, r in of_the_reader(tmp_path/'a.ipynb')] == [reads]


def test_the_thing_to_play_with_stands_above_its_checks():
    "A student sees a widget first; what is asserted about it stands in a cell below."
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        for cell in nbformat.read(path, 4).cells:
            shows = [o for o in cell.get('outputs', []) if 'application/vnd.plotly.v1+json' in o.get('data', {}) or re.match('(Explorer|Dashboard|AlphaView)[(]', str(o.get('data', {}).get('text/plain', '')))]
            if shows: assert not re.search(r'^\s*(assert |test_eq|test_close|with ExceptionExpected)', cell.source, re.M), f'{path.name} {cell.id}'


# ---- genotype


@pytest.fixture
def editor():
    def draw(value):
        genotype = Genotype.from_json(value)
        return svg(genotype), f'{len(genotype.edges)} edges'
    return edit_genotype(Genotype.named('cifar10_paper').to_json(), draw)


@pytest.mark.parametrize('text', ['', '{', '[]', '"x"', 'null', '[' * 100_000, '{"format": 1}', '{"a": 1e999}', '1' * 5000, '\ud800', '{"format": "degas-genotype/1", "nodes": [[]], "edges": []}'])
def test_what_is_no_genotype_is_said_and_the_drawing_stays(editor, text):
    before = editor.figure.value
    editor.controls['text'].value = text
    assert editor.said.startswith('not possible: ') and '\n' not in editor.said and len(editor.said) < 200
    assert editor.figure.value == before


def test_the_text_is_drawn_and_read_back(editor):
    genotype = Genotype.named('cifar10_paper')
    assert Genotype.from_json(read_table(table_lines(genotype.to_json()))) == genotype
    assert editor.said == f'{len(genotype.edges)} edges'
    editor.controls['text'].value = editor.controls['text'].value.replace('deconv_6', 'up_conv_1')
    assert 'deconv_6' not in editor.figure.value and stays(editor)['image/svg+xml'] == editor.figure.value


def test_hostile_names_are_refused_and_stay_text(editor):
    "The sentence quotes the name; the page sets it as text, and nothing that stays in a notebook holds it as markup."
    editor.controls['text'].value = editor.controls['text'].value.replace('s0', '<script>')
    assert '<script>' not in editor.figure.value and editor.said.startswith("not possible: a node cannot be called '<script>'")
    assert not [mime for mime, data in stays(editor).items() if mime in ('text/html', 'image/svg+xml') and '<script>' in data]
    assert 'innerHTML' not in (ROOT/'degas_nb'/'static'/'explorer.js').read_text()


# ---- what the page is told

MAKERS = dict(mixture=lambda: explore_mixture(linear, ['zero', 'one', 'two']), prune=lambda: explore_prune(SIDES, random_alpha(0), mixing_weights, explain_prune))


@pytest.mark.parametrize('make, move', [(MAKERS['mixture'], dict(two=2.)), (MAKERS['prune'], dict(step_=3)), (MAKERS['prune'], {'edge': 's0-s2', 's0-s2 deconv_4': 4.})])
def test_one_message_without_holes(make, move):
    "A hole in a batch makes the page forget what it shows: seen in JupyterLab as lines that were gone."
    explorer, sent = make(), []
    figure = explorer.figure
    figure._send_update_msg = lambda restyle_data, relayout_data, trace_indexes=None, **kw: sent.append((restyle_data, trace_indexes))
    explorer.move(**move)
    (restyled, traces), = sent
    assert restyled
    for prop, values in restyled.items():
        for trace, value in zip(traces, values):
            known = prop in figure.data[trace] and figure.data[trace][prop] is not None
            assert not known or value is not Undefined, (prop, trace)


# ---- colours

SEEN = dict(INK=INK, SOFT=SOFT, REST=REST, QUIET=QUIET, NOW=NOW) | {f'line {i}': c for i, c in enumerate(LINES)}
CSS = static_text('explorer.css')


def themes():
    "Names and colours of the stylesheet: light, dark in JupyterLab, dark elsewhere."
    blocks = re.findall(r'\.dg-explorer \{([^}]*--dg-ink[^}]*)\}', CSS)
    return [dict(re.findall(r'(--dg-[a-z0-9]+): (?:var\([^,]*, )?(#[0-9a-f]{6})', block)) for block in blocks]


def rgb(colour): return tuple(int(colour[i:i + 2], 16) for i in (1, 3, 5))


def test_every_colour_of_the_palette_has_a_partner():
    for name, colour in SEEN.items():
        for what in ('fill', 'stroke'): assert f'[style*="{what}: rgb{rgb(colour)}"]' in CSS, name
    for colour in (set(COLOURS.values()) | {'#444444'}): assert f'stroke="{colour}"' in CSS
    drawn = svg(Genotype.named('cifar10_paper'))
    for what, colour in set(re.findall('(fill|stroke)="(#[0-9A-Fa-f]+)"', drawn)): assert f'{what}="{colour}"' in CSS, f'{what} {colour}'
    light = themes()[0]
    for name, colour in re.findall(r'fill: rgb\((.*?)\)"\] \{ fill: var\((--dg-[a-z0-9]+)\)', CSS): assert rgb(light[colour]) == tuple(map(int, name.split(', ')))


def test_themes_can_be_read():
    light, dark, elsewhere = themes()
    assert {k: v for k, v in elsewhere.items() if k != '--dg-paper'} == dark
    css = lambda colour: f'rgb{rgb(colour)}'
    for colours, paper in ((light, '#ffffff'), (dark, '#111111'), (elsewhere, '#14181d')):
        for name, colour in colours.items():
            least = {'ink': 4.5, 'soft': 4.5, 'tick': 4.5, 'grid': 1, 'node': 1, 'paper': 1, 'rest': 1}.get(name[5:], 3)
            assert contrast(css(colour), css(paper)) >= least, (name, colour, paper)
        for text in ('--dg-ink', '--dg-tick'): assert contrast(css(colours[text]), css(colours['--dg-node'])) >= 4.5


@pytest.mark.parametrize('lesson', ['views/01_widgets', 'views/02_explore', 'views/03_planes', 'search/01_pyramid', 'search/03_mixed', 'search/04_merged', 'search/02_glo', 'search/08_prune', 'gan/02_frameworks', 'judge/03_metrics'])
def test_what_stays_is_dark_on_white_and_offers_no_upload(lesson):
    cells = nbformat.read(ROOT/f'nbs/{lesson}.ipynb', 4).cells
    kept = [o.data[PLOTLY] for c in cells for o in c.get('outputs', []) if 'data' in o and PLOTLY in o.data and 'Explorer(' in str(o.data.get('text/plain'))]
    assert kept
    for figure in kept:
        assert figure['config']['displayModeBar'] is False and 'width' not in figure['layout']
        assert figure['layout'].get('paper_bgcolor', 'white') == 'white'
