"""The exercises of a notebook, and whether each check fails before and passes after its solution.

    tools/exercises.py nbs/search/03_mixed.ipynb [...]     runs the notebook in a kernel, then its exercises; exit 1 when something is wrong

One form for all, at the end of a notebook under `## Exercises`:

    markdown  ### Exercise 1: a name      the task
    code      #| exercise                 what the student edits
    code      #| check                    fails until it is right
    markdown  <details><summary>Solution</summary>, one python fence that stands for the exercise's cell, a word why, </details>
"""
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
TITLE = re.compile(r'### Exercise (\d+): (.+)')
SOLUTION = re.compile(r'<details><summary>Solution</summary>\n\n```python\n(.*?)\n```\n(.*)</details>', re.S)
MARKED = re.compile(r'#\|\s*(exercise|check)\b')


@dataclass(frozen=True)
class Exercise:
    "One exercise of a notebook."
    name:str      # 'Exercise 1: ...'
    stub:str      # the cell that the student edits
    check:str     # the cell that fails until it is right
    solution:str  # what makes it pass


def exercises(
    nb:nbformat.NotebookNode,  # a lesson
)->list[Exercise]:
    "All of a notebook; a `ValueError` names the cell that isn't in the form."
    found, used = [], set()
    kinds = [(c.cell_type, c.source) for c in nb.cells]
    for i, (kind, source) in enumerate(kinds):
        title = TITLE.match(source) if kind == 'markdown' else None
        if not title: continue
        rest = kinds[i + 1:i + 4]
        if [k for k, _ in rest] != ['code', 'code', 'markdown'] or not rest[0][1].startswith('#| exercise') or not rest[1][1].startswith('#| check'):
            raise ValueError(f"{title[0]}: behind it stand a `#| exercise` cell, a `#| check` cell and the folded solution, nothing else")
        solution = SOLUTION.fullmatch(rest[2][1].strip())
        if not solution: raise ValueError(f"{title[0]}: its solution is not `<details><summary>Solution</summary>`, one python fence, a word why, `</details>`")
        if int(title[1]) != len(found) + 1: raise ValueError(f"{title[0]}: it is number {len(found) + 1}")
        found.append(Exercise(title[0].removeprefix('### '), rest[0][1], rest[1][1], solution[1]))
        used |= {i + 1, i + 2}
    stray = [source for i, (kind, source) in enumerate(kinds) if kind == 'code' and MARKED.match(source) and i not in used]
    if stray: raise ValueError(f"a cell of no exercise: {stray[0][:60]!r}")
    return found


def attempts(
    found:list[Exercise],        # of a notebook
)->list[nbformat.NotebookNode]:  # code cells that go behind the notebook's own
    "Each exercise unsolved and checked, then solved and checked."
    def cell(source:str)->nbformat.NotebookNode: return nbformat.v4.new_code_cell(source, metadata=dict(tags=['raises-exception']))
    return [cell(source) for e in found for source in (e.stub, e.check, e.solution, e.check)]


def wrong(
    found:list[Exercise],               # of a notebook
    cells:list[nbformat.NotebookNode],  # `attempts`, after their run
)->list[str]:
    "What is not as it should be, in words."
    failed = [next((f'{o.ename}: {o.evalue}' for o in c.outputs if o.output_type == 'error'), None) for c in cells]
    says = []
    for i, e in enumerate(found):
        stub, unsolved, solution, solved = failed[4*i:4*i + 4]
        if stub: says.append(f"{e.name}: the cell to edit does not run ({stub})")
        if not unsolved: says.append(f"{e.name}: its check passes although nothing is solved")
        if solution or solved: says.append(f"{e.name}: the solution fails its check ({solution or solved})")
    return says


def main(paths:list[str])->int:
    "Exit status."
    from nbclient import NotebookClient
    status = 0
    for path in paths:
        nb = nbformat.read(path, 4)
        found = exercises(nb)
        for c in nb.cells:
            if c.cell_type == 'code' and re.match(r'(#\|.*\n)*#\|\s*(slow|gpu|exercise|check)\b', c.source): c.source = ''
        tries = attempts(found)
        nb.cells += tries
        NotebookClient(nb, timeout=600, kernel_name='python3', store_widget_state=False, resources=dict(metadata=dict(path=str(Path(path).parent)))).execute(env=os.environ | dict(PYTHONPATH=str(ROOT)))
        says = wrong(found, tries)
        print(f"{path}: {len(found)} exercises, {'all as they should be' if not says else ''}", *says, sep='\n  ')
        status |= bool(says)
    return status


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
