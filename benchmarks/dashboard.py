"""What watching costs: a search with a dashboard, driven in the background of a kernel, against the same search in a plain loop."""
import json

import nbformat
from nbclient import NotebookClient

from measure import ROUNDS

CODE = f"""
import json, statistics, time
from degas_nb.dashboard import Dashboard
from degas_nb.data import load
from degas_nb.live import live
from degas_nb.search import Search, SearchConfig

images = load('emoji', limit=512)
config = SearchConfig(width=8, batch_size=32, epochs=4)   # a narrow, quick search: more messages a second than anybody needs

def plain(search):
    for step in search: pass

def watched(search): live(search, Dashboard()).thread.join()   # to the last step; the picture that stays is drawn once, afterwards

times = {{plain: [], watched: []}}
for round in range({ROUNDS} + 1):
    for drive, seen in times.items():
        search = Search.from_config(images, config)
        next(search)
        start = time.perf_counter()
        drive(search)
        if round: seen.append((time.perf_counter() - start)/search.n)
print(json.dumps({{drive.__name__: statistics.median(seen) for drive, seen in times.items()}}))
"""


def overhead():
    "Seconds a step, in turns, in a real kernel that sends every message to a client"
    cell = nbformat.v4.new_code_cell(CODE)
    NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=600).execute()
    said = json.loads(next(o.text for o in cell.outputs if o.output_type == 'stream').strip().splitlines()[-1])
    return dict(name=f"a search step with a dashboard, {1/said['watched']:.0f} steps a second (not counted: the picture that stays, drawn once at the end)", against='the same search in a plain loop, without one', baseline=said['plain'], ours=said['watched'], ratio=said['watched']/said['plain'])


ROWS = [overhead]
