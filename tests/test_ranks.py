"""Several processes, one run: equal bits on all ranks at every step, and checkpoints that any number of ranks takes up."""
import json
import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from degas_nb.ground import ranks as ranks_module
from degas_nb.gan.training import GANTraining
from degas_nb.ground.ranks import RankLost
from degas_nb.search.alternating import Search
from degas_nb.ground.errors import UserError
from degas_nb.app.main import main
from commands import begun, process
from warm import Python, python
from lab import free_port
from test_gan import some_images, training
from toys import until

pytestmark = [pytest.mark.usefixtures('quiet_machine'), pytest.mark.timeout(300)]

HEAD = """
import sys
import torch
from degas_nb.ground.ranks import Ranks, exit_at_once
from test_gan import *
ranks = Ranks.launched()
assert ranks.n == {n}
"""


def as_rank(rank, n, port, code, folder):
    "Be one of several processes."
    be_rank(rank, n, port)
    sys.argv = ['script.py', str(folder)]
    exec(HEAD.format(n=n) + code + '\nexit_at_once()\n', {})


def be_rank(rank, n, port):
    "What torchrun tells each of them."
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))


def together(tmp_path, code, n=2):
    "Run `code` in `n` children of this process, which has imported everything; what is killed below is started by torchrun itself."
    port = free_port()
    ranks = [begun(partial(as_rank, rank, n, port, code, tmp_path)) for rank in range(n)]
    for done in [wait() for wait in ranks]: assert done.returncode == 0, done.stderr[-3000:]


LAUNCH = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'degas_nb.app.main']


def commanded(*argv):
    "`degas` on two ranks that are children of this process: how each ended."
    port = free_port()
    return [wait() for wait in [begun(partial(as_command, rank, port, argv)) for rank in range(2)]]


def as_command(rank, port, argv):
    be_rank(rank, 2, port)
    main([*argv])


GAN = """
def params(run): return [p.detach() for net in (run.generator, run.critic, run.average) for p in net.parameters()]
run = GANTraining.{start}
for step in run:
    assert ranks.agree(params(run)), step.n
    if ranks.n == 1: continue
    assert not ranks.agree([run.real(run.real_index(0))])
    if step.n == {stop}: break
state = run.state_dict()
if ranks.main: run.folder(sys.argv[1] + '/run').save_checkpoint(state)
"""
NEW = "from_config(some_images(), GANConfig(**TINY, framework={framework!r}, conditional=True), Genotype.named('cifar10_paper'), ranks=ranks)"
OLD = "load(sys.argv[1] + '/run', some_images(), ranks=ranks)"


@pytest.mark.parametrize('framework', ['ctgan', 'sngan'])
def test_gan_weights_are_equal_bits_on_all_ranks(framework, tmp_path):
    together(tmp_path, GAN.format(start=NEW.format(framework=framework), stop=2))
    alone = GANTraining.load(tmp_path/'run', some_images())  # two ranks stopped, one goes on
    assert alone.n == 2
    for _ in alone: pass


@pytest.mark.long
def test_gan_on_more_ranks_than_before(tmp_path):
    run = training(conditional=True, framework='ctgan')
    next(run)
    run.save(tmp_path/'run')
    together(tmp_path, GAN.format(start=OLD, stop=4))
    assert GANTraining.load(tmp_path/'run', some_images()).n == 4


@pytest.mark.long
def test_gan_on_two_ranks_resumes_to_the_same_bits(tmp_path):
    (tmp_path/'whole').mkdir()
    (tmp_path/'half').mkdir()
    together(tmp_path/'whole', GAN.format(start=NEW.format(framework='ctgan'), stop=4))
    together(tmp_path/'half', GAN.format(start=NEW.format(framework='ctgan'), stop=2))
    together(tmp_path/'half', GAN.format(start=OLD, stop=4))
    a, b = [GANTraining.load(tmp_path/which/'run', some_images()) for which in ('whole', 'half')]
    assert a.n == b.n == 4
    assert all(torch.equal(p, q) for net in ('generator', 'critic', 'average') for p, q in zip(getattr(a, net).parameters(), getattr(b, net).parameters()))


SEARCH = """
from degas_nb.search.alternating import Search, SearchConfig
def params(run): return [p.detach() for p in (*run.weights, *run.alphas)]
def config(**kw): return SearchConfig(**dict(epochs=2, batch_size=8, width=4, z_dim=16) | kw)
images = some_images(41)
run = Search.{start}
own = torch.cat([m for m in (run.own_train, run.own_alpha) if m is not None])
others = torch.ones(len(images), dtype=torch.bool).index_fill(0, own, False)
first = run.latents.z.clone()
for step in run:
    assert ranks.agree(params(run)), step.n
    if step.n == 1: assert ranks.n == 1 or torch.equal(run.latents.z[others], first[others])
    if step.n == {stop}: break
state = run.state_dict()
assert ranks.agree([run.latents.z])
if ranks.main: run.folder(sys.argv[1] + '/run').save_checkpoint(state)
"""
NEW_SEARCH = "from_config(images, config({kw}), ranks=ranks)"
OLD_SEARCH = "load(sys.argv[1] + '/run', images, ranks=ranks)"


@pytest.mark.long
@pytest.mark.parametrize('kw', ['', 'joint=True', 'held_out=.5', "optimiser='sgd', lr=.1"])
def test_search_alphas_and_weights_are_equal_bits_and_latents_stay_at_home(kw, tmp_path):
    together(tmp_path, SEARCH.format(start=NEW_SEARCH.format(kw=kw), stop=3))
    alone = Search.load(tmp_path/'run', some_images(41))  # two ranks stopped, one goes on
    assert alone.n == 3
    for _ in alone: pass
    assert alone.psnr().isfinite().all()


@pytest.mark.long
def test_search_on_two_ranks_resumes_to_the_same_bits(tmp_path):
    for which in 'whole', 'half': (tmp_path/which).mkdir()
    together(tmp_path/'whole', SEARCH.format(start=NEW_SEARCH.format(kw=''), stop=8))
    together(tmp_path/'half', SEARCH.format(start=NEW_SEARCH.format(kw=''), stop=3))
    together(tmp_path/'half', SEARCH.format(start=OLD_SEARCH, stop=8))
    a, b = [Search.load(tmp_path/which/'run', some_images(41)) for which in ('whole', 'half')]
    assert a.n == b.n == 8
    assert all(torch.equal(p, q) for p, q in zip((*a.weights, *a.alphas, a.latents.z), (*b.weights, *b.alphas, b.latents.z)))


@pytest.mark.long
def test_commands_on_two_ranks(tmp_path):
    "One folder, one trace, one voice; stopped by a signal to one rank and taken up alone."
    out, gan = tmp_path/'search', tmp_path/'gan'
    flags = ['--data', 'emoji', '--limit', '24', '--batch-size', '8', '--width', '4', '--z-dim', '16']
    search = ['search', '--epochs', '2', '--asked', '8', *flags, '--out', str(out)]
    done = python(*LAUNCH, *search, timeout=120, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count('epoch 2/2') == 1 and done.stdout.count('s1 = ') == 1
    assert [json.loads(row)['step'] for row in (out/'trace.jsonl').read_text().splitlines()] == list(range(1, 7))
    assert {'genotype.json', 'report.html', 'checkpoint.pt'} <= {p.name for p in out.iterdir()}
    for done in commanded('train', '--genotype', str(out), '--steps', '4', *flags, '--out', str(gan)): assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(row)['step'] for row in (gan/'trace.jsonl').read_text().splitlines()] == [1, 2, 3, 4]
    refused = commanded(*search)
    said = ''.join(done.stderr for done in refused)
    assert all(done.returncode for done in refused) and said.count('degas: ') == 1 and 'holds another run' in said


# ---------------------------------------------------------------- a rank, or the launcher, is killed

FLAGS = ['--data', 'emoji', '--limit', '24', '--batch-size', '8', '--width', '4', '--z-dim', '16']
LONG = {'search': ['search', '--epochs', '10000', '--asked', '8', *FLAGS, '--save-every', '0'], 'train': ['train', '--genotype', 'dcgan', '--steps', '30000', *FLAGS, '--save-every', '0']}


def ranks_of(launcher):
    "{rank: pid} of the processes that a launcher started."
    found = {}
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and int((entry/'stat').read_text().rsplit(')', 1)[1].split()[1]) == launcher:
                rank = [word[5:] for word in (entry/'environ').read_bytes().split(b'\0') if word.startswith(b'RANK=')]
                if rank: found[int(rank[0])] = int(entry.name)
        except OSError: pass
    return found


def alive(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError: return False


@contextmanager
def working(command, out, log):
    "Two ranks at work in a folder, some steps done."
    with open(log, 'w') as err:
        launcher = Python(*LAUNCH, *LONG[command], '--out', out, streams=(None, err, err), env=dict(os.environ, OMP_NUM_THREADS='1'))
    ranks = {}
    try:
        until(lambda: (out/'checkpoint.prev.pt').exists() or launcher.poll() is not None, 100)
        ranks = ranks_of(launcher.pid)
        assert sorted(ranks) == [0, 1], log.read_text()
        yield launcher, ranks
    finally:
        for pid in (launcher.pid, *ranks.values()):
            if alive(pid): os.kill(pid, signal.SIGKILL)
        launcher.wait()


@pytest.mark.long
@pytest.mark.parametrize('command, victim', [('search', 1), ('train', 0)])
def test_a_killed_rank_ends_the_others_with_one_line(command, victim, tmp_path):
    out, log = tmp_path/'run', tmp_path/'log'
    with working(command, out, log) as (launcher, ranks):
        os.kill(ranks[victim], signal.SIGKILL)
        until(lambda: not alive(ranks[1 - victim]), 30)
        assert launcher.wait(60) != 0
    ours = log.read_text()
    assert ours.count('another process of this run has ended') == 1 and f'degas {command} --resume --out {out}' in ours, ours[-3000:]
    assert 'all_reduce' not in ours and 'Connection closed by peer' not in ours
    step = torch.load(out/'checkpoint.pt', weights_only=True)['step']
    done = process(command, '--resume', *(['--epochs', -(-step//3)] if command == 'search' else ['--steps', step + 1]), '--out', out)
    assert done.returncode == 0, done.stderr[-2000:]  # the folder is free, and the run goes on


@pytest.mark.long
def test_orphans_of_a_killed_launcher_save_and_end(tmp_path):
    out, log = tmp_path/'run', tmp_path/'log'
    with working('search', out, log) as (launcher, ranks):
        launcher.kill()
        launcher.wait()
        until(lambda: not any(map(alive, ranks.values())), 60)
    assert 'Traceback' not in log.read_text() and log.read_text().count('and saved; go on with') == 1
    last = json.loads((out/'trace.jsonl').read_text().splitlines()[-1])['step']
    assert torch.load(out/'checkpoint.pt', weights_only=True)['step'] == last


def test_what_only_looks_like_a_lost_rank_is_a_traceback():
    "A bug keeps its words; what gloo says of a peer becomes ours."
    with pytest.raises(RuntimeError, match='shape') as e, ranks_module._others_there(): raise RuntimeError('shape mismatch')
    assert not isinstance(e.value, UserError)
    for words in 'gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3', 'NCCL communicator was aborted on rank 1':
        with pytest.raises(RankLost), ranks_module._others_there(): raise RuntimeError(words)
