"""Clean the notebooks: nbdev's cleaner, then drop saved widget state and the views whose kernel is gone.

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


def clean(paths):
    "Clean `paths` in place; returns those that changed"
    changed = []
    for p in paths:
        before = p.read_bytes()
        nb = read_nb(p)
        clean_nb(nb)
        drop_views(nb)
        write_nb(nb, p)
        if p.read_bytes() != before: changed.append(p)
    return changed


if __name__ == '__main__':
    changed = clean(notebooks())
    for p in changed: print('cleaned', p.name)
    sys.exit(int(bool(changed) and '--check' in sys.argv))
