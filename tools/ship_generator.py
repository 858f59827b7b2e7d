"""Make a GAN run a generator that ships: degas_nb/builtin/generators/NAME.safetensors, with the record of how it was made.

    tools/ship_generator.py snap RUN FOLDER                      what RUN's last checkpoint draws with -> FOLDER/STEP.safetensors
    tools/ship_generator.py score FOLDER DATA [LIMIT]            distances of those in FOLDER that have none yet -> FOLDER/distances.json
    tools/ship_generator.py ship FOLDER NAME [KEY=VALUE ...]     the one of the last step (step=N: of another), with all distances

`snap` may be called while RUN goes on, as often as there shall be distances; of a finished run once is enough. A distance is FD-small of
10,000 drawings, by the small classifier of DATA's labels. KEY=VALUE is what else the record says: licence="...", hardware="...", commit=...
"""
import json
import subprocess
import sys
from pathlib import Path

import torch

from degas_nb.gan.shipped import _packed, _unpacked, export_generator, load_generator
from degas_nb.gan.training import drawing_generator, draw_images
from degas_nb.ground.data import load
from degas_nb.ground.folders import RunFolder, atomic_write, read_json, write_json
from degas_nb.judge.features import small_features
from degas_nb.judge.metrics import score_images

SHIPPED = Path(__file__).parents[1]/'degas_nb/builtin/generators'
MOST_BYTES, DRAWN = 3_000_000, 10_000
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def commit():
    "Of this working tree, if git knows"
    try: found = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError: return None
    return found.stdout.strip() or None


def snap(path, folder):
    run, drawn = RunFolder.open(path, 'gan'), []
    state = run.load_checkpoint(lambda state: drawn.append(drawing_generator(run.config['generator'], state, DEVICE)))
    settings = {k: v for k, v in state['config'].items() if k not in ('framework', 'steps', 'seed', 'width', 'z_dim')}
    data = {k: v for k, v in run.data.items() if k in ('name', 'split', 'n', 'fingerprint', 'limit', 'classes', 'prepared')}
    about = {k: state['config'][k] for k in ('framework', 'steps', 'seed')} | dict(step=state['step'], settings=settings, data=data)
    about |= dict(torch=torch.__version__, hardware=torch.cuda.get_device_name() if DEVICE == 'cuda' else 'CPU', commit=commit())
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder)/f"{state['step']:06d}.safetensors"
    export_generator(drawn[0], target, about)
    print(target, f'{target.stat().st_size:,} bytes')


def score(folder, data, limit=None):
    images, known = load(data, limit=limit and int(limit)), Path(folder)/'distances.json'
    eyes, found = small_features(images, device=DEVICE), read_json(known) if known.exists() else {}
    for path in sorted(Path(folder).glob('*.safetensors')):
        if path.stem in found: continue
        fake = draw_images(load_generator(path, DEVICE), DRAWN, torch.Generator().manual_seed(0))
        record = score_images(fake, images, eyes)[0]
        kept = ('name', 'value', 'n_real', 'n_fake', 'data', 'split', 'extractor', 'weights_hash', 'resize')
        found[path.stem] = {k: record[k] for k in kept} | dict(statistics='batch', accuracy=round(eyes.accuracy, 3))
        write_json(known, found)
        print(path, round(record['value'], 2), flush=True)


def ship(folder, name, *facts):
    facts, known = dict(fact.split('=', 1) for fact in facts), Path(folder)/'distances.json'
    found = {int(p.stem): p for p in Path(folder).glob('*.safetensors')}
    record, weights = _unpacked(found[int(facts.pop('step', max(found)))])
    scores = read_json(known) if known.exists() else {}
    if mine := scores.get(f"{record['step']:06d}"):
        curve = {str(int(step)): round(s['value'], 2) for step, s in sorted(scores.items()) if int(step) <= record['step']}
        record |= dict(distance=mine, distances=curve)
    content = _packed(record | facts, weights)
    if len(content) > MOST_BYTES: sys.exit(f'{len(content):,} bytes are more than {MOST_BYTES:,}')
    SHIPPED.mkdir(exist_ok=True)
    atomic_write(SHIPPED/f'{name}.safetensors', content)
    print(json.dumps({k: v for k, v in (record | facts).items() if k != 'generator'}, indent=1))
    print(SHIPPED/f'{name}.safetensors', f'{len(content):,} bytes')


if __name__ == '__main__':
    if len(sys.argv) < 4 or sys.argv[1] not in ('snap', 'score', 'ship'): sys.exit(__doc__)
    dict(snap=snap, score=score, ship=ship)[sys.argv[1]](*sys.argv[2:])
