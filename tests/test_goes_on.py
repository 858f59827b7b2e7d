"""A run that goes on by another plan: longer, with other rates, after numbers that were none; what it remembers and what it says."""
import ast, json, os, re, shlex, shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import degas_nb
from degas_nb.app.driving import command_lines
from degas_nb.app.main import COMMANDS, _flags_of
from degas_nb.ground.data import load
from degas_nb.gan.training import GANStep, GANTraining
from degas_nb.space.genotype import Genotype
from degas_nb.ground.folders import Diverged, RunFolder, Trace
from degas_nb.search.alternating import SEARCHES, LatentStep, Search
from degas_nb.search.prune import alpha_alarm
from commands import FEW, IMAGES, SMALL, alone_argv, as_undisturbed, copy, degas, forked, pictures, same, search_argv, signalled, snapshot, state, trace, train_argv, with_state

pytestmark = pytest.mark.usefixtures('quiet_machine')

NAN = float('nan')


def config(out): return json.loads((out/'config.json').read_text())


def floats(value):
    if isinstance(value, torch.Tensor): return [value] if value.is_floating_point() else []
    return [t for v in (value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []) for t in floats(v)]


def finite(out): return all(bool(t.isfinite().all()) for t in floats(state(out)))


# ---------------------------------------------------------------- longer, and with other rates

@pytest.mark.long
def test_a_finished_search_is_made_longer(found, tmp_path):
    out = copy(found, tmp_path)
    assert degas('search', '--resume', '--epochs', 6, '--out', out) == 0
    rows = trace(out)
    assert [r['step'] for r in rows] == list(range(1, 19)) and rows[:12] == trace(found)
    by_hand = Search.load(found, load('emoji', limit=IMAGES)).replan(epochs=6)
    steps = list(by_hand)
    assert [s.lr for s in steps] == [r['lr'] for r in rows[12:]] and same(by_hand.net.state_dict(), state(out)['net'])
    assert config(out)['config']['epochs'] == 6 and config(out)['history'] == by_hand.history
    assert Genotype.load(out).meta['epochs'] == 6
    lines = command_lines(RunFolder.open(out))
    assert '--epochs 4' in lines[0] and '--resume --epochs 6' in lines[1] and 'step 12' in lines[1] and all(words in (out/'report.html').read_text() for words in ('--epochs 4', '--resume --epochs 6'))


@pytest.mark.long
def test_an_unfinished_training_is_made_longer_with_another_rate_and_killed_again(drawn, found, tmp_path):
    out, whole = tmp_path/'run', tmp_path/'whole'
    changes = ['--steps', 9, '--lr', 2e-4]
    for path in out, whole: assert signalled(3, [2], *train_argv(path, genotype=found/'genotype.json')).returncode == 130
    assert degas('train', '--resume', *changes, '--out', whole) == 0
    assert signalled(5, [9], 'train', '--resume', *changes, '--out', out).returncode == -9  # before its first checkpoint by the new plan
    assert degas('train', '--resume', '--out', out) == 0                                    # remembers the plan
    as_undisturbed(out, whole)
    assert config(out) == config(whole) and config(out)['config']['steps'] == 9 and [h['until'] for h in config(out)['history']] == [3]
    by_hand = GANTraining.load(whole, load('emoji', limit=IMAGES))
    assert [r['lr'] for r in trace(out)] == [pytest.approx(by_hand.plan_at(n).lr*(1 - n/by_hand.plan_at(n).steps)) for n in range(9)]


def test_a_plan_that_cannot_be(found, drawn, tmp_path, line):
    out, gan = copy(found, tmp_path), copy(drawn, tmp_path, 'gan')
    before = snapshot(tmp_path)
    assert '12 steps are done' in line('search', '--resume', '--epochs', 2, '--out', out)
    assert '6 steps are done' in line('train', '--resume', '--steps', 3, '--out', gan)
    for flag in (['--batch-size', 16], ['--seed', 1], ['--width', 8], ['--lr-end', .5], ['--z-init', 'random']): assert 'other settings' in line('search', '--resume', *flag, '--out', out)
    for flag in (['--ema', .5], ['--n-critic', 1], ['--seed', 1], ['--init', 'dcgan']): assert 'other settings' in line('train', '--resume', *flag, '--out', gan)
    assert snapshot(tmp_path) == before


@pytest.mark.long
def test_what_a_run_writes_is_among_its_settings(tmp_path):
    out = tmp_path/'run'
    assert signalled(3, [15], *train_argv(out, '--sample-every', 2, '--save-every', 30)).returncode == 143
    assert degas('train', '--resume', '--out', out) == 0
    assert {f'samples_{n:06d}.png' for n in (0, 2, 4, 6)} == {p.name for p in (out/'samples').iterdir()}
    assert '--sample-every 2' in command_lines(RunFolder.open(out))[0]
    assert degas('train', '--resume', '--steps', 10, '--sample-every', 3, '--out', out) == 0
    assert {f'samples_{n:06d}.png' for n in (9, 10)} < {p.name for p in (out/'samples').iterdir()} and not (out/'samples'/'samples_000008.png').exists()


@pytest.mark.parametrize('writes', [[], dict(sample_every='x'), dict(foo=1), None])
def test_damaged_writes(writes, drawn, tmp_path, line):
    out = copy(drawn, tmp_path)
    (out/'config.json').write_text(json.dumps(config(out) | dict(writes=writes)))
    assert "'writes'" in line('train', '--resume', '--out', out)


@pytest.mark.parametrize('history', [{}, [1], [dict(until=3)], [dict(until=3, lr='x')], [dict(until=5, lr=.1), dict(until=2, lr=.1)]])
def test_damaged_history(history, found, drawn, tmp_path, line):
    for run, command in ((found, 'search'), (drawn, 'train')):
        out = copy(run, tmp_path, command)
        (out/'config.json').write_text(json.dumps(config(out) | dict(history=history)))
        assert "'history'" in line(command, '--resume', '--out', out)


# ---------------------------------------------------------------- numbers that are none

RATES = {'lr': ['--lr', 1e30], 'z_lr': ['--z-lr', 1e38], 'alpha_lr': ['--alpha-lr', 1e38], 'sgd': ['--lr', 1e6, '--optimiser', 'sgd'], 'lr, hidden by a norm': ['--lr', 1e9], 'lr, too long for float32': ['--lr', 1e38]}


@pytest.mark.parametrize('case', RATES)
@pytest.mark.parametrize('save_every', [0, 60])
def test_a_search_that_diverges_keeps_what_is_finite_and_goes_on_with_a_smaller_rate(case, save_every, tmp_path, line, capsys):
    out = tmp_path/'run'
    degas(*search_argv(out, *RATES[case], '--save-every', save_every, tiny=SMALL))
    said = capsys.readouterr().err
    if (out/'genotype.json').exists():  # it got through
        assert finite(out)
        return
    last = said.strip().splitlines()[-1]
    assert last.startswith('degas: ') and 'not finite at step' in last and 'smaller --lr' in last and '--resume' in last and 'Traceback' not in said
    saved = (out/'checkpoint.pt').exists()
    if saved: assert finite(out)
    advised = last.split('degas search ')[1].split(', or')[0].split()
    if degas('search', *advised[:1], '--lr', 1e-3, '--z-lr', .1, '--alpha-lr', 3e-3, *advised[-2:]) != 0:
        assert saved and not save_every and finite(out) and 'begin anew with --overwrite' in capsys.readouterr().err  # saved each step, it kept weights that are finite and of no use
        return
    assert finite(out) and [r['step'] for r in trace(out)] == list(range(1, 13))
    assert config(out)['config']['lr'] == 1e-3 and len(config(out).get('history', [])) == int(saved and state(out)['history'] != [])


@pytest.mark.long
def test_a_training_that_diverges_goes_on_from_its_last_finite_state(tmp_path, capsys):
    out = tmp_path/'run'
    assert signalled(2, [15], *train_argv(out)).returncode == 143
    assert degas('train', '--resume', '--lr', 1e30, '--save-every', 0, '--out', out) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'not finite at step' in last and 'degas train --resume --lr' in last and finite(out)
    advised = last.split('degas train ')[1].split(', or')[0].split()
    assert degas('train', '--resume', '--lr', 1e-4, *advised[-2:]) == 0, capsys.readouterr().err
    assert finite(out) and len(trace(out)) == 6 and config(out)['history'][0]['until'] == 2


def test_prune_of_a_search_that_diverged(found, tmp_path, line, capsys):
    out, rows = copy(found, tmp_path), trace(found)
    full = [i for i, r in enumerate(rows) if 'alpha' in r]
    assert len(full) > 3
    nothing = lambda r: r | {k: {edge: {op: None for op in ops} for edge, ops in r[k].items()} for k in ('alpha', 'weights')}
    spoilt = [nothing(r) if i in full[2:] else r for i, r in enumerate(rows)]
    (out/'trace.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in spoilt))
    capsys.readouterr()
    assert degas('prune', out) == 0
    assert f"not finite in step {rows[full[2]]['step']}; deciding from those of step {rows[full[1]]['step']}" in capsys.readouterr().err
    cut = copy(found, tmp_path, 'cut')
    (cut/'trace.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows[:full[2]]))
    assert degas('prune', cut) == 0 and Genotype.load(cut).edges == Genotype.load(out).edges
    (out/'trace.jsonl').write_text(''.join(json.dumps(nothing(r) if 'alpha' in r else r) + '\n' for r in rows))
    assert 'has diverged' in line('prune', out)


@pytest.mark.long
def test_a_checkpoint_of_old_that_holds_nan_gives_way_to_the_one_before(tmp_path, found, capsys):
    out = tmp_path/'run'
    assert degas(*search_argv(out, '--save-every', 0)) == 0
    with_state(lambda s: s['latents'].update({k: v*NAN for k, v in s['latents'].items() if isinstance(v, torch.Tensor) and v.is_floating_point()}))(out/'checkpoint.pt')
    for name in 'genotype.json', 'report.html': (out/name).unlink()
    capsys.readouterr()
    assert degas('search', '--resume', '--out', out) == 0
    said = capsys.readouterr().err
    assert 'numbers that are not finite' in said and 'taking the one before it, of step 11' in said
    as_undisturbed(out, found)


# ---------------------------------------------------------------- back to the last checkpoint

@pytest.fixture
def bad(monkeypatch):
    "Let a step have no finite loss until the rate has been halved so often."
    def spoil(step, halved, whole=dict(search=1e-3, train=4e-4)):
        for cls, top in (LatentStep, whole['search']), (GANStep, whole['train']):
            def record(self, *args, record=cls.record, top=top, **kw):
                if self.n == step and self.lr > top*.5**halved*1.25: raise Diverged(f'the loss is not finite at step {self.n}: try')
                return record(self, *args, **kw)
            monkeypatch.setattr(cls, 'record', record)
    return spoil


ROLL = {'search': lambda out, *more: search_argv(out, '--on-nan', 'rollback', *more, tiny=SMALL), 'train': lambda out, *more: train_argv(out, '--on-nan', 'rollback', '--lr', 4e-4, *more, tiny=SMALL),
        'reconstruct': lambda out, *more: alone_argv(out, '--on-nan', 'rollback', '--lr', 1e-3, *more, tiny=SMALL)}
PLAIN = dict(search=search_argv, train=train_argv, reconstruct=alone_argv)


@pytest.mark.long
@pytest.mark.parametrize('command, step', [('search', 3), ('train', 2), ('reconstruct', 3)])
@pytest.mark.parametrize('saves', [['--save-every', 0], []])
def test_rollback_halves_the_rates_draws_other_numbers_and_is_written_down(command, step, saves, bad, tmp_path, capsys):
    bad(step, 1)
    out, plain = tmp_path/'run', tmp_path/'plain'
    assert degas(*ROLL[command](out, *saves)) == 0
    back = step - 1 if saves else 0
    assert f'not finite at step {step}: back to step {back} with half the rates' in capsys.readouterr().err
    there, rows = config(out), trace(out)
    assert there['rollbacks'] == [back] and [r['step'] for r in rows] == list(range(1, len(rows) + 1)) and finite(out)
    assert [h['until'] for h in there.get('history', [])] == [back]*bool(back) and there['config']['lr'] == pytest.approx({'search': 5e-4, 'train': 2e-4, 'reconstruct': 5e-4}[command])
    lines = command_lines(RunFolder.open(out))
    assert len(lines) == 1 and '--on-nan rollback' in lines[0]
    assert degas(*shlex.split(lines[0])[1:-2], '--out', tmp_path/'again') == 0 and trace(tmp_path/'again') == rows  # it does this again
    rates = [word for name in there['config'] if name.endswith('lr') and name != 'lr_end' for word in (f"--{name.replace('_', '-')}", there['config'][name])]
    assert degas(*PLAIN[command](plain, *rates, tiny=SMALL)) == 0
    assert trace(plain)[step - 1]['lr'] == pytest.approx(rows[step - 1]['lr']) and trace(plain)[back] != rows[back]  # half the rates from there on, and other numbers


@pytest.mark.long
@pytest.mark.parametrize('command, step', [('search', 3), ('train', 2), ('reconstruct', 3)])
def test_rollback_gives_up_after_three(command, step, bad, tmp_path, capsys):
    bad(step, 9)
    out = tmp_path/'run'
    assert degas(*ROLL[command](out, '--save-every', 0)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert [f'{k} of 3 times' in line for k, line in zip((1, 2, 3), [line for line in said if 'back to step' in line], strict=True)] == [True]*3
    assert f'not finite at step {step}, after 3 rollbacks to steps {step - 1}, {step - 1}, {step - 1}' in said[-1] and '--resume --lr' in said[-1] and finite(out)
    assert config(out)['rollbacks'] == [step - 1]*3
    assert degas(command, '--resume', '--out', out) == 2 and 'after 3 rollbacks' in capsys.readouterr().err  # it remembers


@pytest.mark.long
@pytest.mark.parametrize('command, step', [('search', 3), ('train', 2), ('reconstruct', 3)])
@pytest.mark.parametrize('where', ['noted', 'later'])
def test_a_kill_around_a_rollback_changes_nothing(command, step, where, bad, tmp_path, monkeypatch):
    bad(step, 1)
    out, whole = tmp_path/'run', tmp_path/'whole'
    assert degas(*ROLL[command](whole, '--save-every', 0)) == 0
    def work():
        note, append = RunFolder.note, Trace.append
        def noting(self, **parts):
            note(self, **parts)
            if 'rollbacks' in parts: os.kill(os.getpid(), 9)
        def appending(self, record):
            append(self, record)
            if record['step'] == step and 'rollbacks' in self.run.meta: os.kill(os.getpid(), 9)
        if where == 'noted': RunFolder.note = noting
        else: Trace.append = appending
        degas(*ROLL[command](out, '--save-every', 0))
    assert forked(work).returncode == -9 and config(out)['rollbacks'] == [step - 1]
    assert degas(command, '--resume', '--out', out) == 0
    as_undisturbed(out, whole)
    assert config(out) == config(whole)


@pytest.mark.parametrize('wrong', [{}, [-1], ['x'], [True], None])
def test_damaged_rollbacks(wrong, found, tmp_path, line):
    out = copy(found, tmp_path)
    (out/'config.json').write_text(json.dumps(config(out) | dict(rollbacks=wrong)))
    assert "'rollbacks'" in line('search', '--resume', '--out', out)


# ---------------------------------------------------------------- alphas

@pytest.mark.long
def test_alphas_that_collapse_are_said_once(found, tmp_path, capsys, monkeypatch):
    rows = [r['weights'] for r in trace(found) if 'weights' in r]
    assert not any(alpha_alarm(w, k/12) for k, w in enumerate(rows))
    edge = next(e for e, ops in rows[0].items() if 'skip_connect' in ops)
    sure = rows[0] | {edge: {op: .995 if op == 'conv_3' else .005/8 for op in rows[0][edge]}}
    assert f'conv_3 has more than 0.99 of {edge}' in alpha_alarm(sure, .1) and 'what_alpha_means' in alpha_alarm(sure, .1) and not alpha_alarm(sure, .11)
    skips = {e: {op: .5 if op == 'skip_connect' else w/2 for op, w in ops.items()} for e, ops in rows[0].items()}
    assert 'skip_connect leads on every one of' in alpha_alarm(skips, .5) and not alpha_alarm(skips, .1) and not alpha_alarm(skips | {edge: rows[0][edge] | dict(conv_3=.6)}, .5)
    monkeypatch.setattr('degas_nb.app.commands.alpha_alarm', lambda weights, done: 'alpha is odd')
    for relaxation, times in ('softmax', 1), ('sigmoid', 0):
        assert degas(*search_argv(tmp_path/relaxation, '--relaxation', relaxation, epochs=1)) == 0
        assert capsys.readouterr().err.count('alpha is odd') == times


# ---------------------------------------------------------------- images

@pytest.mark.long
@pytest.mark.parametrize('change', ['fewer', 'more', 'other pixels'])
def test_images_that_are_no_longer_those_of_the_run(change, tmp_path, line, capsys):
    folder = pictures(tmp_path/'images')
    for command, argv in (('search', search_argv(tmp_path/'s', data=folder, tiny=FEW, epochs=1)), ('train', train_argv(tmp_path/'t', data=folder, tiny=FEW))): assert degas(*argv) == 0
    if change == 'fewer': (folder/'003.png').unlink()
    if change == 'more': shutil.copy(folder/'003.png', folder/'zzz.png')
    if change == 'other pixels': shutil.copy(folder/'003.png', folder/'004.png')
    many = dict(fewer='40 then, 39 now', more='40 then, 41 now').get(change, '40 as then, but not the same pixels')
    before = snapshot(tmp_path)
    for command, out in (('search', 's'), ('train', 't')):
        said = line(command, '--resume', '--out', tmp_path/out)
        assert many in said and str(folder) in said and 'no longer those of the run' in said and '--limit' not in said
        assert 'resume without --limit,' in line(command, '--resume', '--limit', 36, '--out', tmp_path/out)
    assert snapshot(tmp_path) == before


@pytest.mark.long
def test_images_that_moved_are_named_once(tmp_path):
    folder, out = pictures(tmp_path/'images'), tmp_path/'run'
    assert degas(*train_argv(out, data=folder, tiny=FEW)) == 0
    folder.rename(tmp_path/'moved')
    assert degas('train', '--resume', '--steps', 7, '--data', tmp_path/'moved', '--out', out) == 0
    assert degas('train', '--resume', '--steps', 8, '--out', out) == 0 and len(trace(out)) == 8


# ---------------------------------------------------------------- the weights of another run

@pytest.mark.long
def test_init_keep_goes_on_from_the_weights_of_a_run(drawn, found, tmp_path, line):
    whole, out = tmp_path/'whole', tmp_path/'run'
    argv = lambda out: train_argv(out, '--init', 'keep', genotype=drawn)
    assert degas(*argv(whole)) == 0
    by_hand = GANTraining.continued(load('emoji', limit=IMAGES), GANTraining.load(whole, load('emoji', limit=IMAGES)).config, drawn)
    assert same(by_hand.generator.state_dict(), state(drawn)['average'])
    assert [s.record() for s in by_hand] == trace(whole)
    assert signalled(1, [9], *argv(out)).returncode == -9 and state(out)['step'] == 0  # what it began with is kept from the first moment
    assert degas('train', '--resume', '--out', out) == 0
    as_undisturbed(out, whole)
    assert config(out)['start'] == str(drawn) and f'--genotype {drawn}' in command_lines(RunFolder.open(out))[0] and '--init keep' in command_lines(RunFolder.open(out))[0]
    assert 'began with the weights' in line('score', out, '--untrained', '--n', 20)
    before = snapshot(tmp_path)
    assert 'gan run is needed' in line(*train_argv(tmp_path/'x', '--init', 'keep', genotype=found))
    assert '--width' in line(*train_argv(tmp_path/'x', '--init', 'keep', '--width', 8, genotype=drawn))
    assert snapshot(tmp_path) == before


# ---------------------------------------------------------------- advice

RAISED_BY = dict(search={'search', 'prune'}, gan={'train'}, judge={'score'})  # commands that can meet the messages of a room


def advised(path):
    "(flag, message) of every error and warning in a module."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', getattr(node.func, 'attr', '')) in ('UserError', 'Diverged', 'RankLost', 'warn', 'say'):
            texts = [part.value for arg in node.args for part in ast.walk(arg) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            named = [name for text in texts for name in re.findall(r'degas ([a-z]+)', text) if name in COMMANDS]  # of another command, which is named
            yield from ((flag, text) for text in texts for flag in re.findall(r'--[a-z][a-z-]*[a-z]', text) if not any(flag in _flags_of(COMMANDS[name]) for name in named))


def test_no_error_advises_a_flag_that_its_command_lacks():
    flags = {name: _flags_of(command) | {'--help', '--version'} for name, command in COMMANDS.items()}
    flags['search'] |= {f'--{f.name}'.replace('_', '-') for kind in SEARCHES.values() for f in fields(kind.Config)}  # those of --strategy
    seen = 0
    for path in sorted(Path(degas_nb.__file__).parent.rglob('*.py')):
        for flag, text in advised(path):
            seen += 1
            assert any(flag in known for known in flags.values()), (path.name, flag, text)
            if path.name == 'data.py': assert all(flag in flags[name] for name in ('search', 'train', 'score', 'demo')), (path.name, flag, text)
            elif path.parent.name in RAISED_BY: assert any(flag in flags[name] for name in RAISED_BY[path.parent.name]), (path.name, flag, text)
    assert seen > 50


@pytest.mark.long
@pytest.mark.parametrize('command', ['search', 'train', 'score', 'demo'])
def test_images_that_cannot_be_read_can_be_skipped_where_that_is_advised(command, tmp_path, line, capsys):
    for name in 'ab': pictures(tmp_path/'images'/name, 40)
    (tmp_path/'images'/'a'/'003.png').write_bytes(b'no picture')
    argv = dict(search=search_argv(tmp_path/'out', data=tmp_path/'images', tiny=FEW, epochs=1), train=train_argv(tmp_path/'out', data=tmp_path/'images', tiny=FEW),
                score=['score', tmp_path/'images', tmp_path/'images', '--n', 20], demo=['demo', '--data', tmp_path/'images', '--out', tmp_path/'out', '--epochs', 1, '--steps', 1, '--n', 10])[command]
    degas(*argv)
    assert '--skip-broken' in capsys.readouterr().err and not (tmp_path/'out').exists()
    assert degas(*argv, '--skip-broken') == 0, capsys.readouterr().err


def test_advice_for_little_memory_names_flags_that_are_there(monkeypatch, capsys):
    def full(self): raise MemoryError
    for name, command in COMMANDS.items():
        monkeypatch.setattr(command, 'run', full)
        argv = dict(demo=[], search=['--data', 'x', '--out', 'y'], train=['--genotype', 'dcgan', '--data', 'x', '--out', 'y'], reconstruct=['--genotype', 'cifar10_paper', '--data', 'x', '--out', 'y'], sample=['x', '--out', 'y'], draw=['x', '--out', 'y']).get(name, ['x'])
        assert degas(name, *argv) == 2
        said = capsys.readouterr().err
        assert 'not enough memory' in said and set(re.findall('--[a-z-]+', said)) <= _flags_of(command), said


@pytest.mark.parametrize('spec', ['resnet', 'dcgan'])
def test_weights_of_a_generator_made_by_hand_go_on(spec, tmp_path, line, monkeypatch):
    "Its folder holds no genotype; a name is not a folder; and what began so can be made longer, but has no beginning of its own."
    first, second = tmp_path/'first', tmp_path/'second'
    assert degas(*train_argv(first, genotype=spec)) == 0
    monkeypatch.chdir(tmp_path)
    assert 'none: name the folder' in line(*train_argv(second, '--init', 'keep', genotype=spec)) and not second.exists()
    assert degas(*train_argv(second, '--init', 'keep', genotype=first)) == 0
    before = GANTraining.continued(load('emoji', limit=IMAGES), GANTraining.load(second, load('emoji', limit=IMAGES)).config, first)
    assert same(GANTraining.of_run(RunFolder.open(second), load('emoji', limit=IMAGES)).settings(), before.settings())
    steps = config(second)['config']['steps']
    assert degas('train', '--resume', '--steps', steps + 1, '--out', second) == 0 and len(trace(second)) == steps + 1
    assert 'began with the weights of' in line('score', second, '--untrained', '--n', 20)
