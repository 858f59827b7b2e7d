"""What the runs of test_study.py do, in processes of their own; light to import."""
import os
import signal
import sys
import time
from pathlib import Path


def square(x, seed, folder):
    "A run that leaves a trace of itself where it is told to."
    with open(Path(folder)/'began', 'a') as f: f.write(f'{x}\n')
    return dict(square=x*x, seed=seed, loss=float('nan') if x == 3 else 1/(1 + x))


def sleep(seconds, folder):
    "A run that lasts."
    Path(folder, 'pid').write_text(str(os.getpid()))
    time.sleep(seconds)
    return dict(slept=seconds)


def threads(folder):
    "With how many threads does a run compute, and how nice is it?"
    import torch
    print('a run that prints')
    return dict(torch=torch.get_num_threads(), openmp=os.environ['OMP_NUM_THREADS'], nice=os.nice(0), interrupt=signal.getsignal(signal.SIGINT) == signal.SIG_IGN)


def odd(how, folder):
    "A run that goes wrong, unless somebody has mended what was wrong."
    if Path(folder, 'mended').exists(): return dict(how=how)
    if how == 'raises': raise ValueError('two\nlines')
    if how == 'leaves': sys.exit(3)
    if how == 'is killed': os.kill(os.getpid(), signal.SIGKILL)
    return dict(how=Path()) if how == 'is not plain' else [how]


def talk(n, seconds):
    "A run that says what it does, to whom ever it may concern."
    print('talk', n, file=sys.stderr, flush=True)
    print('to nobody', flush=True)
    time.sleep(seconds)
    return dict(n=n)
