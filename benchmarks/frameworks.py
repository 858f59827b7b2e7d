"""Every framework trains the same generator on the same images: the table in the lesson on GAN training.

    python benchmarks/frameworks.py                        all of them, about twenty minutes on two cores
    python benchmarks/frameworks.py sngan --lr 4e-4        one of them with other settings, printed only

Writes benchmarks/frameworks.json after each framework and goes on where it was stopped; the runs lie in runs/frameworks/.
"""
import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from degas_nb.ground.data import load
from degas_nb.judge.features import small_features
from degas_nb.gan.frameworks import FRAMEWORKS
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.space.genotype import Genotype
from degas_nb.judge.metrics import describe_images, frechet_distance
from degas_nb.ground.folders import write_json

HERE = Path(__file__).parent
TABLE = HERE/'frameworks.json'
N, EVERY = 1900, 50


def record_of(config, images, extractor, real, folder=None):
    "Train once; the distance to the data every 50 steps, the terms of the last 20 steps."
    training = GANTraining.from_config(images, config, Genotype.named('cifar10_paper'))
    run = folder and training.folder(folder, overwrite=True)

    def distance(): return round(frechet_distance(describe_images(training.sample(N, torch.Generator().manual_seed(1)), extractor)[0], real), 2)

    curve, terms = {0: distance()}, []
    for step in training:
        terms.append({f'{net} {name}': v for (net, name), v in step.losses.items()})
        if run: run.trace.append(step.record())
        if step.n % EVERY == 0 or step.n == len(training):
            curve[step.n] = distance()
            print(config.framework, step.n, curve[step.n], {k: round(v, 3) for k, v in terms[-1].items()}, flush=True)
    if run: training.save(run)
    last = {k: round(sum(t[k] for t in terms[-20:])/len(terms[-20:]), 3) for k in terms[-1]}
    settings = {k: v for k, v in config.to_dict().items() if k in ('steps', 'batch_size', 'n_critic', 'width', 'optimiser', 'lr', 'betas', 'ema', 'init', 'seed')}
    return dict(framework=config.framework, settings=settings, curve=curve, last_terms=last)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('only', nargs='?')
    for name, kind in dict(lr=float, n_critic=int, steps=int, optimiser=str, init=str, seed=int, ema=float).items(): parser.add_argument(f'--{name.replace("_", "-")}', type=kind)
    parser.add_argument('--betas', type=float, nargs=2)
    args = parser.parse_args()
    images = load('emoji')
    extractor = small_features(images)
    real = describe_images(images.pixels, extractor)[0]
    if args.only:
        other = {k: tuple(v) if k == 'betas' else v for k, v in vars(args).items() if v is not None and k != 'only'}
        print(json.dumps(record_of(replace(GANConfig.teaching(args.only), **dict(steps=300) | other), images, extractor, real)))
        return
    about = dict(data='emoji', n_real=len(images), n_fake=N, generator='cifar10_paper', extractor=extractor.name, weights_hash=extractor.hash, statistics='batch', torch=torch.__version__)
    table = json.loads(TABLE.read_text()) if TABLE.exists() else dict(about=about, rows=[])
    for name in FRAMEWORKS:
        if name in [row['framework'] for row in table['rows']]: continue
        table['rows'].append(record_of(replace(GANConfig.teaching(name), steps=300), images, extractor, real, HERE.parent/'runs'/'frameworks'/name))
        write_json(TABLE, table)


if __name__ == '__main__': main()
