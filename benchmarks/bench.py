"""`make bench`: every figure is a ratio of two things measured in turns in one process; medians, on this machine, now.

Writes benchmarks/results.json and prints the table. Nothing else may run meanwhile.
"""
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from torch.profiler import profile

sys.path.insert(0, str(Path(__file__).parent))
from baselines import PlainSearch, PlainSuperGenerator, same_weights
import dashboard
import gan_step
import scores
from measure import ConvolutionFlops, ROUNDS, best_matmul, in_turns, kept_bytes, machine

from degas_nb.ground.data import load
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.search.steps import bf16_on_cpu, reconstruction


def a_search(width, batch, **kw):
    "Our search and its baseline on the same images, weights and latents"
    images = load('emoji', limit=max(256, batch))
    ours = Search.from_config(images, SearchConfig(width=width, batch_size=batch, epochs=1000, **kw))
    plain = PlainSuperGenerator(width)
    same_weights(plain, ours.net)
    index = torch.arange(batch)
    return ours, PlainSearch(plain, ours.latents.z[index].clone(), images.batch(index).contiguous())


def arithmetic_rate(width, batch):
    ours, _ = a_search(width, batch)
    for _ in range(2): next(ours)
    with ConvolutionFlops() as counted: next(ours)
    rates, peak = [], best_matmul()
    for _ in range(ROUNDS):
        with profile() as profiled: next(ours)
        seconds = sum(e.cpu_time_total for e in profiled.key_averages() if e.key in ('aten::convolution', 'aten::convolution_backward'))/1e6
        rates.append(counted.flops/seconds)
    peak, rate = max(peak, best_matmul()), statistics.median(rates)
    return dict(name=f'operations a second in the convolutions of the search step, C={width}, batch {batch}', against='best matrix product on the same cores', baseline=peak, ours=rate, ratio=rate/peak)


def search_iteration(width, batch, **kw):
    "The mode is in `kw`, as `SearchConfig` names it"
    ours, plain = a_search(width, batch, **kw)
    slow, fast = in_turns(plain.step, lambda: next(ours))
    mode = ' '.join((['joint'] if kw.get('joint') else []) + [f"{kw['amp']} (the baseline is in float32)" if 'amp' in kw else 'eager'])
    return dict(name=f'search iteration, C={width}, batch {batch}, {mode}', against='plain sum of separate ops, default layout, two full backwards (as DARTS)', baseline=slow, ours=fast, ratio=slow/fast)


def strong_baseline(width, batch):
    ours, _ = a_search(width, batch)
    summed, _ = a_search(width, batch, impl='sum')
    slow, fast = in_turns(lambda: next(summed), lambda: next(ours))
    return dict(name=f'search iteration, C={width}, batch {batch}, eager', against='plain sum with one norm a node, channels_last and partial gradients', baseline=slow, ours=fast, ratio=slow/fast)


def memory(width, batch):
    ours, plain = a_search(width, batch)
    index = torch.arange(batch)
    less, more = kept_bytes(lambda: sum(reconstruction(ours.net, ours.latents, ours.images, index)[1].values()).mean()), kept_bytes(lambda: plain.loss(plain.z.clone().requires_grad_()))
    return dict(name=f'bytes kept for the backward pass of the weight step, C={width}, batch {batch}', against='plain sum', baseline=more, ours=less, ratio=less/more)


def import_time():
    def run(code): return lambda: subprocess.run([sys.executable, '-c', code], check=True)
    torch_, ours = in_turns(run('import torch'), run('import degas_nb'), rounds=7)
    return dict(name='import degas_nb', against='import torch', baseline=torch_, ours=ours, ratio=ours/torch_)


def main():
    rows = []
    modes = [dict(), dict(joint=True)] + [dict(amp='bf16'), dict(joint=True, amp='bf16')]*bf16_on_cpu()
    searches = [lambda c=c, b=b, kw=kw: search_iteration(c, b, **kw) for kw in modes for c, b in ((32, 64), (64, 32))]
    for bench in (*searches, lambda: strong_baseline(32, 64), lambda: memory(32, 64), lambda: arithmetic_rate(32, 64), import_time, *gan_step.ROWS, *scores.ROWS, *dashboard.ROWS):
        rows.append(bench())
        print(f"{rows[-1]['ratio']:6.2f}x  {rows[-1]['name']}  against  {rows[-1]['against']}", flush=True)
    Path(__file__).with_name('results.json').write_text(json.dumps(dict(machine=machine(), rounds=ROUNDS, rows=rows), indent=1) + '\n')


if __name__ == '__main__': main()
