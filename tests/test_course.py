"""The course as a reader meets it: short cells, lines that fit, an order, exercises, few names."""
import collections
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tools'))
import course            # noqa: E402
from docs import notebooks  # noqa: E402

ORDER = [ROOT/'nbs'/name for name in notebooks() if name != 'index.ipynb']
FIRST = ROOT/'nbs'/'space'/'01_ops.ipynb'


@pytest.mark.parametrize('path', [ROOT/'nbs'/'index.ipynb', *ORDER], ids=lambda p: str(p.relative_to(ROOT/'nbs')))
def test_keeps_the_rules_of_the_course(path):
    assert not course.wrong(path, ORDER)


def test_no_name_is_public_twice():
    homes = collections.defaultdict(list)
    for path in ORDER:
        for name in course.public(course.module_of(path)): homes[name].append(str(path.relative_to(ROOT)))
    assert not {name: where for name, where in homes.items() if len(where) > 1}


def test_the_first_operation_comes_soon(tmp_path):
    "Words of prose from the tour to the first operation."
    nb = nbformat.read(FIRST, 4)
    first = next(i for i, c in enumerate(nb.cells) if c.cell_type == 'code' and re.search(r'^class \w+\(Op\)', c.source, re.M))
    nb.cells = nb.cells[:first]
    nbformat.write(nb, tmp_path/'start.ipynb')
    before = [p for p in ORDER[:ORDER.index(FIRST)]]
    assert sum(map(course.words, before)) + course.words(tmp_path/'start.ipynb') < 1500
