"""Make a finished search a shipped example: degas_nb/builtin/runs/NAME and degas_nb/builtin/genotypes/NAME_found.json.

    tools/example.py RUN NAME [KEY=VALUE ...]     what else its record.json says, e.g. machine="2 cores"

The trace keeps every record with alpha, and of the others as many; numbers are rounded to five digits. Paths are dropped.
"""
import json
import shutil
import sys
from pathlib import Path

from degas_nb.space.genotype import Genotype
from degas_nb.search.prune import prune
from degas_nb.ground.folders import RunFolder, write_json

BUILTIN = Path(__file__).parents[1]/'degas_nb/builtin'


def rounded(x):
    if isinstance(x, dict): return {k: rounded(v) for k, v in x.items()}
    return float(f'{x:.5g}') if isinstance(x, float) else x


def thinned(rows):
    "Every record with alpha, and evenly as many of the others"
    others = [r for r in rows if 'alpha' not in r]
    every = max(1, len(others)//sum('alpha' in r for r in rows))
    return sorted([r for r in rows if 'alpha' in r] + others[::every], key=lambda r: r['step'])


def main(path, name, *facts):
    run = RunFolder.open(path, 'search')
    rows, genotype = run.trace.read(), Genotype.load(run.path)
    if prune(rows[-1]['weights']) != genotype: sys.exit('genotype.json is not what the last alphas give')
    target = BUILTIN/'runs'/name
    if target.exists(): shutil.rmtree(target)
    (target/'samples').mkdir(parents=True)
    data = {k: v for k, v in run.data.items() if k != 'source'}
    write_json(target/'config.json', run.meta | dict(data=data))
    write_json(target/'record.json', dict(fact.split('=', 1) for fact in facts) | dict(steps=rows[-1]['step'], kept=len(thinned(rows)), psnr=genotype.meta['psnr']))
    (target/'trace.jsonl').write_text(''.join(json.dumps(rounded(r)) + '\n' for r in thinned(rows)))
    for place in (target/'genotype.json', BUILTIN/'genotypes'/f'{name}_found.json'): genotype.save(place)
    last = max(run.samples.glob('reconstructions_*.png'))
    for picture in (run.samples/'targets.png', last, last.with_name(last.name.replace('reconstructions', 'samples'))): shutil.copy(picture, target/'samples')


if __name__ == '__main__': main(*sys.argv[1:])
