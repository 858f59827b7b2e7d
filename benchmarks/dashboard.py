"""What watching costs: a search with everything that a dashboard shows, driven in the background of a kernel, against the same search in a plain loop."""
import json

import nbformat
from nbclient import NotebookClient

from measure import ROUNDS

CODE = """
import json, statistics, time
import torch
from degas_nb.dashboard import Dashboard
from degas_nb.data import load
from degas_nb.live import live
from degas_nb.prune import explain_prune
from degas_nb.search import Search, SearchConfig
from degas_nb.show import image_grid

images = load('emoji', limit=512)
config = SearchConfig(**SETTINGS)
index = torch.arange(16)
targets = image_grid(images.batch(index), n_cols=8)

def pictures(run):
    return dict(targets=targets, reconstructions=image_grid(run.reconstruct(index), n_cols=8), samples=image_grid(run.sample(16), n_cols=8))

def plain(search):
    for step in search: pass

def watched(search): live(search, Dashboard(decide=explain_prune), pictures=pictures).thread.join()   # to the last step

times = {plain: [], watched: []}
for round in range(ROUNDS + 1):
    for drive, seen in times.items():
        search = Search.from_config(images, config)
        next(search)
        start = time.perf_counter()
        drive(search)
        if round: seen.append((time.perf_counter() - start)/(search.n - 1))
print(json.dumps({drive.__name__: statistics.median(seen) for drive, seen in times.items()}))
"""


def overhead(**settings):
    "Seconds a step, in turns, in a real kernel that sends every message to a client"
    cell = nbformat.v4.new_code_cell(CODE.replace('**SETTINGS', f'**{settings}').replace('ROUNDS', str(ROUNDS)))
    NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=1200).execute()
    said = json.loads(next(o.text for o in cell.outputs if o.output_type == 'stream').strip().splitlines()[-1])
    return dict(name=f"a search step with a dashboard that shows everything, {1/said['watched']:.0f} steps a second (not counted: the picture that stays, drawn once at the end)",
                against='the same search in a plain loop, without one', baseline=said['plain'], ours=said['watched'], ratio=said['watched']/said['plain'])


ROWS = [lambda: overhead(width=8, batch_size=32, epochs=6), lambda: overhead(width=4, batch_size=16, epochs=6)]   # about 15 steps a second, and twice as many
