"""What watching costs: a run with everything that a dashboard shows, driven in the background of a kernel, against the same run in a plain loop."""
import json

import nbformat
from nbclient import NotebookClient

ROUNDS, LASTS = 4, 30   # seconds of a round: a picture at the start and one at the end are in them, and weigh as little as they do in a real run

SEARCH = """
from degas_nb.ground.data import load
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.ground.show import image_grid

images = load('emoji', limit=512)
index = torch.arange(16)
targets = image_grid(images.batch(index), n_cols=8)

def pictures(run):
    return dict(targets=targets, reconstructions=image_grid(run.reconstruct(index), n_cols=8), samples=image_grid(run.sample(16), n_cols=8))

def run_of(epochs):
    run = Search.from_config(images, SearchConfig(**SETTINGS, epochs=epochs))
    next(run)
    return run

trial, start = run_of(3), time.perf_counter()
for step in trial: pass
epochs = max(2, round(3*LASTS/(time.perf_counter() - start)))

def new_run(): return run_of(epochs)
"""
# no search is that quick here: the numbers of a recorded one, each behind matrix products that take as long as a step should
RECORDED = """
from types import SimpleNamespace
from degas_nb.ground.folders import RunFolder, shipped_run

rows = [row for row in RunFolder.open(shipped_run('cifar10')).trace.read() if 'weights' in row]
a = torch.randn(512, 512)
start = time.perf_counter()
for _ in range(200): a @ a
products = round(200*SECONDS/(time.perf_counter() - start))

class Run:
    n = 0
    def __len__(self): return round(LASTS/SECONDS)
    def __iter__(self): return self
    def __next__(self):
        if self.n == len(self): raise StopIteration
        for _ in range(products): a @ a
        self.n += 1
        row = rows[self.n % len(rows)]
        return SimpleNamespace(n=self.n, losses=dict(mse=row['mse'], lap=row['lap'], psnr=row['psnr']), weights=row['weights'])

pictures, new_run = None, Run
"""
CODE = """
import json, statistics, time
import torch
from degas_nb.views.dashboard import Dashboard
from degas_nb.views.live import live
from degas_nb.search.prune import explain_prune
SUBJECT

def plain(run):
    for step in run: pass

def watched(run): live(run, Dashboard(decide=explain_prune), pictures=pictures).thread.join()   # to the last step

times = {plain: [], watched: []}
for turn in range(ROUNDS + 1):
    for drive, seen in times.items():
        run = new_run()
        before, start = run.n, time.perf_counter()
        drive(run)
        if turn: seen.append((time.perf_counter() - start)/(run.n - before))
print(json.dumps({drive.__name__: statistics.median(seen) for drive, seen in times.items()}))
"""


def overhead(name, subject):
    "Seconds a step, in turns, in a real kernel that sends every message to a client"
    cell = nbformat.v4.new_code_cell(CODE.replace('SUBJECT', subject).replace('ROUNDS', str(ROUNDS)).replace('LASTS', str(LASTS)))
    NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=1200).execute()
    said = json.loads(next(o.text for o in cell.outputs if o.output_type == 'stream').strip().splitlines()[-1])
    return dict(name=f"a step of {name} with a dashboard, {1/said['watched']:.0f} steps a second (not counted: the picture that stays, drawn at the end)",
                against='the same in a plain loop, without one', baseline=said['plain'], ours=said['watched'], ratio=said['watched']/said['plain'], rounds=ROUNDS)


def searching(**settings): return overhead('a search, everything shown,', SEARCH.replace('**SETTINGS', f'**{settings}'))


ROWS = [lambda: searching(width=8, batch_size=32), lambda: searching(width=4, batch_size=16),    # the quickest that there is here
        lambda: overhead('a recorded search', RECORDED.replace('SECONDS', str(1/30)))]                                # twice as quick as anybody needs
