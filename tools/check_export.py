"""Fail when the exported modules, the notebooks' cleanness or README.md are not what the notebooks say.

`nbdev_test` passes on a stale export, so this looks: export and clean into the tree, and compare with how it was.
Works in a dirty tree too: what counts is that exporting and cleaning change nothing.
"""
import hashlib
import sys
from pathlib import Path

from nbdev.config import get_config
from nbdev.export import nb_export
from nbdev.doclinks import _build_modidx, nbglob

sys.path.insert(0, str(Path(__file__).parent))
from clean import clean, notebooks
from readme import main as write_readme


def state(root):
    "A hash of every file that exporting and cleaning may touch"
    files = [*root.glob('degas_nb/**/*.py'), *root.glob('nbs/**/*.ipynb'), root/'README.md']
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.exists()}


def main():
    root = Path(get_config().config_path)
    before = state(root)
    clean(notebooks())
    for nb in nbglob(): nb_export(nb)
    _build_modidx()
    write_readme()
    after = state(root)
    changed = sorted(str(p.relative_to(root)) for p in after if before.get(p) != after[p])
    for name in changed: print(f'stale: {name} (mended now: look at the diff and commit it)')
    return int(bool(changed))


if __name__ == '__main__': sys.exit(main())
