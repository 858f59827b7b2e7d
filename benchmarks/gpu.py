"""Everything worth knowing on a GPU, in ten minutes: does it compute what the CPU computes, how fast, in how much memory, what would the paper take?

    python benchmarks/gpu.py [--device cuda] [--minutes 9] [--small] [--out benchmarks/gpu.json]

Checks come first, then times, the most wanted ones first; what the minutes don't suffice for is named in the record. Everything is written as it comes.
`--small` is the same in miniature on the CPU, for the tests. Images are noise: neither the checks nor the costs depend on what they show.
"""
import argparse
import gc
import json
import math
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from baselines import PlainSearch, PlainSuperGenerator, same_weights
from baselines_gan import PlainCritic, PlainCriticStep, same_critic
from measure import machine

from degas_nb.ground.data import Images
from degas_nb.judge.extractors import ModuleFeatures
from degas_nb.gan.frameworks import FRAMEWORKS
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.space.genotype import Genotype
from degas_nb.ground.graphs import Recorded
from degas_nb.judge.metrics import score_images
from degas_nb.app import driving as _all_strategies  # noqa: F401  it knows them all
from degas_nb.search.alternating import SEARCHES, Search, SearchConfig
from degas_nb.search.decide import decide
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from degas_nb.search.steps import AMP, check_amp
from degas_nb.ground.errors import UserError
from degas_nb.search.supernet import SuperGenerator

PAPER_STEPS = 50*(50_000//64)  # of a search: DARTS' 50 epochs of CIFAR-10, batch 64
CTGAN_STEPS = 100_000          # of CT-GAN's script


# ---- the device

def wait(device):
    "Until everything that was asked for is computed"
    if device.type == 'cuda': torch.cuda.synchronize(device)
    if device.type == 'mps': torch.mps.synchronize()


def seconds(do, device, rounds, warm_up=2):
    "Median seconds of a call that ends when the device has; one round, in miniature, needs no warming up"
    for _ in range(warm_up if rounds > 1 else 0): do()
    times = []
    for _ in range(rounds):
        wait(device)
        start = time.perf_counter()
        do()
        wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_memory(do, device):
    "Bytes that the device held at most during a call; None where it doesn't tell"
    if device.type != 'cuda': return None
    wait(device)
    torch.cuda.reset_peak_memory_stats(device)
    do()
    wait(device)
    return torch.cuda.max_memory_allocated(device)


def about(device):
    "What was measured on"
    if device.type != 'cuda': return machine() | dict(device=str(device))
    it = torch.cuda.get_device_properties(device)
    return machine() | dict(device=it.name, memory=it.total_memory, multiprocessors=it.multi_processor_count, capability=f'{it.major}.{it.minor}', cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())


@contextmanager
def waits_counted(device)->Iterator[list]:
    "Collects what made the host wait for a CUDA device, as torch's own debug mode sees it"
    seen = []
    if device.type != 'cuda':
        yield seen
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try: yield seen
        finally:
            torch.cuda.set_sync_debug_mode(before)
            seen += [f'{Path(w.filename).name}:{w.lineno}' for w in caught if 'synchroniz' in str(w.message) and 'prototype' not in str(w.message)]  # torch announces the mode itself, once


# ---- what is measured

def noise(n, side=32, classes=4):
    "Labelled images of random pixels"
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=rng)
    return Images(pixels, torch.arange(n) % classes, [f'class {i}' for i in range(classes)], name='noise')


def a_search(device, width, batch=64, n=None, **kw):
    "A search of random images, its latents drawn at random"
    config = SearchConfig(width=width, batch_size=batch, epochs=100_000, z_init='random', **kw)
    return Search.from_config(noise(n or 16*batch), config, device=device)


def a_training(device, width, framework='ctgan', batch=64, n=None, **kw):
    "A training of the paper's generator on random images"
    config = replace(GANConfig.teaching(framework), width=width, batch_size=batch, steps=100_000, **kw)
    return GANTraining.from_config(noise(n or 16*batch), config, Genotype.named('cifar10_paper'), device)


class Luminance(nn.Module):
    "Features without weights: colours of a coarse grid, and two logits"
    def forward(self, x:Tensor)->tuple[Tensor, Tensor]:
        features = nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return features, features[:, :2]


def far(a:Tensor, b:Tensor)->float:
    "Relative distance of two tensors, wherever they live"
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return ((a - b).norm()/b.norm().clamp_min(1e-300)).item()


def same_state(a, b)->bool:
    "Are two states equal to the bit?"
    if isinstance(a, Tensor): return isinstance(b, Tensor) and torch.equal(a.cpu(), b.cpu())
    if isinstance(a, dict): return a.keys() == b.keys() and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same_state, a, b))
    return a == b


def begun(state)->list:
    "The networks and latents in a state, of every candidate where there are several; an optimiser's fields differ by device"
    if not isinstance(state, dict): return []
    return [part for key, value in state.items() for part in ([value] if key in ('net', 'latents') else begun(value))]


def same_start(here, there)->bool:
    "Have two searches that begin the same networks and latents?"
    a, b = (begun(run.state_dict()) for run in (here, there))
    return bool(a) and same_state(a, b)


def saved(run)->BytesIO:
    "A run's checkpoint, as a file"
    torch.save(run.state_dict(), file := BytesIO())
    return file


def resumed(run, file:BytesIO):
    "The same run, new, taken up where a checkpoint was made"
    file.seek(0)
    run.load_state_dict(torch.load(file, weights_only=True, map_location='cpu'))
    return run


def recordings(run)->list[Recorded]:
    "The steps of a run that a device may record"
    return [value for part in (run, getattr(run, 'machine', run)) for value in vars(part).values() if isinstance(value, Recorded)]


def unrecorded(run):
    "The same run, asking the device for every kernel anew"
    for step in recordings(run): step.able = False
    return run


def given_up(run)->str:
    "Why a step could not be recorded; empty when all went well"
    return '; '.join(sorted({step.why for step in recordings(run)} - {''}))


# ---- checks

def check_search(device, small):
    "Equal starts; losses of some steps beside the CPU's; a run that was saved goes on to the same bits, here and on the CPU; recorded or not"
    side = 8 if small else 16
    def new(where): return a_search(where, side, side, deterministic=True)
    here, there, slow = new(device), new('cpu'), unrecorded(new(device))
    starts = same_start(here, there)
    pairs = [(next(here).losses['loss'], next(there).losses['loss']) for _ in range(2 if small else 6)]
    for _ in pairs: next(slow)
    recorded = same_state(here.state_dict(), slow.state_dict())
    file = saved(here)
    again, on_cpu = resumed(new(device), file), resumed(new('cpu'), file)
    for run in (here, again, on_cpu):
        for _ in range(1 if small else 6): next(run)
    apart = [abs(a/b - 1) for a, b in pairs]
    return dict(equal_start=starts, first_loss_apart=apart[0], loss_apart=max(apart), recorded_same_bits=recorded, given_up=given_up(here), resumed_same_bits=same_state(here.state_dict(), again.state_dict()),
                resumed_on_cpu_apart=max(far(a, b) for a, b in zip(on_cpu.net.parameters(), here.net.parameters())))


def check_merged(device, small):
    "The merged network is the plain sum, in float64, outputs and gradients of alpha"
    if device.type == 'mps': return dict(left_out='no float64 there')
    z = torch.randn(4, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(device)
    found = []
    for impl in ('sum', 'merged'):
        torch.default_generator.manual_seed(0)
        net = SuperGenerator(width=8, impl=impl).double().to(device)
        out = net(z)
        found.append((out, *torch.autograd.grad(out.square().sum(), net.alpha_parameters())))
    return dict(apart=max(far(a, b) for a, b in zip(*found)))


def check_training(device, framework, conditional, small):
    "Equal starts as on the CPU; finite steps; a saved run goes on to the same bits; samples"
    def new(where): return a_training(where, 8 if small else 16, framework, 8, conditional=conditional, deterministic=True)
    here, there, slow = new(device), new('cpu'), unrecorded(new(device))
    n = 1 if small else 5
    starts = same_state([here.generator.state_dict(), here.critic.state_dict()], [there.generator.state_dict(), there.critic.state_dict()])
    for run in (here, slow):
        for _ in range(n): next(run)
    recorded = same_state(here.state_dict(), slow.state_dict())
    file = saved(here)
    again = resumed(new(device), file)
    for run in (here, again):
        for _ in range(n): step = next(run)
    moved = next(resumed(there, file))
    return dict(equal_start=starts, finite=all(map(math.isfinite, [*step.losses.values(), *moved.losses.values()])), recorded_same_bits=recorded, given_up=given_up(here), resumed_same_bits=same_state(here.state_dict(), again.state_dict()), samples=list(here.sample(8).shape))


def check_strategy(device, name, small):
    "A whole small search of this strategy and its decision: equal start, losses beside the CPU's, a saved run goes on to the same bits"
    kind, (side, batch) = SEARCHES[name], (8, 8) if small else (16, 16)
    more = dict(random=dict(candidates=2 if small else 3), rl=dict(proposals=2)).get(name, {})
    config = kind.Config(width=side, batch_size=batch, epochs=3, z_init='random', deterministic=True, **more)
    def new(where): return Search.from_config(noise((2 if small else 4)*batch), config, device=where)
    here, there = new(device), new('cpu')
    starts = same_start(here, there)
    half = len(here)//2
    pairs = [(next(here).losses['loss'], next(there).losses['loss']) for _ in range(half)]
    again = resumed(new(device), saved(here))
    for run in (here, again): steps = [step.losses['loss'] for step in run]
    found = decide(here, kind.decides, 6).genotype
    apart, paced = [abs(a/b - 1) for a, b in pairs], a_search_by(kind, device, small, more)
    return dict(equal_start=starts, first_loss_apart=apart[0], loss_apart=max(apart), finite=all(map(math.isfinite, steps)), resumed_same_bits=same_state(here.state_dict(), again.state_dict()),
                decided=found.meta['decide'], seconds=seconds(lambda: next(paced), device, 1 if small else 9))


def a_search_by(kind, device, small, more):
    "A long search of a strategy at the widths of the studies"
    width, batch = (8, 8) if small else (16, 64)
    return Search.from_config(noise(16*batch), kind.Config(width=width, batch_size=batch, epochs=100, z_init='random', **more), device=device)


def check_alone(device, small):
    "One network alone by GLO: equal start, a saved run goes on to the same bits"
    side = 8 if small else 16
    config = ReconstructionConfig(width=side, batch_size=16, epochs=3, z_init='random', deterministic=True)
    def new(where): return Reconstruction.from_config(noise(64), config, device=where)
    here, there = new(device), new('cpu')
    starts = same_start(here, there)
    pairs = [(next(here).losses['loss'], next(there).losses['loss']) for _ in range(6)]
    again = resumed(new(device), saved(here))
    for run in (here, again): steps = [step.losses['loss'] for step in run]
    return dict(equal_start=starts, loss_apart=max(abs(a/b - 1) for a, b in pairs), finite=all(map(math.isfinite, steps)), resumed_same_bits=same_state(here.state_dict(), again.state_dict()))


def check_scores(device, small):
    "Scores of the same images with features computed here and on the CPU"
    real, fake = noise(300), noise(280).subset(torch.arange(200))
    rows = [score_images(fake, real, ModuleFeatures(Luminance(), 'grid', 48, device=where), rng=torch.Generator().manual_seed(0)) for where in (device, 'cpu')]
    return dict(apart=max(abs(a['value'] - b['value'])/max(abs(b['value']), 1e-9) for a, b in zip(*rows)), names=[r['name'] for r in rows[0]])


def check_waits(device, small):
    "How often a step makes the host wait for the device"
    found, n, width = {}, *((1, 8) if small else (3, 16))
    for name, run in dict(search=a_search(device, width, 16), **{f: a_training(device, width, f, 8) for f in FRAMEWORKS}).items():
        for _ in range(1 if small else 6): next(run)
        with waits_counted(device) as seen:
            for _ in range(n): next(run)
        found[name] = dict(a_step=len(seen)/n, where=sorted(set(seen)))
    return found


def checks(device, small):
    "Name -> what to call"
    found = dict(search=lambda: check_search(device, small), merged=lambda: check_merged(device, small), scores=lambda: check_scores(device, small), waits=lambda: check_waits(device, small))
    found['alone'] = lambda: check_alone(device, small)
    for strategy in SEARCHES: found[f'strategy {strategy}'] = lambda s=strategy: check_strategy(device, s, small)
    for framework in FRAMEWORKS:
        for conditional in (False, True): found[f"{framework}{' conditional' if conditional else ''}"] = lambda f=framework, c=conditional: check_training(device, f, c, small)
    return found


# ---- times

def roofs(device, small):
    "What the device can do: bytes copied, and operations of a large matrix product, a second"
    n, megabytes = (256, 8) if small else (8192, 1024)
    x = torch.empty(megabytes*2**18, device=device).normal_()
    y = torch.empty_like(x)
    found = dict(copy=2*x.numel()*4/seconds(lambda: y.copy_(x), device, 9))
    for name, dtype, tf32 in (('float32', torch.float32, False), ('tf32', torch.float32, True), ('bf16', torch.bfloat16, False)):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, tf32
        try: found[name] = 2*n**3/seconds(lambda: a @ b, device, 9)
        finally: torch.backends.cuda.matmul.allow_tf32 = before
    return found


def able(amp, device):
    "Can the search compute in this?"
    try: check_amp(amp, device)
    except UserError: return False
    return True


def measured(run, device, small):
    "Seconds of a step, of the first ones together, and memory"
    start = time.perf_counter()
    for _ in range(1 if small else 6): next(run)
    wait(device)
    first = time.perf_counter() - start
    return dict(first_steps=first, seconds=seconds(lambda: next(run), device, 1 if small else 15), peak=peak_memory(lambda: next(run), device), given_up=given_up(run))


def search_time(device, small, width, amp='off', compile=None, joint=False, recorded=True):
    "Seconds and memory of a search step; `compile`: torch.compile's mode for the network"
    run = a_search(device, width, 8 if small else 64, amp=amp, joint=joint)
    if compile: run.net.compile(mode=compile)
    return dict(width=width, amp=amp, compile=compile, joint=joint, recorded=recorded) | measured(run if recorded else unrecorded(run), device, small)


def plain_time(device, small, width):
    "Seconds and memory of the same step op by op, with two full backwards, as DARTS-like code computes it (float32, torch's own settings)"
    batch = 8 if small else 64
    ours = a_search('cpu', width, batch)
    net = PlainSuperGenerator(width)
    same_weights(net, ours.net)
    plain = PlainSearch(net.to(device), ours.latents.z[:batch].to(device), ours.images.batch(slice(batch)).contiguous().to(device))
    return dict(width=width, seconds=seconds(plain.step, device, 1 if small else 9), peak=peak_memory(plain.step, device))


def gan_time(device, small, width, framework='ctgan', amp='off', recorded=True):
    "Seconds and memory of a whole step (critic updates and the generator's) and of one critic update"
    run = a_training(device, width, framework, 8 if small else 64, amp=amp)
    if not recorded: unrecorded(run)
    found = dict(width=width, framework=framework, amp=amp, recorded=recorded, n_critic=run.config.n_critic) | measured(run, device, small)
    return found | dict(critic=seconds(lambda: run.critic_step(0), device, 1 if small else 15))


def plain_critic_time(device, small, width):
    "Seconds of CT-GAN's critic update in its script's order of passes"
    batch = 8 if small else 64
    run = a_training(device, width, 'ctgan', batch)
    plain = PlainCritic(width, run.masks['dropout']).to(device)
    same_critic(plain, run.critic)
    step, real = PlainCriticStep(plain), run.real(run.real_index(0)).contiguous()
    fake = torch.rand(real.shape, device=device)*2 - 1
    return dict(width=width, seconds=seconds(lambda: step.step(real, fake), device, 1 if small else 15))


def times(device, small):
    "(kind, what to call), the most wanted first"
    widths = (8,) if small else (32, 64, 128)
    modes, products = [amp for amp in AMP if able(amp, device)], [amp for amp in ('off', 'tf32') if able(amp, device)]
    wide = widths[-1]
    rows = [('roofs', lambda: roofs(device, small))]
    rows += [('search', lambda w=w, a=a: search_time(device, small, w, a)) for w in reversed(widths) for a in modes]
    rows += [('plain_search', lambda w=w: plain_time(device, small, w)) for w in reversed(widths)]
    rows += [('gan', lambda w=w, a=a: gan_time(device, small, w, amp=a)) for w in reversed(widths) for a in products]
    rows += [('plain_critic', lambda w=w: plain_critic_time(device, small, w)) for w in reversed(widths)]
    rows += [('search', lambda w=w: search_time(device, small, w, joint=True)) for w in reversed(widths)]
    rows += [('gan', lambda f=f: gan_time(device, small, widths[0], f)) for f in FRAMEWORKS if f != 'ctgan']
    if device.type == 'cuda':
        rows += [('search', lambda w=w, a=a: search_time(device, small, w, a, recorded=False)) for w in (wide, 32) for a in modes]
        rows += [('gan', lambda w=w: gan_time(device, small, w, recorded=False)) for w in (wide, 32)]
        rows += [('search', lambda a=a, r=r: search_time(device, small, 32, a, 'default', recorded=r)) for a in modes[:1] for r in (True, False)]
    return rows


# ---- the record

def attempt(do):
    "What a call gives, or the last line of its error: one thing that fails must not take the rest along, nor leave its memory"
    gc.collect()
    if torch.cuda.is_available(): torch.cuda.empty_cache()
    try: return do()
    except Exception as e: return dict(error=f'{type(e).__name__}: {" ".join(str(e).split())[:300]}', at=str(traceback.extract_tb(e.__traceback__)[-1])[:200])


def foreseen(found):
    "Hours that the paper's search and CT-GAN's training would take at full width"
    best = {}
    for row in found.get('search', []):
        if 'seconds' in row and row['width'] == 128 and not row['joint'] and row['recorded']: best[row['amp']] = row['seconds']*PAPER_STEPS/3600
    gan = {row['amp']: CTGAN_STEPS*(row['critic']*5 + row['seconds'] - row['n_critic']*row['critic'])/3600 for row in found.get('gan', []) if 'seconds' in row and row['width'] == 128 and row['framework'] == 'ctgan' and row['recorded']}
    return dict(search_hours=best, ctgan_hours=gan)


def main(argv:list[str]|None=None)->dict:
    "Measure, write the record as it grows, print it"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--minutes', type=float, default=9.)
    parser.add_argument('--small', action='store_true')
    parser.add_argument('--out', type=Path, default=Path(__file__).with_name('gpu.json'))
    args = parser.parse_args(argv)
    device, end = torch.device(args.device), time.monotonic() + 60*args.minutes
    found = dict(about=about(device), checks={}, left_out=[])

    def keep(): args.out.write_text(json.dumps(found, indent=1) + '\n')

    for name, do in checks(device, args.small).items():
        found['checks'][name] = attempt(do)
        print(f'{name:20}', found['checks'][name], flush=True)
        keep()
    for i, (kind, do) in enumerate(times(device, args.small)):
        if time.monotonic() > end:
            found['left_out'].append(f'row {i} ({kind})')
            continue
        row = attempt(do)
        if kind == 'roofs': found[kind] = row
        else: found.setdefault(kind, []).append(row)
        print(f'{kind:20}', row, flush=True)
        keep()
    found['foreseen'] = foreseen(found)
    print('foreseen', found['foreseen'], flush=True)
    keep()
    return found


if __name__ == '__main__': main()
