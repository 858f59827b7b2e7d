"""Explorers of planes, without a browser: what only CI gains from."""
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from degas_nb.views.planes import CASES, LIMITS, SHAPES, arc, box_of, case, cloud, ellipse, explore_frechet, explore_latents, explore_penalty, main_plane, moments, numbers_of, round_step, way
from degas_nb.ground.errors import UserError

numbers = st.floats(-5, 5)


def unit(z): return z / np.linalg.norm(z)


def grey(z): return np.full((4, 6, 3), int(np.clip(128 + 50 * z[0], 0, 255)), np.uint8)


def flat_distance(m1, c1, m2, c2):
    root = np.sqrt(np.trace(c1 @ c2) + 2 * np.sqrt(max(np.linalg.det(c1 @ c2), 0)))
    return dict(mean=((m1 - m2)**2).sum(), cov=np.trace(c1) + np.trace(c2) - 2 * root)


def line(xy, slope): return slope * xy[:, 0]
def line_gradient(xy, slope): return np.tile([slope, 0.], (len(xy), 1))


LATENTS = np.array([unit(z) for z in np.random.default_rng(0).standard_normal((40, 5)) * [3, 2, 1, .5, .2]])
DOTS = np.random.default_rng(1).standard_normal((2, 12, 2))


MAKERS = dict(latents=lambda: explore_latents(LATENTS, grey, unit),
              penalty=lambda: explore_penalty(line, line_gradient, *DOTS, dict(slope=[0., 1., 3.])),
              frechet=lambda: explore_frechet(flat_distance))
each_explorer = pytest.mark.parametrize('make', MAKERS.values(), ids=MAKERS)


def equal(a, b):
    "Do two figures say the same? 2 is 2.0."
    return json.loads(json.dumps(a)) == json.loads(json.dumps(b))


def another(control):
    "A value that the control hasn't now."
    if hasattr(control, 'options'): return next(value for value in control._options_values if value != control.value)
    return control.max if control.value != control.max else control.min

# ---- what all three promise


@each_explorer
def test_every_control_moves_something_and_axes_stay(make):
    explorer = make()
    fixed = [explorer.figure.layout[name].range for name in ('xaxis', 'yaxis')]
    assert all(fixed)
    for name, control in explorer.controls.items():
        before, said = explorer.figure.to_dict(), explorer.said
        start = control.value
        control.value = another(control)
        assert not equal(explorer.figure.to_dict(), before) or explorer.said != said, name
        assert 'not possible' not in explorer.said
        assert [explorer.figure.layout[axis].range for axis in ('xaxis', 'yaxis')] == fixed
        control.value = start
        assert equal(explorer.figure.to_dict(), before), name            # nothing depends on the way there


@each_explorer
def test_leaves_a_figure_that_json_can_hold(make):
    data = make()._repr_mimebundle_()
    kept = data['application/vnd.plotly.v1+json']
    assert len(json.dumps(kept)) < 100_000 and go.Figure(kept).data
    assert 'source' not in json.dumps(kept)                          # notebooks split every text of that name into lines
    assert data['text/plain'].endswith(')')


@each_explorer
def test_the_browser_is_told_the_newest_state(make):
    "A plotly figure inside a box is drawn from `_widget_data`, which only its own display brings up to date."
    explorer = make()
    explorer._repr_mimebundle_()
    for sent, known in zip(explorer.figure._widget_data, explorer.figure.data, strict=True):
        for name in {'x', 'y', 'z'} & set(known):
            assert (name in sent) == (known[name] is not None)
            if name in sent: assert np.array_equal(np.asarray(sent[name], float), np.asarray(known[name], float), equal_nan=True), name


@each_explorer
def test_controls_have_names(make):
    assert all(control.description for control in make().controls.values())


# ---- latents


@settings(max_examples=60, deadline=None)
@given(arrays(float, 4, elements=numbers), arrays(float, 4, elements=numbers), st.floats(0, 1))
def test_an_arc_stays_on_the_sphere_at_an_even_pace(a, b, share):
    if min(np.linalg.norm(a), np.linalg.norm(b)) < .1: return
    a, b = unit(a), unit(b)
    if a @ b < -.999: return
    z = arc(a, b, share)
    angle = lambda p, q: np.arccos(np.clip(p @ q, -1, 1))
    assert np.linalg.norm(z) == pytest.approx(1, abs=1e-6)
    assert angle(a, z) == pytest.approx(share * angle(a, b), abs=1e-6)


def test_anywhere_else_the_way_is_straight():
    a, b = np.array([1., 0]), np.array([0., 3])
    assert np.allclose(way(np.asarray, a, b, .25), [.75, .75])
    assert np.allclose(way(unit, np.zeros(2) + [1, 0], unit(b), .5), unit(a + unit(b)))


def test_main_plane_is_that_of_the_covariance():
    points = np.random.default_rng(2).standard_normal((200, 6)) * [5, 3, 1, 1, 1, 1] + 7
    mean, axes, spread, share = main_plane(points)
    values = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    assert np.allclose(spread**2, values[:2]) and np.allclose(share, values[:2] / values.sum())
    assert np.allclose(axes @ axes.T, np.eye(2)) and np.allclose(main_plane(np.flip(points, 0))[1], axes)
    assert np.allclose(mean, points.mean(0))


def test_opposite_latents_are_said_and_leave_the_figure():
    explorer = explore_latents(np.array([[1., 0, 0], [-1, 0, 0], [0, 1, 0]]), grey, unit, ends=(0, 2))
    before = explorer.figure.data[1].x.copy()
    explorer.controls['end'].value = 1
    assert 'opposite' in explorer.said and np.array_equal(explorer.figure.data[1].x, before)


@pytest.mark.parametrize('latents, ends, says', [
    (np.ones((5, 3)), (0, 1), 'all the same'), (np.ones((1, 3)), (0, 0), 'at least 2'), (np.eye(4)[:, :1], (0, 1), 'no plane'),
    (np.eye(3), (0, 3), '0 to 2'), (np.full((3, 3), np.nan), (0, 1), 'NaN'), (np.ones(4), (0, 1), 'table')])
def test_latents_that_can_not_be_shown(latents, ends, says):
    with pytest.raises(UserError, match=says): explore_latents(latents, grey, ends=ends)


def test_a_picture_that_is_none_is_said():
    assert 'uint8' in explore_latents(LATENTS, lambda z: z, unit).said


# ---- gradient penalty


@pytest.mark.parametrize('slope', [0., 1., 3.])
@pytest.mark.parametrize('where', ['between', 'real'])
def test_a_plane_pays_the_same_everywhere(slope, where):
    explorer = explore_penalty(line, line_gradient, *DOTS, dict(slope=[0., 1., 3.]))
    explorer.move(slope=slope, where=where, seed=5)
    assert np.allclose(explorer.figure.data[4].marker.color, (slope - 1)**2)
    assert explorer.said.startswith(f'penalty {(slope - 1)**2:.4g},')


def test_points_lie_on_the_lines_of_their_pairs():
    explorer = explore_penalty(line, line_gradient, *DOTS, dict(slope=[1.]))
    points, (real, fake) = np.stack([explorer.figure.data[4].x, explorer.figure.data[4].y], 1), DOTS
    share = ((points - real) * (fake - real)).sum(1) / ((fake - real)**2).sum(1)
    assert ((share >= 0) & (share <= 1)).all() and np.allclose(real + share[:, None] * (fake - real), points)


@pytest.mark.parametrize('score, gradient, says', [
    (line, lambda xy, slope: xy[:, 0], 'gradient gave shape'), (lambda xy, slope: xy, line_gradient, 'score gave shape'),
    (lambda xy, slope: xy[:, 0] * np.nan, line_gradient, 'score is NaN')])
def test_functions_that_are_none(score, gradient, says):
    assert says in explore_penalty(score, gradient, *DOTS, dict(slope=[1.])).said


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1e9))
def test_contour_lines_can_be_counted(width):
    step = round_step(width)
    assert 5 <= width / step <= 30 and f'{step:e}'[0] in '125'


# ---- two Gaussians

sizes = st.floats(.2, 1.75)


@settings(max_examples=60, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), sizes, sizes, st.floats(-.98, .98))
def test_the_box_holds_its_ellipse(x, y, width, height, tilt):
    mean, cov = moments(x, y, width, height, tilt)
    edge, box = ellipse(mean, cov), box_of(x, y, width, height, tilt)
    assert edge[:, 0].min() >= box['x0'] - 1e-9 and edge[:, 0].max() <= box['x1'] + 1e-9
    assert edge[:, 1].min() >= box['y0'] - 1e-9 and edge[:, 1].max() <= box['y1'] + 1e-9
    said = numbers_of(go.layout.Shape(**box))
    assert np.allclose([said[k] for k in ('x', 'y', 'width', 'height')], [x, y, width, height], atol=.0251)


@pytest.mark.parametrize('shape', SHAPES)
def test_clouds_differ_only_where_a_gaussian_is_blind(shape):
    points = cloud(shape)
    assert np.allclose(points.mean(0), 0) and np.allclose(np.cov(points.T), np.eye(2))
    assert np.array_equal(points, cloud(shape))
    if shape != 'normal': assert np.abs(points - cloud('normal')).max() > .5


@pytest.mark.parametrize('name', CASES)
def test_cases_cost_the_same_and_stand_on_the_sliders(name):
    explorer = explore_frechet(flat_distance)
    explorer.move(**case(name))
    assert explorer.figure.data[4].y[2] == pytest.approx(.8, abs=1e-12)
    for key, value in case(name).items():
        low, high, step = LIMITS[key.split('_')[1]]
        assert low <= value <= high and (value - low) / step == pytest.approx(round((value - low) / step), abs=1e-6)   # a browser snaps to the steps


def test_a_dragged_box_moves_sliders_ellipse_and_distance_once():
    explorer = explore_frechet(flat_distance)
    calls, follow = [], explorer.follow
    explorer.follow = lambda figure, **values: calls.append(values) or follow(figure, **values)
    explorer.figure.plotly_relayout({'shapes[1].x0': -1., 'shapes[1].x1': 2., 'shapes[1].y0': -1.5, 'shapes[1].y1': 2.5})
    assert [explorer.controls[f'fake_{k}'].value for k in LIMITS] == [.5, .5, .75, 1., 0.] and len(calls) == 1
    assert explorer.controls['real_x'].value == 0 and explorer.figure.data[4].y[0] == pytest.approx(.5)
    explorer.figure.plotly_relayout({'shapes[0].x0': 50., 'shapes[0].x1': 40.})          # far away and inside out
    assert explorer.controls['real_x'].value == 2 and explorer.controls['real_width'].value == 1.8
    assert explorer.figure.layout.shapes[0].x1 == pytest.approx(2 + 3.6)


def test_shapes_can_be_dragged_in_the_browser():
    assert explore_frechet(flat_distance).figure._config['edits'] == {'shapePosition': True}
