"""The dashboard without a browser: what is sent, and what is drawn of it."""
import math
import threading
import time

import numpy as np
import pytest

from degas_nb.views.dashboard import LONG_PER_SECOND, PER_SECOND, Dashboard, Desk, Heat, Pace, best_of_each, desk_picture, network_plan, ordered_nodes
from degas_nb.views.live import live
from degas_nb.ground.errors import UserError
from toys import NAN, Run, until, weights

pytestmark = pytest.mark.usefixtures('nothing_left_behind')


class Counted(Dashboard):
    sent = 0
    def send_state(self, key=None):
        self.sent += bool(key)
        super().send_state(key)


def test_at_most_twenty_messages_a_second_and_the_last_push_arrives():
    view = Counted()
    view.sent, begin = 0, time.monotonic()
    for n in range(1000): view.push(n, weights(n), dict(made=np.full((4, 6, 3), n % 250, np.uint8)), dict(mse=1/(n + 1)), 1000)
    until(lambda: view.step == 999)
    assert view.sent <= PER_SECOND*(time.monotonic() - begin) + 1
    assert view.gallery == [['made', 4, 6]] and view.pixels == bytes([999 % 250])*72
    assert view.total == 1000 and len(view.heat) == 6*view.heat_plan['columns'] and view.heat_plan['last'] == 999


@pytest.mark.long
def test_what_is_long_comes_four_times_a_second_and_always_in_the_end():
    class Sender(Dashboard):
        messages = ()
        def send_state(self, key=None):
            self.messages += ((threading.current_thread(), frozenset([key] if isinstance(key, str) else key or ())),)
            super().send_state(key)
    view, begin, n = Sender(), time.monotonic(), 0
    view.messages = ()
    while time.monotonic() - begin < 1.5:
        n += 1
        view.push(n, weights(n), None, dict(mse=1/n))
        time.sleep(.03)
    took, during = time.monotonic() - begin, view.messages
    assert {thread for thread, _ in during} == {threading.current_thread()}, 'the run would have waited for another thread'
    assert sum('curves' in key for _, key in during) <= took*LONG_PER_SECOND + 1 < sum('numbers' in key for _, key in during)
    until(lambda: view.step == n and view.curve_plan == [['mse', n]] and view.heat_plan['last'] == n)
    view.push(n + 1, weights(n + 1), None, dict(mse=1.))
    view.tell(state='paused')
    assert (view.state, view.step, view.curve_plan) == ('paused', n + 1, [['mse', n + 1]]), 'what is told brings everything, at once'


def test_one_message_holds_everything():
    view = Counted()
    view.flush()
    view.sent, view.post.sent = 0, -math.inf
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
    view.push(3, weights(3))
    view.push(4, {})
    view.flush()
    assert view.heat == b'' and view.plan['edges'] == view.board.decisions == [] and not view.network.get('nodes'), 'weights that are no longer there'


def test_alphas_that_are_nan_are_drawn_and_said():
    def decide(w): raise UserError('p on a-b is nan: the search diverged')
    view = Dashboard(decide)
    view.push(1, {'a-b': dict(p=NAN, q=NAN), 'b-c': dict(p=.5, q=NAN)}, losses=dict(mse=NAN))
    view.flush()
    assert 'the search diverged' in view.network['undecided'] and view.network['nodes']
    assert list(view.heat) == [255, 255, 127, 255]
    assert desk_picture(view.board)[0][:4] == b'\x89PNG'


def test_what_is_not_decided_is_said_and_nothing_old_is_shown():
    view = Dashboard()
    for n, w in enumerate((weights(1), {e: dict.fromkeys(ops, NAN) for e, ops in weights(1).items()}, {e: dict.fromkeys(ops, .5) for e, ops in weights(1).items()}, weights(1)), 1):
        view.push(n, w)
        view.flush()
        kept = [edge for *edge, kept in view.network['edges'] if kept]
        assert bool(kept) == (n in (1, 4)) and view.network['words'] == ('' if n in (2, 3) else 'a-b p, b-c q')
        assert view.network['undecided'] == {2: 'no decision at step 2: no edge has a largest weight, and some are no numbers', 3: 'no decision at step 3: no edge has a largest weight'}.get(n, '')
    assert view.board.changed == 0, 'the same winners as before'


@pytest.mark.long
def test_the_picture_that_stays_is_small_however_many_edges_there_are():
    desk = Desk()
    for n in range(60): desk.add(n, {f'n{i}-n{i + 1 + i % 3}': {f'op_{k}_with_a_long_name': .1 + .01*((n + k*i) % 7) for k in range(9)} for i in range(40)}, losses=dict(mse=1/(n + 1)))
    assert len(desk_picture(desk)[0]) <= 110_000


def test_pictures_must_be_pictures():
    with pytest.raises(ValueError, match='uint8'): Dashboard().push(1, pictures=dict(made=np.zeros((4, 4))))


def test_state_holds_everything_newest_for_a_view_that_comes_late():
    view = Dashboard()
    handle = live(Run(), view, pictures=lambda run: dict(made=np.full((2, 2, 3), run.n, np.uint8)))
    handle.wait(20)
    until(lambda: view.state == 'done')
    state = view.get_state()
    assert state['step'] == 20 and state['total'] == 20 and state['pixels'] == bytes([20])*12 and state['actions'] == []
    assert state['network']['words'] and state['curve_plan'] == [['mse', 20]]


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
