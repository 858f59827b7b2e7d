"""What a reader meets in each notebook, in numbers, and what breaks the rules of the course.

    tools/course.py [NOTEBOOK ...]     a row a notebook: longest cell, widest line, exercises, public names, words; then what is wrong; exit 1 when something is
"""
import ast
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tools'))
from docs import notebooks          # noqa: E402
from exercises import exercises     # noqa: E402

LONGEST, WIDEST, FEWEST = 60, 140, 2   # lines of a code cell; characters of a line; exercises of a lesson
NEEDS = re.compile(r'^\*Needs:\* (.+)$', re.M)
NEXT = re.compile(r'^\*Next:\* \[[^\]]+\]\(([^)]+)\)', re.M)
SHOWN = {'show_images', 'curves', 'image_grid', 'svg', 'Markdown', 'HTML', 'SVG', 'Picture'}  # what they make is to be looked at
LINK = re.compile(r'\]\(([^)#]+\.ipynb)\)')


def cells(path:Path, kind:str)->list[str]:
    "Sources of a notebook's cells of a kind."
    return [c.source for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def longest(path:Path)->int:
    "Lines of the longest code cell."
    return max((len(s.splitlines()) for s in cells(path, 'code')), default=0)


def widest(path:Path)->int:
    "Characters of the widest line of code."
    return max((len(line) for s in cells(path, 'code') for line in s.splitlines()), default=0)


def words(path:Path)->int:
    "Of prose; formulas, tables, links' targets and exercises are not counted."
    text = '\n'.join(s for s in cells(path, 'markdown') if not s.startswith('### Exercise'))
    text = re.sub(r'```.*?```|\$\$.*?\$\$|<details>.*?</details>', ' ', text, flags=re.S)
    text = re.sub(r'^\|.*$', ' ', re.sub(r'\]\([^)]*\)', ']', text), flags=re.M)
    return len(re.findall(r"[A-Za-z][\w'’-]*", text))


def module_of(path:Path)->Path|None:
    "The module that a notebook exports."
    name = next((m[1] for s in cells(path, 'code') if (m := re.match(r'#\|\s*default_exp\s+([\w.]+)', s))), None)
    return name and ROOT/'degas_nb'/(name.replace('.', '/') + '.py')


def public(module:Path|None)->list[str]:
    "The names of `__all__`."
    if module is None: return []
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__': return ast.literal_eval(node.value)
    return []


def unseen(path:Path)->list[str]:
    "Calls that make a picture or a table which nobody sees: a cell shows its last value only."
    found = []
    for source in cells(path, 'code'):
        try: body = ast.parse(source).body
        except SyntaxError: continue  # of a shell
        for line in body[:-1]:
            made = line.value.func if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call) else None
            if isinstance(made, ast.Name) and made.id in SHOWN: found.append(made.id)
    return found


def wrong(path:Path, order:list[Path])->list[str]:
    "What breaks the rules, in words."
    says = [f"a cell calls {name} before its end, where nobody sees what it makes" for name in unseen(path)]
    if (n := longest(path)) > LONGEST: says.append(f"a cell of {n} lines, {LONGEST} at most")
    if (n := widest(path)) > WIDEST: says.append(f"a line of {n} characters, {WIDEST} at most")
    try:
        if path.stem != 'index' and len(exercises(nbformat.read(path, 4))) < FEWEST: says.append(f"fewer than {FEWEST} exercises")
    except ValueError as e: says.append(str(e))
    if path.stem == 'index': return says
    prose = cells(path, 'markdown')
    here = order.index(path)
    needs, after = NEEDS.search(prose[0]), NEXT.search(prose[-1])
    if not needs: says.append("its first cell has no paragraph `*Needs:* ...`")
    for link in LINK.findall(needs[1]) if needs else ():
        target = (path.parent/link).resolve()
        if target not in order or order.index(target) >= here: says.append(f"it needs {link}, which comes later")
    last = path == order[-1]
    if not after and not last: says.append("its last cell has no paragraph `*Next:* [...](...)`")
    elif after and not last and (path.parent/after[1]).resolve() != order[here + 1]: says.append(f"next is {order[here + 1].relative_to(ROOT)}, not {after[1]}")
    return says


def main(names:list[str])->int:
    "Exit status."
    order = [ROOT/"nbs"/name for name in notebooks() if name != 'index.ipynb']
    wanted = [ROOT/n for n in names] or order
    status = 0
    print(f"{'notebook':36} cell line  ex names words")
    for path in wanted:
        try: n = len(exercises(nbformat.read(path, 4)))
        except ValueError: n = -1
        print(f"{str(path.relative_to(ROOT/'nbs')):36} {longest(path):4} {widest(path):4} {n:3} {len(public(module_of(path))):5} {words(path):5}")
    for path in wanted:
        for says in wrong(path, order): status = print(f"{path.relative_to(ROOT)}: {says}") or 1
    return status


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
