"""What a reviewer would otherwise look for by hand: sizes, paths, the direction of imports, docstrings, type hints."""
import ast, importlib, inspect, json, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/'nbs').glob('*.ipynb'))
MODULES = sorted(p.stem for p in (ROOT/'degas_nb').glob('*.py') if not p.stem.startswith('_'))
OUTPUT_KB, NOTEBOOK_KB = 200, 600
LARGER = {}  # notebook -> kB it may have, with the reason
SEARCH_HALF, GAN_HALF = range(8, 17), range(17, 20)
REGISTRY_HOSTS = re.compile(r'(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|registry\.npm|crates\.io|anaconda\.org|rubygems\.org|proxy\.golang|jfrog|artifactory)', re.I)
MACHINE_PATHS = re.compile(r'(?<![\w.])/(work|tmp|home|root|Users)/[\w.]')


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def source(cell): return ''.join(cell['source'])


def number(path):
    "Reading order: 9 for 09_mixed, 4.02 for 04b_ranks; None for the guides and index."
    found = re.match(r'(\d\d)([a-z]?)_', path.name)
    return int(found[1]) + (ord(found[2] or '`') - ord('`'))/100 if found else None


def module(path):
    "What the notebook exports to, or None."
    found = re.search(r'^#\|\s*default_exp\s+(\w+)', '\n'.join(source(c) for c in cells(path) if c['cell_type'] == 'code'), re.M)
    return found[1] if found else None


NUMBER = {module(p): number(p) for p in NOTEBOOKS if module(p)}


def python(text):
    "A cell without what only IPython reads."
    return re.sub(r'^\s*[%!?].*$', 'pass', text, flags=re.M)


def imported(text):
    "Modules of degas_nb that a source imports."
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            name = node.module or ''
            if node.level or name == 'degas_nb':
                yield from [name] if node.level and name else [a.name for a in node.names]
            elif name.startswith('degas_nb.'): yield name.split('.')[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split('.')[1] for a in node.names if a.name.startswith('degas_nb.'))


def packages(text):
    "Top-level packages that a source imports, anywhere in it."
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import): yield from (a.name.split('.')[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split('.')[0]


def texts(output):
    "The readable parts of an output; pictures have no paths in them."
    yield from ([''.join(output['text'])] if 'text' in output else [])
    for mime, value in output.get('data', {}).items():
        if not mime.startswith('image/png') and not mime.startswith('image/jpeg'): yield value if isinstance(value, str) else ''.join(value) if isinstance(value, list) else json.dumps(value)


each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
each_module = pytest.mark.parametrize('name', MODULES)


@each_notebook
def test_sizes(path):
    limit = LARGER.get(path.name, NOTEBOOK_KB)
    assert path.stat().st_size <= limit*1000, f'{path.name} has {path.stat().st_size//1000} kB'
    for c in cells(path):
        for output in c.get('outputs', []):
            size = len(json.dumps(output))
            assert size <= OUTPUT_KB*1000, f"an output of cell {c['id']} has {size//1000} kB"


@each_notebook
def test_stored_outputs(path):
    for c in cells(path):
        for output in c.get('outputs', []):
            assert output['output_type'] != 'error', f"cell {c['id']} holds a traceback"
            assert output.get('name') != 'stderr', f"cell {c['id']} holds warnings or a progress bar"
            for text in texts(output):
                assert not (found := MACHINE_PATHS.search(text)), f"cell {c['id']} holds the path of a machine: {text[max(0, found.start() - 30):found.end() + 30]!r}"


@each_notebook
def test_sources_have_no_path_of_this_machine(path):
    for c in cells(path): assert not re.search(r'(?<![\w.])/(work|root)/', source(c)), c['id']


@each_notebook
def test_no_widget_state(path):
    assert 'widgets' not in json.loads(path.read_text())['metadata']


@each_notebook
def test_title_and_ids(path):
    found = cells(path)
    ids = [c['id'] for c in found]
    assert len(set(ids)) == len(ids)
    first = source(next(c for c in found if c['cell_type'] == 'markdown'))
    assert re.match(r'# \S.*\n\n> \S', first), 'a notebook begins with "# Title" and a "> line"'


@each_notebook
def test_imports_from_smaller_numbers(path):
    "So that one can read from front to back; 00, index and the guides may look at everything."
    mine = number(path)
    if not mine: return
    for c in cells(path):
        if c['cell_type'] != 'code' or source(c).startswith('%%'): continue
        for name in imported(python(source(c))):
            if name not in NUMBER: continue
            assert NUMBER[name] <= mine, f"cell {c['id']} imports {name} ({NUMBER[name]:02})"


@each_module
def test_modules_import_from_smaller_numbers(name):
    "Also what is not in the notebook's own text."
    for other in imported((ROOT/'degas_nb'/f'{name}.py').read_text()):
        if name in NUMBER and other in NUMBER: assert NUMBER[other] < NUMBER[name], f'{name} imports {other}'


@each_module
def test_the_halves_do_not_import_each_other(name):
    halves = [half for half in (SEARCH_HALF, GAN_HALF) if int(NUMBER.get(name, 0)) in half]
    if not halves: return
    others = GAN_HALF if halves[0] is SEARCH_HALF else SEARCH_HALF
    seen, todo = set(), [name]
    while todo:  # through the common ground too
        seen.add(now := todo.pop())
        todo += [m for m in imported((ROOT/'degas_nb'/f'{now}.py').read_text()) if m in NUMBER and m not in seen]
    assert not [m for m in seen if NUMBER.get(m) in others]


@each_module
def test_modules_run_without_the_tools_that_made_them(name):
    assert not {'nbdev', 'fastcore', 'execnb'} & set(packages((ROOT/'degas_nb'/f'{name}.py').read_text()))


@each_module
def test_every_module_comes_from_a_notebook(name):
    assert name in NUMBER and 'AUTOGENERATED' in (ROOT/'degas_nb'/f'{name}.py').read_text()[:2000]


def test_import_is_light():
    heavy = "['matplotlib', 'plotly', 'torchvision', 'PIL', 'scipy', 'ipywidgets']"
    code = f"import degas_nb, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'


def public(name):
    "Functions and classes that a module defines and exports."
    loaded = importlib.import_module(f'degas_nb.{name}')
    for key in getattr(loaded, '__all__', []):
        value = getattr(loaded, key)
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == loaded.__name__: yield key, value


def methods(cls):
    "Public functions in the body of a class, properties included."
    for key, value in vars(cls).items():
        value = inspect.unwrap(getattr(value, 'fget', None) or getattr(value, 'func', None) or getattr(value, '__func__', None) or value)
        if inspect.isfunction(value) and value.__module__ == cls.__module__ and value.__qualname__.startswith(cls.__name__ + '.') and not key.startswith('_'): yield f'{cls.__name__}.{key}', value


@each_module
def test_docstrings(name):
    bare = [key for key, value in public(name) if not (value.__doc__ or '').strip() or (inspect.isclass(value) and value.__doc__.startswith(f'{key}('))]
    assert not bare


def unhinted(key, f):
    "Parameters (and the result) of a function that have no type."
    signature = inspect.signature(f)
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ('self', 'cls') and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [f'{key}({", ".join(bare)})'] * bool(bare) + [f'{key} -> ?'] * (signature.return_annotation is signature.empty)


@each_module
def test_type_hints(name):
    found = []
    for key, value in public(name):
        if inspect.isfunction(value): found += unhinted(key, inspect.unwrap(value))
        else:
            for inner, f in methods(value): found += unhinted(inner, f)
            if '__init__' in vars(value) and value.__init__.__qualname__.startswith(key) and not hasattr(value, '__dataclass_fields__'):
                found += [u for u in unhinted(f'{key}.__init__', value.__init__) if not u.endswith('?')]
    assert not found


PROSE = [ROOT/'README.md', ROOT/'Makefile', ROOT/'settings.ini', ROOT/'setup.py', *NOTEBOOKS, *(ROOT/'degas_nb').glob('*.py'), *(ROOT/'tools').glob('*.py')]


@pytest.mark.parametrize('path', [p for p in PROSE if p.exists()], ids=lambda p: p.name)
def test_no_registry_hosts(path):
    text = '\n'.join(source(c) for c in cells(path)) if path.suffix == '.ipynb' else path.read_text()
    assert not REGISTRY_HOSTS.findall(text)


def test_nothing_is_imported_in_vain():
    found = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--isolated', '--select', 'F', '--output-format', 'concise', *map(str, (ROOT/p for p in ('nbs', 'degas_nb', 'tests', 'tools', 'benchmarks')))], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
