"""Runs that are killed at random moments, half of them inside a write, and taken up again: `make soak`, and in short test_soak.py.

Each trial kills a search, a training, a reconstruction or a study once, with SIGKILL, lets it go on, and compares what is on disk with a run that
nobody disturbed, to the last bit. What was tried is kept in --out, so that a soak which is stopped goes on where it was.
"""
import argparse, json, os, random, shutil, signal, sys, time
from collections import Counter
from pathlib import Path

import torch

from degas_nb.app.main import main
from degas_nb.app.studies import STUDIES
from degas_nb.ground import folders
from degas_nb.ground.data import load
from degas_nb.ground.folders import RunFolder, Trace
from degas_nb.ground.studies import Job, Study, read_records, table
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from commands import child_of, same

FEW = dict(batch_size=8, width=2, z_dim=4, img_size=16)
FLAGS = ['--data', 'emoji', '--limit', '24', *(word for k, v in FEW.items() for word in (f"--{k.replace('_', '-')}", str(v))), '--save-every', '0']


# ---------------------------------------------------------------- the runs

def search(out): command(out, ['search', *FLAGS, '--epochs', '2', '--asked', '20'])
def train(out): command(out, ['train', '--genotype', 'cifar10_paper', *FLAGS, '--steps', '4', '--sample-every', '2'])


def command(out, argv):
    "A command, or its resumption once it has begun."
    main([argv[0], '--resume', '--out', str(out)] if (out/'config.json').exists() else [*argv, '--out', str(out)])


def reconstruction(out):
    "As somebody would drive it from Python: the line of a step first, then its checkpoint."
    images = load('emoji', img_size=16, limit=24)
    run = Reconstruction.from_config(images, ReconstructionConfig(epochs=2, **FEW))
    folder = run.folder(out)
    with folder.lock():
        if folder.has_checkpoint(): run = Reconstruction.load(out, images)
        folder.trace.truncate(run.n)
        for step in run:
            folder.trace.append(step.record())
            run.save(folder)


JOBS = tuple(Job(f'throws/{seed}', 'degas_nb.app.studies:throw', dict(throws=50, seed=seed)) for seed in range(12))
STUDY = Study('soak', "How far from 3.5 is the mean of some throws?", JOBS, lambda records: table(records, lambda r: r['key'], mean=lambda found: found[0]['mean']))


def study(out):
    STUDIES['soak'] = lambda: STUDY
    main(['study', 'soak', '--workers', '1', '--out', str(out)])


KINDS = dict(search=search, train=train, reconstruction=reconstruction, study=study)
OFTEN = dict(search=4, train=4, reconstruction=3, study=1)  # of twelve trials; a study starts a process, which takes longest


def found(kind, out):
    "All that must be the same, and nothing of the kill left over."
    if kind == 'study':
        records = [{k: v for k, v in r.items() if k in ('key', 'work', 'args', 'result', 'error')} for r in read_records(STUDY, out/'soak')]
        return dict(records=records, parts=list(out.rglob('.*.part')))
    run = RunFolder.open(out)
    files = [*out.glob('genotype.json'), *sorted((out/'samples').glob('*'))]
    return dict(state=torch.load(out/'checkpoint.pt', weights_only=True), trace=run.trace.read(), config={k: v for k, v in run.meta.items()},
                files={p.name: p.read_bytes() for p in files}, report=(out/'report.html').exists(), parts=list(out.rglob('.*.part')))


# ---------------------------------------------------------------- the kills

class Child:
    "A process of its own, without the seconds of an import."
    def __init__(self, work, log):
        with open(log, 'ab') as f: self.pid = child_of(work, f, f)

    def killed_at(self, seconds):
        "Let it have so much of a processor, then kill it."
        while self.seconds() < seconds:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT): return
            time.sleep(.003)
        os.kill(self.pid, signal.SIGKILL)

    def seconds(self):
        "What it has had."
        fields = Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12]))/os.sysconf('SC_CLK_TCK')

    def end(self):
        "How it ended (negative: killed by that signal), and the seconds that it had."
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        seconds = self.seconds()  # without those of processes that it has begun
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), seconds


class Chances:
    "Counts the moments inside writes; at one of them the process kills itself."
    def __init__(self, at, count_in=None): self.at, self.n, self.count_in, self.parent = at, 0, count_in, os.getpid()

    def here(self):
        "Is it now?"
        if os.getpid() != self.parent: return False
        self.n += 1
        if self.count_in: self.count_in.write_text(str(self.n))
        return self.n == self.at

    def die(self): os.kill(os.getpid(), signal.SIGKILL)

    def around(self, do):
        def f(*args, **kw):
            if self.here(): self.die()
            value = do(*args, **kw)
            if self.here(): self.die()
            return value
        return f

    def install(self):
        "In this process: before and after each sync and each rename, and in the middle of whatever is written."
        self.parent = os.getpid()
        os.fsync, os.replace, chances = self.around(os.fsync), self.around(os.replace), self

        class Halved:
            def __init__(self, f): self.f = f
            def __getattr__(self, name): return getattr(self.f, name)
            def __enter__(self): return self
            def __exit__(self, *e): self.f.close()
            def write(self, data):
                if chances.here():
                    self.f.write(data[:len(data)//2])
                    self.f.flush()
                    chances.die()
                return self.f.write(data)

        folders.open = lambda *args, **kw: Halved(open(*args, **kw))


def chanced(work, chances):
    def f():
        chances.install()
        work()
    return f


# ---------------------------------------------------------------- a soak

def undisturbed(kind, base):
    "A run that nobody kills: what it leaves, the seconds it takes, and the chances inside its writes."
    out, count = base/f'{kind}-whole', base/f'{kind}-chances'
    shutil.rmtree(out, ignore_errors=True)
    code, seconds = Child(lambda: chanced(lambda: KINDS[kind](out), Chances(0, count))(), base/'log').end()
    assert code == 0, f"an undisturbed {kind} ended with {code}: {(base/'log').read_text()[-2000:]}"
    return found(kind, out), seconds, int(count.read_text())


def trial(number, seed, base, wholes):
    "One kill: which kind of run, where, and what came of it."
    rng = random.Random(f'{seed}/{number}')
    kind, inside = rng.choice([k for k, n in OFTEN.items() for _ in range(n)]), number % 2 == 1
    if kind not in wholes: wholes[kind] = undisturbed(kind, base)
    whole, seconds, chances = wholes[kind]
    at, out = rng.random(), base/f'trial{number}'
    for attempt in range(5):  # one that ends before it is killed is killed earlier
        shutil.rmtree(out, ignore_errors=True)
        work = lambda: KINDS[kind](out)
        if inside: child = Child(chanced(work, Chances(1 + int(at*chances))), base/'log')
        else:
            child = Child(work, base/'log')
            child.killed_at(at*seconds*.98)
        code, _ = child.end()
        if code == -signal.SIGKILL: break
        at *= .7
    again, _ = Child(lambda: KINDS[kind](out), base/'log').end()
    try: equal = again == 0 and same(found(kind, out), whole)
    except Exception as e: equal, again = False, f'{again}, {type(e).__name__}: {e}'
    if equal: shutil.rmtree(out)
    return dict(step=number, kind=kind, inside=inside, at=round(at, 4), killed=code == -signal.SIGKILL, again=again, same=equal)


def soak(n, seed, base, told=print):
    "`n` trials, those that were made already left out; their records."
    base.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    records, wholes = Trace(base/'records.jsonl'), {}
    made = {r['step']: r for r in records.read() if r.get('seed') == seed}
    for number in range(n):
        if number in made: continue
        made[number] = trial(number, seed, base, wholes) | dict(seed=seed)
        records.append(made[number])
        told(json.dumps(made[number]), flush=True)
    return [made[number] for number in range(n)]


def line(records):
    "The counts, in one line."
    killed, kinds = [r for r in records if r['killed']], Counter(r['kind'] for r in records)
    lost = sum(not r['same'] for r in records)
    return (f"{sum(r['same'] for r in killed)} of {len(killed)} killed runs went on to the same bits ({sum(r['inside'] for r in killed)} of them killed inside a write; "
            + ', '.join(f'{k} {kinds[k]}' for k in KINDS if kinds[k]) + f"), {lost} lost")


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--n', type=int, default=40)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('runs/soak'))
    asked = parser.parse_args()
    records = soak(asked.n, asked.seed, asked.out)
    print(line(records))
    sys.exit(any(not r['same'] or not r['killed'] for r in records))
