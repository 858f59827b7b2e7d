"""Read and edit notebooks as text, cell ids kept: show, apply, set, add, rm, run, export.

    tools/nb.py show   nbs/search/03_mixed.ipynb [--outputs]    cells as text, `%% kind id` before each
    tools/nb.py apply  nbs/search/03_mixed.ipynb < text          make the cells those of the text (new file when missing)
    tools/nb.py set    nbs/search/03_mixed.ipynb ID < source     replace one cell's source
    tools/nb.py add    nbs/search/03_mixed.ipynb ID KIND < source  a new cell behind ID (`start`: first); KIND is md or code
    tools/nb.py rm     nbs/search/03_mixed.ipynb ID
    tools/nb.py run    nbs/search/03_mixed.ipynb [...] [--slow]  run in a real kernel, clean, store the outputs
    tools/nb.py export nbs/search/03_mixed.ipynb [...]           export these notebooks only

A cell of `apply` that names no id takes the id and the outputs of the cell with the same source, if there is one.
"""
import re, sys, uuid
from pathlib import Path

import nbformat

KIND = {'md': 'markdown', 'code': 'code', 'raw': 'raw'}
SHORT = {v: k for k, v in KIND.items()}
META = dict(kernelspec=dict(display_name='python3', language='python', name='python3'), language_info=dict(name='python'))


def read(path): return nbformat.read(path, 4)


def write(nb, path):
    nb.metadata.setdefault('kernelspec', META['kernelspec'])
    nb.nbformat, nb.nbformat_minor = 4, 5
    Path(path).write_text(nbformat.writes(nb, indent=1) + '\n', encoding='utf-8')


def new_cell(kind, source, id=None):
    cell = nbformat.NotebookNode(cell_type=KIND[kind], id=id or uuid.uuid4().hex[:8], metadata={}, source=source)
    if kind == 'code': cell.update(execution_count=None, outputs=[])
    return cell


def show(path, outputs=False):
    for c in read(path).cells:
        print(f'%% {SHORT[c.cell_type]} {c.id}\n{c.source}\n')
        for o in c.get('outputs', []) if outputs else []:
            text = o.get('text') or o.get('data', {}).get('text/plain') or '\n'.join(o.get('traceback', []))
            print('\n'.join('    > ' + l for l in str(text).splitlines()[:40]), list(o.get('data', {})), '\n')


def parse(text):
    "The cells of a text: (kind, id or None, source)"
    parts = re.split(r'^%% (md|code|raw)(?: +([\w-]+))? *\n', text, flags=re.M)
    if parts[0].strip(): sys.exit('text before the first "%% md|code|raw" line')
    return [(k, i, s.strip('\n')) for k, i, s in zip(parts[1::3], parts[2::3], parts[3::3])]


def apply(path, text):
    nb = read(path) if Path(path).exists() else nbformat.v4.new_notebook(metadata=META)
    cells, wanted = list(nb.cells), parse(text)
    by_id, named, done = {c.id: c for c in cells}, {i for _, i, _ in wanted if i}, []
    free = {}
    for c in cells:
        if c.id not in named: free.setdefault((SHORT[c.cell_type], c.source), []).append(c)
    for kind, id, source in wanted:
        cell = by_id.get(id) or (free.get((kind, source)) or [None]).pop(0)
        if cell is None or SHORT[cell.cell_type] != kind: cell = new_cell(kind, source, id)
        if cell.source != source: cell.source = source
        done.append(cell)
    nb.cells = done
    write(nb, path)


def edit(path, do):
    nb = read(path)
    do(nb.cells)
    write(nb, path)


def at(cells, id):
    for i, c in enumerate(cells):
        if c.id == id: return i
    sys.exit(f'no cell {id}; `show` lists them')


def run(path, slow=False):
    "Run `path` in a kernel of its own; cells of exercises, those marked gpu, and unless `slow` those marked slow, keep their stored outputs"
    from nbclient import NotebookClient
    nb = read(path)
    left_out = r'#\|\s*(gpu|exercise|check)\b' if slow else r'#\|\s*(slow|gpu|exercise|check)\b'
    skipped = [c for c in nb.cells if c.cell_type == 'code' and re.match(left_out, c.source)]
    full = {c.id: (c.source, c.outputs) for c in skipped}
    for c in skipped: c.source = ''
    NotebookClient(nb, timeout=3600, kernel_name='python3', store_widget_state=False,
                   resources=dict(metadata=dict(path=str(Path(path).parent)))).execute()
    for c in nb.cells:
        if c.id in full: c.source, c.outputs = full[c.id]
    write(nb, path)


def main(argv):
    if len(argv) < 2: sys.exit(__doc__)
    what, *rest = argv
    paths = [a for a in rest if a.endswith('.ipynb')]
    words = [a for a in rest if a not in paths and not a.startswith('--')]
    if what == 'show':
        for p in paths: show(p, '--outputs' in rest)
    elif what == 'apply': apply(paths[0], sys.stdin.read())
    elif what == 'set':
        src = sys.stdin.read().strip('\n')
        edit(paths[0], lambda cs: cs[at(cs, words[0])].update(source=src))
    elif what == 'add':
        src = sys.stdin.read().strip('\n')
        edit(paths[0], lambda cs: cs.insert(0 if words[0] == 'start' else at(cs, words[0]) + 1, new_cell(words[1], src)))
    elif what == 'rm': edit(paths[0], lambda cs: cs.pop(at(cs, words[0])))
    elif what == 'run':
        from clean import clean
        for p in paths: run(p, '--slow' in rest)
        clean([Path(p) for p in paths])
    elif what == 'export':
        from nbdev.config import get_config
        from nbdev.export import nb_export
        for p in paths: nb_export(p, lib_path=get_config().lib_path)
    else: sys.exit(__doc__)


if __name__ == '__main__': main(sys.argv[1:])
