"""Other strategies: runs like every search, told apart by their settings; a controller that beats lots on the shipped benchmark."""
import json
from dataclasses import replace

import pytest
import torch

from degas_nb.app.driving import command_lines
from degas_nb.app.main import help_of
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import Diverged, RunFolder
from degas_nb.judge.bench import ask
from degas_nb.search.alternating import SEARCHES, Search, SearchConfig, search_settings
from degas_nb.search.controller import Controller, Reinforce, RLConfig
from degas_nb.search.decide import DECISIONS, Asked, decide
from degas_nb.search.halving import RandomConfig
from degas_nb.search.strategies import ASAPConfig, DARTS2Config, GDASConfig, GDASSearch, PathsConfig
from degas_nb.space.choices import draw
from degas_nb.space.generator import Head
from degas_nb.space.genotype import DEGAS, Genotype
from commands import TINY, as_undisturbed, degas, signalled

pytestmark = pytest.mark.usefixtures('quiet_machine')
OTHERS = [name for name in SEARCHES if name != 'degas']
MORE = dict(random=['--candidates', 3], rl=['--proposals', 2])


def argv(name, out, *more):
    few = ['--data', 'emoji', *TINY, '--epochs', 3, '--asked', 4, '--device', 'cpu', '--out', out]
    return ['search', '--strategy', name, *few, *MORE.get(name, []), *more]


def few(): return load('emoji', limit=16)
def small(kind, **more): return kind(**dict(epochs=6, width=4, z_dim=16, batch_size=8) | more)


@pytest.mark.long
@pytest.mark.parametrize('name', OTHERS)
def test_killed_and_taken_up_it_is_the_same_run(name, tmp_path):
    assert degas(*argv(name, tmp_path/'whole')) == 0
    assert signalled(5, [9], *argv(name, tmp_path/'run', '--save-every', 0)).returncode == -9
    assert degas('search', '--resume', '--out', tmp_path/'run') == 0
    as_undisturbed(tmp_path/'run', tmp_path/'whole')
    found = Genotype.load(tmp_path/'run')
    assert found.meta['decide'] == SEARCHES[name].decides
    line, = command_lines(RunFolder.open(tmp_path/'run'))
    assert f'--strategy {name}' in line and '--tau' not in line
    assert degas('prune', tmp_path/'run') == 0 and Genotype.load(tmp_path/'run') == found


@pytest.mark.long
@pytest.mark.parametrize('name', OTHERS)
def test_a_run_opens_as_what_it_is_and_says_what_its_help_says(name, tmp_path):
    config = small(SEARCHES[name].Config, **{k[2:]: v for k, v in [MORE.get(name, ['--seed', 0])]})
    run = Search.from_config(few(), config)
    next(run)
    run.save(tmp_path/'run')
    twin = Search.load(tmp_path/'run', few())
    assert type(twin) is type(run) is SEARCHES[name] and twin.config == config and twin.settings()['strategy'] == name
    assert [s.losses for s in twin] == [s.losses for s in run]
    assert SearchConfig.from_dict(search_settings(config, DEGAS)) == config
    said = help_of('search', ['--strategy', name])
    for f in set(vars(config)) - set(vars(SearchConfig())): assert f"--{f.replace('_', '-')} " in said
    assert 'tau' not in help_of('search')


@pytest.mark.parametrize('name, more', [(name, {}) for name in SEARCHES] + [
    ('degas', dict(joint=True)), ('degas', dict(warmup=2)), ('degas', dict(joint=True, warmup=2)), ('degas', dict(held_out=.5)),
    *((name, dict(warmup=2)) for name in ('cell', 'gdas', 'darts2')), ('adversarial', dict(warmup=2, critic_steps=2)), ('rl', dict(proposals=4))])
def test_a_search_knows_how_often_it_computes_the_images(name, more, monkeypatch):
    "What strategies are compared by is what they do: every batch that a network computes passes its head."
    seen, forward = [], Head.forward
    monkeypatch.setattr(Head, 'forward', lambda head, z: seen.append(len(z)) or forward(head, z))
    few_candidates = dict(candidates=3) if name == 'random' else {}
    run = Search.from_config(few(), small(SEARCHES[name].Config, **few_candidates, **more))
    seen.clear()
    for step in run: pass
    assert sum(seen) == pytest.approx(run.passes*16)


@pytest.mark.parametrize('words, says', [
    (['--strategy', 'nonsense'], 'nonsense'), (['--strategy', 'gdas', '--joint'], '--joint'), (['--strategy', 'paths', '--decide', 'alpha'], 'learns no alpha'),
    (['--decide', 'survivor'], '--strategy random'), (['--decide', 'proposed'], '--strategy rl'), (['--strategy', 'random', '--decide', 'measured'], 'survivor'),
    (['--strategy', 'random', '--candidates', '40'], '--candidates'), (['--strategy', 'random', '--candidates', '1'], '--candidates'),
    (['--strategy', 'gdas', '--tau', '.01'], '--tau'), (['--strategy', 'gdas', '--tau-end', '0'], '--tau-end'), (['--strategy', 'asap', '--pruned-by', '0'], '--pruned-by'),
    (['--strategy', 'gdas', '--relaxation', 'sigmoid'], '--relaxation'), (['--strategy', 'rl', '--proposals', '0'], '--proposals'), (['--tau', '3'], '--tau'),
    (['--strategy', 'rl', '--entropy', '-1'], '--entropy'), (['--strategy', 'cell', '--tau', '3'], '--tau'), (['--strategy'], 'strategy')])
def test_what_is_wrong_is_said_in_a_line_before_anything_is_written(words, says, tmp_path, capsys):
    assert degas('search', '--data', 'emoji', *TINY, '--epochs', 2, '--out', tmp_path/'run', *words) == 2
    said = capsys.readouterr().err.strip()
    assert says in said and said.count('\n') == 0 and not (tmp_path/'run').exists()


def test_a_strategy_does_not_change_within_a_run(tmp_path, capsys):
    assert degas(*argv('paths', tmp_path/'run')) == 0
    assert degas('search', '--resume', '--out', tmp_path/'run', '--strategy', 'gdas') == 2
    config = json.loads((tmp_path/'run'/'config.json').read_text())
    for bad in 'nonsense', 7, None, ['gdas']:
        (tmp_path/'run'/'config.json').write_text(json.dumps(config | dict(config=config['config'] | dict(strategy=bad))))
        capsys.readouterr()
        assert degas('search', '--resume', '--out', tmp_path/'run') == 2
        said = capsys.readouterr().err.strip()
        assert said.count('\n') == 0 and 'strategy' in said


def test_settings_of_one_strategy_make_no_other():
    with pytest.raises(UserError, match='GDASConfig'): GDASSearch.from_config(few(), small(PathsConfig))
    assert type(GDASSearch.from_config(load('emoji', limit=64))) is GDASSearch
    for kind in SEARCHES.values():
        if kind is not Search:
            with pytest.raises(UserError, match='--joint'): small(kind.Config, joint=True)


def test_what_was_pruned_on_the_way_is_checked_when_it_is_read(tmp_path):
    run = Search.from_config(few(), small(ASAPConfig))
    next(run)
    state = run.state_dict()
    for bad in None, {}, state['left'] | {'s0-s1': []}, state['left'] | {'s0-s1': ['nonsense']}, state['left'] | {'s0-s1': state['left']['s0-s1'][::-1]}:
        with pytest.raises(UserError): Search.from_config(few(), small(ASAPConfig)).load_state_dict(state | dict(left=bad))


def test_a_step_ahead_leaves_no_trace_in_weights_and_statistics():
    run = Search.from_config(few(), small(DARTS2Config, lr=0., z_lr=0.))
    before = {k: v.clone() for k, v in run.net.state_dict().items() if not k.startswith('alpha') and 'running' not in k and 'num_batches' not in k}
    next(run)
    assert all(torch.equal(v, before[k]) for k, v in run.net.state_dict().items() if k in before)


def test_a_path_may_have_no_edge_of_a_kind():
    run = Search.from_config(few(), small(GDASConfig), replace(DEGAS, name='one', keep=1))
    for step in run: pass
    assert all(torch.isfinite(a).all() for a in run.alphas)


@pytest.mark.parametrize('name', [name for name in OTHERS if name != 'darts2'])
def test_torchs_global_stream_is_left_as_it_was(name):
    before = torch.get_rng_state()
    next(Search.from_config(few(), small(SEARCHES[name].Config, **{k[2:]: v for k, v in [MORE.get(name, ['--seed', 0])]})))
    assert torch.equal(before, torch.get_rng_state())


def test_held_out_images_have_their_latents_moved_or_are_refused():
    for kind in SEARCHES.values():
        try: config = small(kind.Config, held_out=.5, epochs=2)
        except UserError as e:
            assert '--held-out' in str(e)
            continue
        run = Search.from_config(load('emoji', limit=24), config)
        start = run.latents.z.clone()
        next(run)
        assert (run.latents.z != start).any(1)[run.alpha_on].sum() == config.batch_size, config.strategy


def test_a_race_made_longer_gives_its_survivor_the_rest():
    run = Search.from_config(few(), small(RandomConfig, candidates=2, epochs=4))
    for _ in range(len(run) - 1): next(run)
    run.replan(epochs=8)
    rates = [(next(run), run.race.leader.opt.param_groups[0]['lr'])[1] for _ in range(len(run) - run.n)]
    assert len(rates) > 8 and all(a > b > 0 for a, b in zip(rates, rates[1:]))


@pytest.mark.long
def test_what_a_longer_plan_changes_begins_where_it_was_made():
    "Temperatures, thresholds and the critic's rate go by the plan of their step, as the rates do."
    for name in OTHERS:
        if name in ('random', 'rl'): continue
        first = Search.from_config(few(), small(SEARCHES[name].Config, epochs=2))
        rows = [next(first).logits, next(first).logits]
        past = dict(until=2) | {k: getattr(first.config, k) for k in first.changeable}
        again = Search.from_config(few(), small(SEARCHES[name].Config, epochs=4), history=[past])
        for row in rows: assert all(torch.equal(a, row[group]) for group, a in next(again).logits.items()), name
        assert torch.equal(first.latents.z, again.latents.z), name


@pytest.mark.parametrize('name', ['random', 'rl'])
def test_what_is_no_alpha_raises_no_alarm_about_it(name, tmp_path, capsys):
    assert degas(*argv(name, tmp_path/'run', '--seed', 3)) == 0
    assert 'collapses' not in (said := capsys.readouterr().err) and 'leads on every' not in said


def test_rl_and_races_ask_what_is_theirs():
    rl = Search.from_config(few(), small(RLConfig, proposals=2))
    for _ in rl: pass
    assert decide(rl, 'proposed', 5).asked == 5
    race = Search.from_config(few(), small(RandomConfig, candidates=3))
    for _ in race: pass
    assert decide(race, 'survivor').genotype == race.race.leader.genotype and len(race.race.running) == 1
    made = race.reconstruct(torch.arange(4))
    assert made.shape == (4, 3, 32, 32) and race.sample(3).shape == (3, 3, 32, 32)


def test_the_controller_beats_lots_on_the_benchmark():
    "600 networks each, three seeds: the best predicted loss on CIFAR-10."
    def loss(genotype): return ask(genotype).predicted
    taught, by_lot = [], []
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        by_lot.append(min(loss(draw(rng)) for _ in range(600)))
        teacher = Reinforce(Controller(rng=rng), lr=1e-2)
        taught.append(-max(reward for _ in range(75) for reward in teacher.step(lambda g: -30*loss(g), 8, rng))/30)
    assert sum(taught) < sum(by_lot), (taught, by_lot)


# ---------------------------------------------------------------- what a reviewer found

@pytest.mark.long
def test_what_has_left_does_not_come_back():
    "ASAP's operations that went are missed by nobody: a decision by perturbation chooses among those that are left."
    search = Search.from_config(few(), SEARCHES['asap'].Config(epochs=3, pruned_by=.5, width=4, z_dim=16, batch_size=8))
    for step in search: pass
    left = {e.name: set(search.left().ops(e)) for e in search.left().edges}
    assert any(len(ops) < len(search.net.space.ops(e)) for e in search.net.space.edges for ops in [left[e.name]])
    for how in ('perturb', 'perturb_tuned', 'measured', 'alpha'):
        for e in decide(search, how, 12).genotype.edges: assert e.op in left[e.name], (how, e)


def test_no_number_is_no_lead():
    "Where somebody drives a race who does not stop at a loss that is none (a command does)."
    search = Search.from_config(few(), SEARCHES['random'].Config(epochs=8, candidates=4, width=4, z_dim=16, batch_size=8))
    for step in search:
        if step.n == 3: search.race.running[0].losses.append(float('nan'))
        if search.race.round: break
    assert 0 not in search.race.running and search.race.leader.judged < float('inf')


@pytest.mark.long
def test_networks_that_have_no_loss_are_chosen_by_nobody(monkeypatch):
    search = Search.from_config(few(), SearchConfig(epochs=1, width=4, z_dim=16, batch_size=8))
    next(search)
    whole, seen = Asked.loss_of, []
    def loss_of(self, made):
        seen.append(whole(self, made))
        return float('nan') if len(seen) % 2 else seen[-1]
    monkeypatch.setattr(Asked, 'loss_of', loss_of)
    for how in ('measured', 'evolved', 'tuned', 'lean'):
        seen.clear()
        asked = Asked(search)
        DECISIONS[how](asked, 24)
        assert all(loss < float('inf') or loss == float('inf') for loss in asked.known.values())
        if how in ('measured', 'evolved'): assert asked.known[DECISIONS[how](asked, 24).genotype] < float('inf')


@pytest.mark.parametrize('strategy', ['rl', 'gdas'])
def test_other_strategies_that_diverge_say_so(strategy):
    "A line that says what to try, and what a rollback can catch; not torch's, about probabilities."
    run = Search.from_config(few(), SEARCHES[strategy].Config(epochs=4, width=4, z_dim=16, batch_size=8))
    def broken(run):
        with torch.no_grad():
            if strategy == 'gdas': [a.fill_(float('nan')) for a in run.net.alpha.values()]
            else: run.teacher.controller.start.fill_(float('nan'))
    next(run)
    broken(run)
    with pytest.raises(Diverged, match='try a smaller'):
        for step in run: step.record(with_alpha=True)
    run = Search.from_config(few(), SEARCHES[strategy].Config(epochs=4, width=4, z_dim=16, batch_size=8))
    next(run)
    with torch.no_grad(): [p.fill_(float('nan')) for p in run.net.weight_parameters()]
    with pytest.raises(Diverged, match='not finite'):
        for step in run: step.record(with_alpha=True)


def test_a_reward_is_held_against_the_others_of_its_step():
    "What all networks of a step have in common, such as weights that get better, teaches nothing."
    def learned(against, shift):
        controller = Controller(rng=torch.Generator().manual_seed(0))
        teacher, rng = Reinforce(controller, .01, 0., against=against), torch.Generator().manual_seed(1)
        first = {k: v.clone() for k, v in controller.state_dict().items()}
        for step in range(8): teacher.step(lambda g: shift*step, 4, rng)
        return max((v - first[k]).abs().max().item() for k, v in controller.state_dict().items())
    assert learned('others', 5.) == 0 < .01 < learned('past', 5.)
    with pytest.raises(UserError, match='--against'): SEARCHES['rl'].Config(against='all')
    with pytest.raises(UserError, match='--proposals'): SEARCHES['rl'].Config(against='others', proposals=1)


def test_a_warm_up_as_long_as_the_search_is_said():
    assert 'in all 2 epochs (--warmup 2)' in Search.from_config(few(), SearchConfig(epochs=2, warmup=2, width=4, z_dim=16, batch_size=8)).notes[0]
    assert not Search.from_config(few(), SearchConfig(epochs=2, warmup=1, width=4, z_dim=16, batch_size=8)).notes
