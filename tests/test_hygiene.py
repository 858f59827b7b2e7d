"""What a reviewer would otherwise look for by hand: sizes, paths, the direction of imports, docstrings, type hints."""
import ast, importlib, inspect, json, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
MODULES = sorted('.'.join(p.relative_to(ROOT/'degas_nb').with_suffix('').parts) for p in (ROOT/'degas_nb').rglob('*.py') if not p.stem.startswith('_'))
OUTPUT_KB, NOTEBOOK_KB = 200, 600
LARGER = {}  # notebook -> kB it may have, with the reason
FLOORS = dict(ground=1, space=2, views=2, search=3, gan=3, judge=3, app=4)  # rooms; a floor imports only from floors below it
REGISTRY_HOSTS = re.compile(r'(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|registry\.npm|crates\.io|anaconda\.org|rubygems\.org|proxy\.golang|jfrog|artifactory)', re.I)
MACHINE_PATHS = re.compile(r'(?<![\w.])/(work|tmp|home|root|Users)/[\w.]')


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def source(cell): return ''.join(cell['source'])


def number(path):
    "Reading order inside its room: 3 for search/03_mixed; None for the guides and index."
    found = re.match(r'(\d\d)_', path.name)
    return int(found[1]) if found else None


def room(path):
    "The folder of a notebook below nbs/; None for what lies in none, and for the guides."
    name = path.parent.relative_to(ROOT/'nbs').as_posix()
    return name if name in FLOORS else None


def module(path):
    "What the notebook exports to ('search.mixed'), or None."
    found = re.search(r'^#\|\s*default_exp\s+([\w.]+)', '\n'.join(source(c) for c in cells(path) if c['cell_type'] == 'code'), re.M)
    return found[1] if found else None


NUMBER = {module(p): number(p) for p in NOTEBOOKS if module(p)}


def python(text):
    "A cell without what only IPython reads."
    return re.sub(r'^\s*[%!?].*$', 'pass', text, flags=re.M)


def imported(text, package='degas_nb'):
    "Modules of degas_nb ('search.mixed') that a source in `package` imports."
    for node in ast.walk(ast.parse(text)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            above = package.split('.')[:len(package.split('.')) + 1 - node.level] if node.level else []
            full = '.'.join([*above, *filter(None, [node.module])])
            names = [full, *(f'{full}.{a.name}' for a in node.names)]
        yield from {name.removeprefix('degas_nb.') for name in names} & {*NUMBER}


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


def module_text(name): return (ROOT/'degas_nb'/f"{name.replace('.', '/')}.py").read_text()


def arrows(name):
    "What a module imports."
    return set(imported(module_text(name), f"degas_nb.{name.split('.')[0]}"))


def may_see(mine, other, lesson=False):
    "May something in the room of module `mine` import module `other`? Lessons, not modules, of the space may show a view, and those of judging may judge a GAN."
    a, b = mine.split('.')[0], other.split('.')[0]
    return FLOORS[b] < FLOORS[a] or (NUMBER[other] <= NUMBER[mine] if a == b else lesson and (a, b) in (('space', 'views'), ('judge', 'gan')))


@each_module
def test_a_floor_imports_only_from_floors_below_it(name):
    "And inside a room only from smaller numbers, so that there are no cycles; rooms of one floor do not know each other."
    assert not [other for other in arrows(name) - {name} if not may_see(name, other)]


@each_notebook
def test_lessons_import_only_what_was_read_before(path):
    mine = module(path)
    if room(path) is None: return
    for c in cells(path):
        if c['cell_type'] != 'code' or source(c).startswith('%%'): continue
        for other in imported(python(source(c))): assert may_see(mine, other, lesson=True), f"cell {c['id']} imports {other}"


def test_notebooks_and_modules_mirror_each_other():
    for path in NOTEBOOKS:
        if room(path): assert re.sub(r'^\d\d_', '', path.stem) == module(path).split('.')[1] and module(path).split('.')[0] == room(path), path
    assert sorted(NUMBER) == MODULES


def test_numbers_have_no_letters_and_no_gaps():
    for name in FLOORS:
        numbers = [number(p) for p in NOTEBOOKS if room(p) == name]
        assert numbers == list(range(1, len(numbers) + 1)), name


HOUSE = """
app      ground judge gan search space views
gan      ground space
ground   .
judge    ground space
search   ground space
space    ground
views    ground
"""


def test_the_picture_of_the_house():
    "Which room imports from which: at most eight, and no arrow upwards."
    found = {name: set() for name in FLOORS}
    for name in MODULES: found[name.split('.')[0]] |= {other.split('.')[0] for other in arrows(name)} - {name.split('.')[0]}
    drawn = {row.split()[0]: set(row.split()[1:]) - {'.'} for row in HOUSE.strip().splitlines()}
    assert found == drawn and len(found) <= 8
    assert not [p for p in (ROOT/'degas_nb').glob('*/__init__.py') if re.search(r'^\s*(from|import)\b', p.read_text(), re.M)], 'a room imports nothing by itself'
    assert all(FLOORS[b] < FLOORS[a] for a, others in found.items() for b in others)


@each_module
def test_modules_run_without_the_tools_that_made_them(name):
    assert not {'nbdev', 'fastcore', 'execnb'} & set(packages(module_text(name)))


@each_module
def test_every_module_comes_from_a_notebook(name):
    assert name in NUMBER and 'AUTOGENERATED' in module_text(name)[:2000]


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


PROSE = [ROOT/'README.md', ROOT/'Makefile', ROOT/'settings.ini', ROOT/'setup.py', *NOTEBOOKS, *(ROOT/'degas_nb').rglob('*.py'), *(ROOT/'tools').glob('*.py')]


@pytest.mark.parametrize('path', [p for p in PROSE if p.exists()], ids=lambda p: p.name)
def test_no_registry_hosts(path):
    text = '\n'.join(source(c) for c in cells(path)) if path.suffix == '.ipynb' else path.read_text()
    assert not REGISTRY_HOSTS.findall(text)


def test_nothing_is_imported_in_vain():
    found = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--isolated', '--select', 'F', '--output-format', 'concise', *map(str, (ROOT/p for p in ('nbs', 'degas_nb', 'tests', 'tools', 'benchmarks')))], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_annotations_have_one_spacing():
    found = subprocess.run([sys.executable, ROOT/'tools/spacing.py', '--check'], capture_output=True, text=True)
    assert found.returncode == 0, f"{found.stdout}python tools/spacing.py mends it"


def test_why_each_dependency_is_there():
    "CONTRIBUTING.md has a row for each requirement of settings.ini, with the same bounds, under the same extras; and no others."
    from configparser import ConfigParser
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    asked = {('runtime' if key == 'requirements' else key.removesuffix('_requirements'), word) for key, value in config['DEFAULT'].items() if key.endswith('requirements') for word in value.split()}
    rows = [[cell.strip() for cell in row.strip('|').split(' | ')] for row in (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8').partition('## Why each dependency')[2].splitlines() if row.startswith('| ')][1:]
    assert all(len(row) == 4 and row[2] for row in rows)
    written = [(where, word) for names, inside, _, _ in rows for where in inside.split(', ') for word in re.split(r', (?=[a-z])', names)]
    assert len(written) == len(set(written)) and set(written) == asked, set(written) ^ asked
