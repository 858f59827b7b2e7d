"""Every notebook runs once in a kernel of its own, as in JupyterLab; cells marked slow are left out, as `nbdev_test` leaves them out.

`nbdev_test` runs cells in its own process, where a widget has nobody to talk to. Here comms, threads and display are the real ones, and what
the run leaves behind is what a student would save: it must be without errors, without widget state, and small.
"""
import json
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))
import clean  # noqa: E402
import exercises  # noqa: E402
from kernels import ForkedKernel  # noqa: E402

LONGEST = ['00_tour', '07_alternating', '10_decide', '03_metrics', '11_strategies', '01_pyramid', '02_glo', '04_bench', '06_steps']   # or the last one keeps the others waiting
NOTEBOOKS = sorted((p for p in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts), key=lambda p: (LONGEST.index(p.stem) if p.stem in LONGEST else len(LONGEST), p))   # the order in which they run: none waits for another's turn
LEFT_OUT = re.compile(r'(#\|.*\n)*#\|\s*(slow\b|gpu\b|exercise\b|check\b|eval:\s*false\b)')
ALONE = 'PYTEST_XDIST_WORKER' not in os.environ   # else another process has the other core
WORKERS = min(2, len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 2) if ALONE else 1


def read_live(path):
    "The notebook without its stored outputs, and without what is left out."
    nb = nbformat.read(path, 4)
    for cell in nb.cells:
        if cell.cell_type != 'code': continue
        cell.outputs, cell.execution_count = [], None
        if LEFT_OUT.match(cell.source): cell.source = ''
    return nb


def run(path, folder, **kernel):
    "The notebook as it is after a run in `folder`, the error that ended it, and what is wrong with its exercises."
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    nb, found = read_live(path), exercises.exercises(nbformat.read(path, 4))
    n = len(nb.cells)
    nb.cells += exercises.attempts(found)
    client = NotebookClient(nb, timeout=300, kernel_name='python3', store_widget_state=False, resources=dict(metadata=dict(path=str(folder))), **kernel)
    try: client.execute(env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT)))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as e: return nb, re.sub(r'\x1b\[[\d;]*m', '', str(e)), []
    nb.cells, tries = nb.cells[:n], nb.cells[n:]
    return nb, None, exercises.wrong(found, tries)


@pytest.fixture(scope='module')
def runs(request, tmp_path_factory):
    "What becomes of the notebooks that are asked for, some at a time, in a copy of nbs/. {path: Future}"
    copy = tmp_path_factory.mktemp('lessons')
    shutil.copytree(ROOT / 'nbs', copy / 'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    (copy / 'benchmarks').symlink_to(ROOT / 'benchmarks')      # records that lessons show
    (copy / 'studies').symlink_to(ROOT / 'studies')
    asked = [item.callspec.params['path'] for item in request.session.items if item.function is test_runs_in_a_real_kernel]
    pool = ThreadPoolExecutor(WORKERS)
    yield {path: pool.submit(run, path, copy / path.parent.relative_to(ROOT), kernel_manager_class=ForkedKernel) for path in asked}
    pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(480)
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_in_a_real_kernel(runs, path, tmp_path):
    nb, error, says = runs[path].result()
    if error: pytest.fail(f'{path.name}: {error}', pytrace=False)
    assert not says, 'exercises'
    outputs = [(c, o) for c in nb.cells for o in c.get('outputs', [])]
    assert not [c.source for c, o in outputs if o.output_type == 'error']
    assert 'widgets' not in nb.metadata, 'the run stored the state of its widgets'
    bare = [c.source for c, o in outputs if clean.VIEW in o.get('data', {}) and not clean.STATIC & set(o.data)]
    assert not bare, f'a widget leaves no picture for readers without a kernel: {bare}'
    left = tmp_path / path.name
    nbformat.write(nb, left)
    clean.clean([left])
    assert left.stat().st_size <= 600_000
    large = [(c['id'], len(json.dumps(o))) for c in json.loads(left.read_text())['cells'] for o in c.get('outputs', []) if len(json.dumps(o)) > 200_000]
    assert not large, f'outputs of more than 200 kB: {large}'


def test_a_failing_cell_is_shown_with_its_source(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in ('#| slow\nbroken', '#| export\n#| eval: false\nbroken', 'x = 3\nassert x == 4, "three is not four"')])
    nbformat.write(nb, tmp_path / 'a.ipynb')
    left, error, _ = run(tmp_path / 'a.ipynb', tmp_path)
    assert 'assert x == 4' in error and 'three is not four' in error and 'broken' not in error and '\x1b' not in error
    assert [o.ename for c in left.cells for o in c.outputs if o.output_type == 'error'] == ['AssertionError']


def test_what_is_printed_in_pieces_is_stored_as_one():
    "How a kernel cuts its stdout depends on the clock; the file must not."
    piece = lambda text, name='stdout': nbformat.v4.new_output('stream', name=name, text=text)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[piece('a\nb'), piece('c\n'), piece('!', 'stderr'), piece(['d\n', 'e'])]), nbformat.v4.new_markdown_cell()])
    clean.join_streams(nb)
    assert [(o.name, ''.join(o.text)) for o in nb.cells[0].outputs] == [('stdout', 'a\nbc\n'), ('stderr', '!'), ('stdout', 'd\ne')]


def exercise(stub, check, solution):
    "A notebook with one exercise."
    md, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    fold = f'<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\nThat is why.\n\n</details>'
    return nbformat.v4.new_notebook(cells=[code('base = 3'), md('### Exercise 1: double it\n\nDouble `base`.'), code('#| exercise\n' + stub), code('#| check\n' + check), md(fold)])


@pytest.mark.parametrize('stub, check, solution, says', [
    ('answer = None', 'assert answer == 2*base', 'answer = 2*base', ''),
    ('answer = None', 'assert True', 'answer = 2*base', 'nothing is solved'),
    ('answer = None', 'assert answer == 2*base', 'answer = base', 'fails its check'),
    ('answer = nothing', 'assert answer == 2*base', 'answer = 2*base', 'does not run')])
def test_checks_fail_before_and_pass_after(stub, check, solution, says, tmp_path):
    nbformat.write(exercise(stub, check, solution), tmp_path / 'a.ipynb')
    left, error, found = run(tmp_path / 'a.ipynb', tmp_path)
    assert not error and len(left.cells) == 5
    assert says in found[0] if says else not found


def test_an_exercise_out_of_form_is_refused():
    good = exercise('answer = None', 'assert answer == 6', 'answer = 6')
    assert [e.name for e in exercises.exercises(good)] == ['Exercise 1: double it']
    for spoil in (lambda c: c.pop(3), lambda c: c.append(nbformat.v4.new_code_cell('#| check\nassert 0')), lambda c: c[4].update(source='answer = 6'), lambda c: c[1].update(source='### Exercise 2: double it')):
        nb = exercise('answer = None', 'assert answer == 6', 'answer = 6')
        spoil(nb.cells)
        with pytest.raises(ValueError): exercises.exercises(nb)
