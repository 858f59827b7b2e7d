"""What is saved is whole, found again and never lost: bits that flip, states that are poisoned, folders that are exchanged, files that others have changed."""
import io, json, os, random, shutil, warnings

from types import SimpleNamespace

import pytest
import torch

import soak
from commands import alone_argv, copy, degas, forked, same, search_argv, trace, train_argv
from degas_nb.app import driving
from degas_nb.app.driving import command_of
from degas_nb.app.main import COMMANDS, _flags_of
from degas_nb.gan.frameworks import FRAMEWORKS
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.ground import folders
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder, RunWarning, is_whole, sealed
from degas_nb.space.genotype import Genotype
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from warm import Python

pytestmark = pytest.mark.usefixtures('quiet_machine')

FEW = dict(epochs=2, batch_size=8, width=2, z_dim=4, img_size=16)


@pytest.fixture(scope='module')
def images(): return load('emoji', img_size=16, limit=16)


def made(kind, images, **more):
    "A small run of a kind."
    few = FEW | more
    if kind == 'search': return Search.from_config(images, SearchConfig(**few))
    if kind == 'reconstruction': return Reconstruction.from_config(images, ReconstructionConfig(**few))
    few['steps'] = few.pop('epochs')*2
    return GANTraining.from_config(images, GANConfig(**{k: v for k, v in few.items() if k != 'img_size'} | dict(ema=.9)), Genotype.named('cifar10_paper'))


KINDS = dict(search=Search, reconstruction=Reconstruction, gan=GANTraining)


@pytest.fixture(scope='module', params=KINDS)
def saved(request, images, tmp_path_factory):
    "A run's folder with the checkpoints of steps 1 and 2, and its kind."
    run, out = made(request.param, images), tmp_path_factory.mktemp('kept')/'run'
    for step in run:
        run.save(out)
        if step.n == 2: return out, KINDS[request.param]


# ---------------------------------------------------------------- bits

def flipped(data, bits):
    "The bytes with some bits turned over."
    data = bytearray(data)
    for b in bits: data[b//8] ^= 1 << b % 8
    return bytes(data)


@pytest.mark.parametrize('saved', ['reconstruction'], indirect=True)
def test_no_flipped_bit_is_taken_for_good(saved, tmp_path):
    "Anywhere in the file, in the archive's directory and in the seal, one or several, or cut, or with something behind it."
    out, _ = saved
    data, rng = (out/'checkpoint.pt').read_bytes(), random.Random(17)
    assert is_whole(data) and sealed(zipless(data)) == data
    ends = 8*(len(data) - 1200), 8*len(data)
    for _ in range(400):
        bits = {rng.randrange(8*len(data)) for _ in range(rng.choice([1, 1, 1, 2, 9]))} | {rng.randrange(*ends)}
        assert not is_whole_or_trips(flipped(data, bits))
    for end in range(8*(len(data) - 120), 8*len(data)): assert not is_whole_or_trips(flipped(data, [end]))  # every bit of the archive's end and the seal
    for n in [rng.randrange(len(data)) for _ in range(50)] + [0, 1, 76, 77, 78]: assert not is_whole_or_trips(data[:n])
    for more in b'\0', b'x'*77, data: assert not is_whole_or_trips(data + more) or more == data


def zipless(data):
    "The archive as torch has written it: without a comment."
    return data[:-77 - 2] + b'\0\0'


def is_whole_or_trips(data):
    try: return is_whole(data)
    except Exception: return False


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it_and_that_is_said(saved, images, tmp_path):
    "By the law: what is loaded is what was saved, or it is the state before it, with a warning that names the step."
    source, kind = saved
    out, rng = copy(source, tmp_path), random.Random(4)
    data, before = (out/'checkpoint.pt').read_bytes(), state_of(out/'checkpoint.prev.pt')
    assert same(RunFolder.open(out).load_checkpoint(), state_of(out/'checkpoint.pt')) and before['step'] == 1
    for _ in range(6):
        (out/'checkpoint.pt').write_bytes(flipped(data, [rng.randrange(8*len(data))]))
        with pytest.warns(RunWarning, match='of step 1'): assert same(RunFolder.open(out).load_checkpoint(), before)
    with pytest.warns(RunWarning, match='of step 1'): run = kind.load(out, images)
    assert run.n == 1
    (out/'checkpoint.pt').write_bytes(data)
    whole = kind.load(out, images)
    assert same(dict(next(run).losses), dict(next(kind.load(copy_with_only(source, tmp_path, 'checkpoint.prev.pt'), images)).losses)) and whole.n == 2


def on_disk(state):
    "A state as a file gives it back: no tensor of it belongs to the run any more."
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def state_of(path): return torch.load(path, weights_only=True)


def copy_with_only(out, tmp_path, name):
    "The folder with one of its checkpoints as the newest."
    shutil.rmtree(tmp_path/'only', ignore_errors=True)
    there = copy(out, tmp_path, 'only')
    os.replace(there/name, there/'checkpoint.pt')
    (there/'checkpoint.prev.pt').unlink(missing_ok=True)
    return there


@pytest.mark.parametrize('saved', ['reconstruction'], indirect=True)
def test_a_checkpoint_of_before_there_were_seals(saved, images, tmp_path):
    "It opens; its CRCs are looked at; and a record that torch would take for a folder, and leave memory as it was, is none."
    source, kind = saved
    out = copy(source, tmp_path)
    old = zipless((out/'checkpoint.pt').read_bytes())
    (out/'checkpoint.pt').write_bytes(old)
    assert kind.load(out, images).n == 2
    at, n = old.find(b'PK\1\2'), 0
    while at >= 0:
        n += 1
        assert not is_whole_or_trips(flipped(old, [8*(at + 38) + 4])), 'the mark of a folder'
        at = old.find(b'PK\1\2', at + 4)
    assert n > 5


def test_a_kill_between_any_two_operations_leaves_a_checkpoint_that_is_whole(tmp_path, monkeypatch):
    "What `save_checkpoint` does to files, and the writer gone before each of it."
    for k in range(8):
        out = tmp_path/str(k)
        run, count = RunFolder.create(out, 'search', dict(lr=1.), dict(n=1)), [0]
        for step in 1, 2: run.save_checkpoint(dict(step=step, z=torch.ones(99)*step))
        def dying(do):
            def f(*args, **kw):
                count[0] += 1
                if count[0] > k: raise KeyboardInterrupt
                return do(*args, **kw)
            return f
        with monkeypatch.context() as m:
            for name in 'fsync', 'replace': m.setattr(os, name, dying(getattr(os, name)))
            try: run.save_checkpoint(dict(step=3, z=torch.ones(99)*3))
            except KeyboardInterrupt: pass
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            found = RunFolder.open(out).load_checkpoint()
        assert found['step'] == (2 if k < 2 else 3) and bool((found['z'] == found['step']).all())


# ---------------------------------------------------------------- states that are whole and yet none of this run

def moments(state):
    "The states of all optimisers in a checkpoint."
    return [v['state'] for k, v in state.items() if isinstance(v, dict) and 'param_groups' in v]


def groups(state): return [g for v in state.values() if isinstance(v, dict) and 'param_groups' in v for g in v['param_groups']]


def streams(state):
    "All dicts of random streams."
    if 'streams' in state: return [d for s in state['streams'] for d in s.values()]
    return [state['randoms']]


def each(found, change):
    def edit(state):
        for x in found(state): change(x)
    return edit


def of_first(change):
    def edit(kept): kept[0].update({k: change(v) for k, v in kept[0].items() if k != 'step'})
    return edit


POISON = {
    'an emptied optimiser': each(moments, lambda m: m.clear()), 'one parameter forgotten': each(moments, lambda m: m.pop(0)), 'a moment forgotten': each(moments, lambda m: m[0].pop('exp_avg')),
    'a moment too many': each(moments, lambda m: m[0].update(x=torch.zeros(1))), 'a moment of another shape': each(moments, of_first(lambda v: v.flatten()[:1])), 'a moment of another dtype': each(moments, of_first(lambda v: v.double())),
    'a moment that is a word': each(moments, of_first(lambda v: 'x')), 'negative squares': each(moments, lambda m: m[0].update(exp_avg_sq=-torch.ones_like(m[0]['exp_avg_sq']))), 'a step that is a vector': each(moments, lambda m: m[0].update(step=torch.ones(3))),
    'other betas': each(groups, lambda g: g.update(betas=(.1, .2))), 'another eps': each(groups, lambda g: g.update(eps=5.)), 'no parameters': each(groups, lambda g: g.update(params=[])), 'groups that are none': lambda s: [v.update(param_groups=[]) for v in s.values() if isinstance(v, dict) and 'param_groups' in v],
    'empty streams': each(streams, lambda d: d.update({k: torch.zeros(0, dtype=torch.uint8) for k in d})), 'short streams': each(streams, lambda d: d.update({k: v[:9] for k, v in d.items()})), 'streams of floats': each(streams, lambda d: d.update({k: v.float() for k, v in d.items()})),
    'streams of noughts': each(streams, lambda d: d.update({k: torch.zeros_like(v) for k, v in d.items()})), 'no streams': each(streams, lambda d: d.clear()), 'streams of words': each(streams, lambda d: d.update({k: 'x' for k in d})),
    'weights of another dtype': lambda s: [s[k].update({n: v.double() for n, v in s[k].items()}) for k in ('net', 'generator', 'average') if k in s], 'weights of whole numbers': lambda s: [s[k].update({n: v.long() for n, v in s[k].items()}) for k in ('net', 'critic') if k in s],
    'weights of another shape': lambda s: [s[k].update({n: v[None] for n, v in s[k].items()}) for k in ('net', 'generator') if k in s], 'no weights': lambda s: [s.pop(k, 0) for k in ('net', 'generator')], 'weights that are words': lambda s: [s[k].update(dict.fromkeys(s[k], 'x')) for k in ('net', 'generator') if k in s],
    'a step that is a word': lambda s: s.update(step='x'), 'a step that is True': lambda s: s.update(step=True), 'a step before the first': lambda s: s.update(step=-1), 'a step beyond the last': lambda s: s.update(step=99), 'a step that is 1.5': lambda s: s.update(step=1.5),
    'a history that is none': lambda s: s.update(history=5), 'a config that is none': lambda s: s.update(config=None), 'not a number': each(moments, of_first(lambda v: v*float('nan'))), 'nothing': lambda s: s.clear(),
}


@pytest.mark.long
def test_poisoned_states_are_refused_and_the_one_before_is_taken(saved, images, tmp_path):
    source, kind = saved
    out, prev = copy(source, tmp_path), state_of(source/'checkpoint.prev.pt')
    run, tried = kind.load(out, images), 0
    for case, poison in list(POISON.items())[::6 if kind is Search else 2 if kind is GANTraining else 1]:  # whose tensors are many
        poisoned = state_of(source/'checkpoint.pt')
        poison(poisoned)
        if same(poisoned, state_of(source/'checkpoint.pt')): continue  # this kind has nothing of the sort
        torch.save(poisoned, out/'checkpoint.pt')
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            RunFolder.open(out).load_checkpoint(run.load_state_dict)
        assert run.n == 1 and ['of step 1' in str(w.message) for w in said] == [True], case
        assert same(run.state_dict(), prev), case  # nothing of the poison is left in it
        with pytest.raises(UserError, match='checkpoint.*(fit its run|can be read)'): RunFolder.open(copy_with_only(out, tmp_path, 'checkpoint.pt')).load_checkpoint(run.load_state_dict)
        tried += 1
    assert tried > (4 if kind is Search else 12 if kind is GANTraining else 25)
    assert next(run).record() == next(kind.load(copy_with_only(source, tmp_path, 'checkpoint.prev.pt'), images)).record()


@pytest.mark.parametrize('framework, more', [*((name, {}) for name in FRAMEWORKS), ('wgan', dict(optimiser='adam')), ('ctgan', dict(optimiser='rmsprop')), ('ctgan', dict(conditional=True)), ('cagan', dict(conditional=True))])
def test_every_framework_is_taken_up_again(framework, more):
    "What the checks of a state take for granted: an optimiser keeps something of each of its parameters."
    images, few = load('emoji', img_size=16, limit=600), dict(steps=3, batch_size=4, width=2, z_dim=4, n_critic=1, framework=framework)
    a, b = (GANTraining.from_config(images, GANConfig(**few | more), Genotype.named('cifar10_paper')) for _ in range(2))
    next(a)
    b.load_state_dict(on_disk(a.state_dict()))
    assert next(a).record() == next(b).record()


@pytest.mark.parametrize('more', [dict(), dict(optimiser='sgd'), dict(warmup=1), dict(joint=True), dict(held_out=.5, batch_size=4), dict(relaxation='sigmoid'), dict(impl='sum')])
def test_every_way_to_search_is_taken_up_again(more, images):
    few = FEW | more
    a, b = (Search.from_config(images, SearchConfig(**few)) for _ in range(2))
    for _ in range(3):
        next(a)
        b.load_state_dict(on_disk(a.state_dict()))
    assert next(a).record() == next(b).record()


# ---------------------------------------------------------------- one owner

def test_who_is_refused_hears_the_pid_of_who_is_there(tmp_path):
    out = tmp_path/'run'
    run = RunFolder.create(out, 'search', dict(lr=1.), dict(n=1))
    code = 'import sys\nfrom degas_nb.ground.folders import RunFolder\nwith RunFolder.open(sys.argv[1]).lock(): print("held", flush=True); sys.stdin.read()'
    (theirs, end), (said, told) = os.pipe(), os.pipe()
    other = Python('-c', code, out, streams=(theirs, told, None))
    os.close(theirs)
    try:
        assert os.read(said, 100) == b'held\n'
        with pytest.raises(UserError, match=rf'another process is working in .*\(pid {other.pid}\)'), run.lock(): pass
    finally:
        os.close(end)
        assert other.wait(60) == 0
        os.close(said), os.close(told)
    with run.lock(): assert (out/'.lock').read_text() == f'{os.getpid()}\n'
    (out/'.lock').write_bytes(b'\xff no number')
    with run.lock(), pytest.raises(UserError, match='another process is working in'), RunFolder.open(out).lock(): pass


def test_a_lock_that_was_exchanged_while_it_was_taken(tmp_path, monkeypatch):
    "Between the opening of the file and the lock on it the folder goes, and another one comes."
    run, taken = RunFolder.create(tmp_path/'run', 'search', dict(lr=1.), dict(n=1)), folders.taken
    def meanwhile(f, **kw):
        os.replace(run.path, tmp_path/'moved')
        run.path.mkdir()
        (run.path/".lock").touch()
        return taken(f, **kw)
    monkeypatch.setattr(folders, 'taken', meanwhile)
    with pytest.raises(UserError, match='no longer the folder'), run.lock(): assert False


@pytest.mark.parametrize('command', ['search', 'train', 'reconstruct'])
def test_a_run_whose_folder_is_exchanged_writes_into_no_other(command, found, tmp_path):
    "Renamed and made anew while it computes: whatever it would write next, be it the last report, goes nowhere."
    argv = dict(search=search_argv(tmp_path/'run', epochs=1), train=train_argv(tmp_path/'run', genotype='dcgan'), reconstruct=alone_argv(tmp_path/'run'))[command]
    def work(step):
        append = folders.Trace.append
        def exchanging(self, record):
            append(self, record)
            if record['step'] != step: return
            os.replace(tmp_path/'run', tmp_path/'moved')
            RunFolder.create(tmp_path/'run', 'search', dict(theirs=1), dict(n=1))
        folders.Trace.append = exchanging
        degas(*argv)
    for step in 2, {'search': 3, 'train': 6, 'reconstruct': 9}[command]:
        for name in 'run', 'moved': shutil.rmtree(tmp_path/name, ignore_errors=True)
        done = forked(lambda: work(step))
        assert 'no longer the folder' in done.stderr.strip().splitlines()[-1] and 'Traceback' not in done.stderr
        assert {p.name for p in (tmp_path/'run').iterdir()} == {'.lock', 'config.json'} and 'theirs' in (tmp_path/'run'/'config.json').read_text()


def test_parts_of_who_has_ended_go_at_once(tmp_path):
    "Whatever file it was: a picture's too. Those of a process that is there may be written at this moment."
    run = RunFolder.create(tmp_path/'run', 'search', dict(lr=1.), dict(n=1))
    ended = forked(lambda: None) and os.fork()
    if not ended: os._exit(0)
    os.waitpid(ended, 0)
    names = ['genotype.json', 'report.html', 'config.json', 'README.md', 'samples/x.png']
    for name in names:
        for pid in ended, os.getppid(): (run.samples.parent/name).parent.joinpath(f'.{name.rpartition("/")[2]}.{pid}.part').touch()
    for odd in '.x.part', '.x.y.part', f'.x.{10**30}.part': (run.path/odd).touch()
    with run.lock(): pass
    left = sorted(p.name for p in run.path.rglob('.*.part'))
    assert left == sorted([*(f'.{name.rpartition("/")[2]}.{os.getppid()}.part' for name in names), '.x.part', '.x.y.part', f'.x.{10**30}.part'])


# ---------------------------------------------------------------- what others have done to files

ROWS = {'epoch': ['x', None, [1], {}], 'mse': ['x', float('inf'), 10**400, {'a': 'b'}], 'psnr': ['x', 10**400, True], 'lr': [{}], 'alpha': [5], 'weights': [[1], {'a': 1}, {'a': {}}, {'a': {'b': 'c'}}, {'a': {'b': float('nan')}}, {'a': {'b': [1]}, 'c': {'d': 1.}}]}
GAN_ROWS = {'critic': ['x', {'a': 'b'}, {'gp': 10**400}, {'gp': {'x': 1}}, None, 5], 'generator': [[1]], 'lr': ['x', float('-inf')]}


@pytest.mark.long
def test_a_report_is_written_whatever_the_trace_holds(found, drawn, alone, tmp_path):
    from degas_nb.app.report import run_report
    for run, odd in (found, ROWS), (drawn, GAN_ROWS), (alone, {k: ROWS[k] for k in ('epoch', 'mse', 'lr')}):
        out, rows = copy(run, tmp_path, run.parent.name), trace(run)
        for key, values in odd.items():
            for value in values:
                for at in 0, len(rows) - 1:
                    (out/'trace.jsonl').write_text(''.join(json.dumps(r | ({key: value} if i == at else {})) + '\n' for i, r in enumerate(rows)))
                    (out/'report.html').unlink(missing_ok=True)
                    run_report(out)
                    assert 'Losses' in (out/'report.html').read_text(), (key, value, at)
        for part in dict(name=5), dict(name=None), dict(n='x'), dict(split=[1]), dict(classes=5), dict(notes=5), dict(source={}), dict(name='\udce9t\udce9'):
            there = json.loads((run/'config.json').read_text())
            (out/'config.json').write_text(json.dumps(there | dict(data=there['data'] | part)))
            run_report(out)


SCORES = ['[{"step": 0, "value": 1e400}]', '[{"value": 1%s}]' % ('0'*400), '[{"value": null, "name": 5}]', '[{"value": [1], "std": {}, "n_fake": "x"}]', '[3]', '{"a": 1}', 'nope', '']


@pytest.mark.parametrize('content', SCORES)
def test_scores_that_cannot_be_kept_are_said_before_the_work(content, drawn, tmp_path, capsys):
    from degas_nb.app.report import run_report
    out = copy(drawn, tmp_path)
    (out/'scores.json').write_text(content)
    run_report(out)
    if content not in SCORES[1:4]:
        assert degas('score', out, '--n', 20) == 2
        last = capsys.readouterr().err.strip().splitlines()
        assert len(last) == 1 and 'scores.json' in last[0] and (out/'scores.json').read_text() == content


def test_images_in_folders_that_are_no_utf8(tmp_path, line):
    "Names as another system has written them: the run goes to its end, and on."
    from commands import FEW as few, pictures
    folder = tmp_path/os.fsdecode(b'fl\xfcchtig')
    for name in b'\xe9t\xe9', b'b': pictures(folder/os.fsdecode(name), 20)
    out = tmp_path/os.fsdecode(b'l\xe4ufe')
    for argv in ['train', '--genotype', 'dcgan', '--data', folder, '--conditional', '--steps', 1, *few, '--out', out], ['train', '--resume', '--steps', 2, '--out', out], ['sample', out, '--n', 4, '--out', tmp_path/'s'], ['score', out, '--n', 10]:
        assert degas(*argv) == 0, argv
    assert (out/'report.html').exists() and {os.fsencode(p.name) for p in (tmp_path/'s').iterdir()} > {b'b'}


def test_a_run_that_does_not_know_its_images_asks_for_them(found, drawn, alone, tmp_path, line):
    for run, command in ((found, 'search'), (drawn, 'train'), (alone, 'reconstruct')):
        out = copy(run, tmp_path, command)
        there = json.loads((out/'config.json').read_text())
        source = there['data']['source']
        for left in {}, {k: v for k, v in source.items() if k != 'data'}:
            (out/'config.json').write_text(json.dumps(there | dict(data=there['data'] | dict(source=left))))
            assert 'name them with --data' in line(command, '--resume', '--out', out)
        assert degas(command, '--resume', '--data', 'emoji', '--out', out) == 0 and json.loads((out/'config.json').read_text())['data']['source'] == source


@pytest.mark.parametrize('content', ['', '{}', '[1]', 'x', '{"format": "degas-genotype/9"}'])
def test_a_damaged_genotype_of_a_run_is_said_and_made_anew(content, found, drawn, alone, tmp_path, capsys):
    for run, command, cure in ((found, 'search', 'deciding again'), (drawn, 'train', 'written anew'), (alone, 'reconstruct', 'written anew')):
        out = copy(run, tmp_path, command)
        (out/'genotype.json').write_text(content)
        capsys.readouterr()
        assert degas(command, '--resume', '--out', out) == 0
        assert cure in capsys.readouterr().err and Genotype.load(out) == Genotype.load(run)


@pytest.mark.parametrize('command', ['search', 'train', 'train --init keep', 'reconstruct'])
def test_a_run_that_is_killed_as_soon_as_it_is_there_knows_all_that_was_asked(command, drawn, tmp_path):
    "The first thing in its folder, config.json, tells what it writes and where it began."
    out = tmp_path/'run'
    argv = search_argv(out, '--save-every', 7) if command == 'search' else alone_argv(out, '--save-every', 7) if command == 'reconstruct' else train_argv(out, '--sample-every', 2, *command.split()[1:], genotype=drawn if 'keep' in command else 'dcgan')
    def work():
        def writing(path, obj):
            folders.atomic_write(path, (json.dumps(obj) + '\n').encode())
            os.kill(os.getpid(), 9)
        folders.write_json = writing
        degas(*argv)
    assert forked(work).returncode == -9
    there = json.loads((out/'config.json').read_text())
    assert there['writes'].items() >= (dict(sample_every=2) if 'train' in command else dict(save_every=7)).items()
    assert there.get('start') == (str(drawn) if 'keep' in command else None)


def test_no_kind_of_run_is_forgotten():
    "Each kind that a command can make stands in the tables of this file and of the soak, and its command has the flags that the promises are about."
    kinds = {command_of(SimpleNamespace(kind=kind)) for kind in driving._KINDS}
    assert set(KINDS) == set(driving._KINDS) and len(soak.KINDS) == len(driving._KINDS) + 1   # and studies
    for name in kinds: assert {'--save-every', '--on-nan', '--resume', '--overwrite', '--device', '--seed', '--skip-broken'} <= _flags_of(COMMANDS[name]), name
