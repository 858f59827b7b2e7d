"""Clean the notebooks: nbdev's cleaner, then drop saved widget state and the views whose kernel is gone, and join what was printed in pieces.

    tools/clean.py [--check]     exit 1 with --check when a notebook was not clean

nbdev keeps widget state, 5 MB for each plotly FigureWidget; a picture in the same output stays.
"""
import sys
from pathlib import Path

from execnb.nbio import read_nb, write_nb
from nbdev.clean import clean_nb
from nbdev.config import get_config

VIEW = 'application/vnd.jupyter.widget-view+json'
STATIC = {'text/html', 'image/png', 'image/jpeg', 'image/svg+xml', 'application/vnd.plotly.v1+json'}


def notebooks():
    root = Path(get_config().nbs_path)
    return sorted(p for p in root.rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(root).parts))


def drop_views(nb):
    nb.metadata.pop('widgets', None)
    for c in nb.cells:
        for o in list(c.get('outputs', [])):
            data = o.get('data', {})
            if data.pop(VIEW, None) is not None and not STATIC & set(data): c.outputs.remove(o)


def lines(text):
    "Text of an output as one string: a list of lines in some notebooks."
    return text if isinstance(text, str) else ''.join(text)


def join_streams(nb):
    "What a cell prints arrives in pieces, cut by the clock: as one, a second run gives the same file."
    for c in nb.cells:
        outputs = []
        for o in c.get('outputs', []):
            last = outputs[-1] if outputs else {}
            if o['output_type'] == 'stream' == last.get('output_type') and o['name'] == last['name']: last['text'] = (lines(last['text']) + lines(o['text'])).splitlines(True)
            else: outputs.append(o)
        if 'outputs' in c: c['outputs'] = outputs


def let_checks_fail(nb):
    "The check of an exercise fails until it is solved: `Run All` says so and goes on."
    for c in nb.cells:
        if c.cell_type == 'code' and lines(c.source).startswith('#| check'): c.metadata['tags'] = ['raises-exception']


def clean(paths):
    "Clean `paths` in place; returns those that changed"
    changed = []
    for p in paths:
        before = p.read_bytes()
        nb = read_nb(p)
        clean_nb(nb)
        drop_views(nb)
        join_streams(nb)
        let_checks_fail(nb)
        write_nb(nb, p)
        if p.read_bytes() != before: changed.append(p)
    return changed


if __name__ == '__main__':
    changed = clean(notebooks())
    for p in changed: print('cleaned', p.name)
    sys.exit(int(bool(changed) and '--check' in sys.argv))
