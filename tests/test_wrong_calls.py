"""What a reader calls wrongly in a notebook: three hundred calls and more of search, judge, GAN, views and app, each a `UserError` of one line, and nothing written."""
import importlib
import inspect
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

import degas_nb
from degas_nb.app.main import help_of, main, parse
from degas_nb.app.page import dashboard_page
from degas_nb.app.report import Report, alpha_chart, card, demo_report, line_chart, run_report, toy_runs
from degas_nb.gan.critic import ConvMeanPool, CriticBlock, DCGANCritic, Dropout, ResNetCritic, spectral_norm_
from degas_nb.gan.frameworks import consistency, find_framework, framework, gradient_penalty, slopes
from degas_nb.gan.training import GANConfig, GANTraining, average_, draw_images, trained_generator
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError, _fits
from degas_nb.judge.bench import STRATEGIES, World, ask, compare, everything, lot_losses, rank
from degas_nb.judge.extractors import (FIDInception, ImageNetFeatures, InceptionFeatures, ModuleFeatures, find_extractor, named_extractor, prepare_pytorch,
                                       prepare_tf1, resize_tf1, tf1_weights)
from degas_nb.judge.features import Recipe, SmallClassifier, extract, jitter, small_features, train_classifier
from degas_nb.judge.metrics import Moments, Statistics, describe_images, frechet_distance, inception_score, kernel_distance, kid, score_images
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.search.decide import Asked, decide, decision_rule
from degas_nb.search.glo import Gaussian, Latents, pca_init, principal_axes, random_init, to_ball, to_sphere
from degas_nb.search.mixed import MixedOp, candidates
from degas_nb.search.prune import explain_in, explain_prune, mixing_weights, prune, pruning_rule
from degas_nb.search.pyramid import band_means, collapse, lap1, laplacian_pyramid, pyramid_kernel, reconstruction_loss
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from degas_nb.search.supernet import SuperGenerator, alone, by_name
from degas_nb.space.genotype import DEGAS, Genotype
from degas_nb.space.ops import batch_norm
from degas_nb.views.be_the_search import BeTheSearch, predicted
from degas_nb.views.dashboard import Dashboard, Desk
from degas_nb.views.explore import edit_genotype, explore_mixture, explore_prune, explore_pyramid
from degas_nb.views.live import live
from degas_nb.views.planes import arc, explore_frechet, explore_latents, explore_penalty, main_plane
from degas_nb.views.replay import replay, scrub, watch
from degas_nb.views.widgets import AlphaView, Board, Curve

NAN, INF = math.nan, math.inf
COUNT = [None, 'x', '3', 0, -1, 1.5, True, NAN]          # what is no number of things
WORD = [None, 3, '', 'nothing', ['x'], True]             # what is no name
TENSOR = [None, 'x', 3, [1., 2.], np.zeros(3)]           # what is no tensor
THING = [None, 'x', 3, []]                               # what is nothing of ours
PATH = [None, 3, 1.5, [], {}]                            # what is no path
FLOATS, BYTES, FEATURES = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.rand(6, 4)
WEIGHTS = {e.name: {op: 1/len(DEGAS.ops(e)) for op in DEGAS.ops(e)} for e in DEGAS.edges}
RNG = torch.Generator()


class Lazily(dict):
    "Made when it is first asked for, once."
    def __init__(self, **makers): self.makers = makers
    def __missing__(self, key): return self.setdefault(key, self.makers[key]())


MADE = Lazily(
    images=lambda: load('emoji', limit=32),
    found=lambda: Genotype.named('cifar10_paper'),
    search=lambda: Search.from_config(MADE['images'], SearchConfig(epochs=1, width=4, batch_size=8, z_dim=4)),
    training=lambda: GANTraining.from_config(MADE['images'], replace(GANConfig(), batch_size=8, width=4, z_dim=4), MADE['found']),
    conditional=lambda: GANTraining.from_config(load('emoji', limit=200), replace(GANConfig(), batch_size=8, width=4, z_dim=4, conditional=True), MADE['found']),
    game=lambda: degas_nb.judge.bench.game('emoji'))

CALLS = {}                                               # name of the argument -> (call with one value, values)


def wrong(name, call, values): CALLS[name] = (call, values)


# ---- search

for field in 'epochs', 'batch_size', 'width', 'z_dim', 'img_size':
    wrong(f'SearchConfig {field}', lambda v, f=field: SearchConfig(**{f: v}), COUNT)
for field in 'lr', 'z_lr', 'alpha_lr', 'lr_end', 'held_out':
    wrong(f'SearchConfig {field}', lambda v, f=field: SearchConfig(**{f: v}), [None, 'x', -1, NAN, INF, True])
for field in 'optimiser', 'z_init', 'surface', 'relaxation', 'impl', 'amp':
    wrong(f'SearchConfig {field}', lambda v, f=field: SearchConfig(**{f: v}), WORD)
wrong('SearchConfig.paper', SearchConfig.paper, WORD)
wrong('SearchConfig.from_dict', SearchConfig.from_dict, [None, 'x', 3, [], {'epochs': 1.5}, {'foo': 1}])
wrong('Search images', lambda v: Search.from_config(v), [*THING, BYTES])
wrong('Search config', lambda v: Search.from_config(MADE['images'], v), [None, 'x', {}, GANConfig()])
wrong('Search space', lambda v: Search.from_config(MADE['images'], SearchConfig(width=4, batch_size=8), v), [None, 'degas', {}])
wrong('Search device', lambda v: Search.from_config(MADE['images'], SearchConfig(width=4, batch_size=8), device=v), ['banana', None, 'cuda:99'])
wrong('Search batch', lambda v: Search.from_config(MADE['images'], SearchConfig(width=4, batch_size=v)), [33])
wrong('Search.load path', lambda v: Search.load(v, None), [*PATH, 'nowhere'])
wrong('Search.sample', lambda v: MADE['search'].sample(v), COUNT)
wrong('Search.sample rng', lambda v: MADE['search'].sample(2, v), ['x', 3])
wrong('Search.reconstruct', lambda v: MADE['search'].reconstruct(v), [*TENSOR, torch.tensor([32]), torch.tensor([-1]), torch.tensor([.5]), torch.zeros(2, 2).long()])
wrong('Search.replan', lambda v: MADE['search'].replan(**v), [dict(epochs='x'), dict(lr=NAN), dict(width=8), dict(epochs=0)])
wrong('Search.save', lambda v: MADE['search'].save(v), PATH)
wrong('decide search', decide, [*THING, 'runs/demo'])
wrong('decide how', lambda v: decide(MADE['search'], v), [v for v in WORD if v is not None])
wrong('decide budget', lambda v: decide(MADE['search'], 'alpha', v), COUNT)
wrong('Asked', Asked, THING)
wrong('Asked n_images', lambda v: Asked(MADE['search'], v), COUNT)
wrong('decision_rule', decision_rule, [None, 3, type('R', (), {'__name__': 'alpha'})()])
wrong('prune', prune, [None, 'x', 3, [1], {}, WEIGHTS | {'s0-s1': {}}, WEIGHTS | {'s0-s1': None}])
wrong('prune rule', lambda v: prune(WEIGHTS, rule=v), WORD)
wrong('prune which', lambda v: prune(WEIGHTS, which=v), WORD)
wrong('explain_prune space', lambda v: explain_prune(WEIGHTS, v), [None, 'degas', {}])
wrong('mixing_weights', mixing_weights, [None, 'x', [1], {'a': 1}, {'a': {'b': 'c'}}, {'a': {'b': NAN}}, {'a': {'b': INF}}])
wrong('explain_in', explain_in, [*PATH, 'nowhere'])
wrong('pruning_rule', pruning_rule, [None, 3, type('R', (), {'__name__': 'two_stage'})()])
wrong('laplacian_pyramid', laplacian_pyramid, [*TENSOR, FLOATS[0], torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 8, 16), FLOATS.long()])
wrong('laplacian_pyramid n_levels', lambda v: laplacian_pyramid(FLOATS, v), COUNT)
wrong('laplacian_pyramid kernel', lambda v: laplacian_pyramid(FLOATS, kernel=v), WORD)
wrong('collapse', collapse, [None, 'x', 3, [], [1], [None]])
wrong('collapse kernel', lambda v: collapse([FLOATS], v), [*WORD, 'minimal_glo'])
wrong('band_means', band_means, TENSOR)
wrong('lap1', lambda v: lap1(FLOATS, v), [*TENSOR, FLOATS[:1]])
wrong('reconstruction_loss', lambda v: reconstruction_loss(v, FLOATS), [*TENSOR, FLOATS[:1]])
wrong('pyramid_kernel', lambda v: pyramid_kernel(type('K', (), {'__name__': v})()), ['binomial'])
wrong('to_sphere', to_sphere, [*TENSOR, torch.zeros(3), torch.zeros(0, 3), torch.zeros(2, 2).long()])
wrong('to_ball', to_ball, [*TENSOR, torch.zeros(3)])
wrong('random_init n', lambda v: random_init(v, 4), COUNT)
wrong('random_init z_dim', lambda v: random_init(4, v), COUNT)
wrong('principal_axes', lambda v: principal_axes(v, 2), [*TENSOR, torch.zeros(0, 3, 4, 4), torch.zeros(3, 3)])
wrong('principal_axes n_axes', lambda v: principal_axes(BYTES, v), [*COUNT, 10**5])
wrong('pca_init', lambda v: pca_init(v, 4), [*THING, torch.zeros(3)])
wrong('pca_init z_dim', lambda v: pca_init(BYTES, v), COUNT)
wrong('Gaussian.fit', Gaussian.fit, [*TENSOR, torch.zeros(0, 3), torch.zeros(3)])
wrong('Gaussian.sample', lambda v: Gaussian.fit(torch.randn(4, 3)).sample(v), COUNT)
wrong('Latents n', lambda v: Latents(v, 4, 'random'), COUNT)
wrong('Latents init', lambda v: Latents(2, 4, v), WORD)
wrong('Latents surface', lambda v: Latents(2, 4, 'random', surface=v), WORD)
wrong('MixedOp', MixedOp, [*THING, {'a': 3}])
wrong('candidates kind', lambda v: candidates(v, 4, batch_norm()), WORD)
wrong('candidates width', lambda v: candidates('normal', v, batch_norm()), COUNT)
wrong('candidates norm', lambda v: candidates('normal', 4, v), [None, 3, 'x'])
wrong('candidates names', lambda v: candidates('normal', 4, batch_norm(), 1, v), ['conv_1', 3, ['nothing'], [None]])
wrong('SuperGenerator size', lambda v: SuperGenerator(img_size=v), COUNT + [33])
wrong('SuperGenerator impl', lambda v: SuperGenerator(width=4, impl=v), WORD)
wrong('alone', lambda v: alone(v, MADE['found']), THING)
wrong('alone genotype', lambda v: alone(MADE['search'].net, v), THING)
wrong('by_name', lambda v: by_name(DEGAS, v), [*THING, {}, {'normal': 3}])
wrong('Reconstruction images', lambda v: Reconstruction.from_config(v), [*THING, BYTES])
wrong('Reconstruction config', lambda v: Reconstruction.from_config(MADE['images'], v), [None, 'x', {}, SearchConfig()])
wrong('Reconstruction genotype', lambda v: Reconstruction.from_config(MADE['images'], ReconstructionConfig(batch_size=8, width=4), v), [None, 'cifar10_paper', {}])
wrong('ReconstructionConfig epochs', lambda v: ReconstructionConfig(epochs=v), COUNT)

# ---- judge

wrong('Moments', Moments, COUNT)
wrong('Moments.of', Moments.of, [None, 'x', 3, torch.zeros(3), torch.full((2, 2), NAN), torch.zeros(2, 0)])
wrong('Moments.merge', lambda v: Moments(2).merge(v), [*THING, Moments(3)])
wrong('Statistics.load', Statistics.load, [*PATH, 'nowhere.npz'])
wrong('Statistics.save', lambda v: Statistics(2).save(v), [*PATH, 'x.txt', 'nowhere/x.npz'])
wrong('frechet_distance', lambda v: frechet_distance(FEATURES, v), [None, 'x', 3, FEATURES[:1], FEATURES[:, :2], FEATURES*NAN])
wrong('inception_score', inception_score, [None, 'x', 3, FEATURES[0], FEATURES*NAN, FEATURES[:3]])
wrong('inception_score splits', lambda v: inception_score(FEATURES, splits=v), [*COUNT, 7])
wrong('inception_score probs', lambda v: inception_score(v, 2, probs=True), [FEATURES, -FEATURES, FEATURES*3])
wrong('kernel_distance', lambda v: kernel_distance(FEATURES, v), [*TENSOR, FEATURES[:1], FEATURES[:, :2], FEATURES[0]])
wrong('kid', lambda v: kid(FEATURES, v, RNG), [None, 'x', 3, FEATURES[:1], FEATURES[:, :2], FEATURES*NAN])
wrong('kid rng', lambda v: kid(FEATURES, FEATURES, v), [None, 3, 'x'])
wrong('kid subsets', lambda v: kid(FEATURES, FEATURES, RNG, v), COUNT)
wrong('kid size', lambda v: kid(FEATURES, FEATURES, RNG, 2, v), ['x', 0, -1, 1.5, True, 7, NAN])
wrong('score_images fake', lambda v: score_images(v, MADE['images'], eyes()), [*TENSOR, FLOATS])
wrong('score_images real', lambda v: score_images(BYTES, v, eyes()), [*THING, BYTES])
wrong('score_images extractor', lambda v: score_images(BYTES, MADE['images'], v), THING)
wrong('score_images splits', lambda v: score_images(BYTES, MADE['images'], eyes(), v), COUNT)
wrong('score_images batch_size', lambda v: score_images(BYTES, MADE['images'], eyes(), batch_size=v), COUNT)
wrong('score_images rng', lambda v: score_images(BYTES, MADE['images'], eyes(), rng=v), ['x', 3])
wrong('describe_images', lambda v: describe_images(v, eyes()), [*TENSOR, FLOATS])
wrong('describe_images extractor', lambda v: describe_images(BYTES, v), THING)
wrong('extract', lambda v: [*extract(v, BYTES)], THING)
wrong('extract pixels', lambda v: [*extract(eyes(), v)], [*TENSOR, FLOATS, BYTES[0]])
wrong('extract batch_size', lambda v: [*extract(eyes(), BYTES, v)], COUNT)
wrong('SmallClassifier', SmallClassifier, COUNT)
wrong('Recipe epochs', lambda v: Recipe(epochs=v), COUNT)
wrong('Recipe held_out', lambda v: Recipe(held_out=v), [None, 'x', 0, 1, -1, NAN, True])
wrong('Recipe lr', lambda v: Recipe(lr=v), [None, 'x', -1, NAN, INF])
wrong('jitter', lambda v: jitter(FLOATS, v, RNG), [None, 'x', -1, 1.5, True])
wrong('train_classifier', train_classifier, [*THING, BYTES])
wrong('train_classifier recipe', lambda v: train_classifier(MADE['images'], v), [None, 'x', 3])
wrong('small_features', small_features, [*THING, BYTES])
wrong('small_features cache', lambda v: small_features(MADE['images'], cache=v), [3, 1.5, []])
wrong('tf1_weights', lambda v: tf1_weights(v, 3), COUNT)
wrong('resize_tf1', resize_tf1, [*TENSOR, FLOATS[0], BYTES])
wrong('resize_tf1 size', lambda v: resize_tf1(FLOATS, v), COUNT)
wrong('prepare_tf1', prepare_tf1, TENSOR)
wrong('prepare_pytorch', prepare_pytorch, TENSOR)
wrong('InceptionFeatures resize', lambda v: InceptionFeatures({}, v), WORD)
wrong('FIDInception', FIDInception, [3, 1.5, 'nowhere.pth', []])
wrong('ImageNetFeatures', ImageNetFeatures, ['banana', 'cuda:99', None])
wrong('ModuleFeatures', lambda v: ModuleFeatures(v, 'mine', 4), THING)
wrong('ModuleFeatures name', lambda v: ModuleFeatures(torch.nn.Identity(), v, 4), [None, 3, '', 'fid', 'small', ['x']])
wrong('ModuleFeatures dim', lambda v: ModuleFeatures(torch.nn.Identity(), 'mine', v), COUNT)
wrong('find_extractor', find_extractor, WORD)
wrong('find_extractor labelled', lambda v: find_extractor('small', labelled=v), [None, 'emoji', 3])
wrong('named_extractor', lambda v: named_extractor(v)(None), [None, 3, 'small', ['x']])
wrong('ask', ask, THING)
wrong('ask data', lambda v: ask(MADE['found'], v), WORD)
wrong('ask target', lambda v: ask(MADE['found'], target=v), WORD)
wrong('rank', rank, THING)
wrong('lot_losses', lot_losses, WORD)
wrong('everything', everything, WORD)
wrong('compare strategies', lambda v: compare(v, evaluations=2, seeds=1), [[], 'x', 3, {'mine': None}])
wrong('compare given', lambda v: compare({}, v, evaluations=2, seeds=1), [[], 'x', 3, {'mine': 3}, {'mine': ['x']}])
wrong('compare on', lambda v: compare(on=v), WORD)
wrong('compare evaluations', lambda v: compare(evaluations=v, seeds=1), COUNT)
wrong('compare seeds', lambda v: compare(evaluations=2, seeds=v), COUNT)
wrong('World', lambda v: World('cifar10', v, 3, np.random.default_rng(0)), WORD)
wrong('World rng', lambda v: World('cifar10', 'table', 3, v), [None, 3, RNG])
wrong('Race.table', lambda v: compare({'r': STRATEGIES['table']['random search']}, on='table', evaluations=2, seeds=1).table(v), [None, 3, 'x', ('x',)])

# ---- GAN

for field in 'steps', 'batch_size', 'fake_ratio', 'n_critic', 'width', 'z_dim':
    wrong(f'GANConfig {field}', lambda v, f=field: GANConfig(**{f: v}), [v for v in COUNT if v is not None])
for field in 'framework', 'optimiser', 'init', 'z_ratio', 'amp':
    wrong(f'GANConfig {field}', lambda v, f=field: GANConfig(**{f: v}), [v for v in WORD if v is not None])
wrong('GANConfig betas', lambda v: GANConfig(betas=v), [3, 'xx', (1,), (0, 1), (NAN, .5), ('x', 'y'), [0], (0, .5, .5)])
wrong('GANConfig ema', lambda v: GANConfig(ema=v), ['x', 1, -1, NAN, True])
wrong('GANConfig.paper', GANConfig.paper, WORD)
wrong('GANConfig.teaching', GANConfig.teaching, WORD)
wrong('GANConfig.from_dict', GANConfig.from_dict, [None, 'x', 3, [], {'foo': 1}, {'betas': 3}, {'betas': None}, {'steps': 'x'}])
wrong('GANTraining images', lambda v: GANTraining.from_config(v, GANConfig(), MADE['found']), [None, 3, [], BYTES])
wrong('GANTraining config', lambda v: GANTraining.from_config(MADE['images'], v, MADE['found']), [None, 'x', {}, SearchConfig()])
wrong('GANTraining spec', lambda v: GANTraining.from_config(MADE['images'], GANConfig(batch_size=8, width=4), v), [None, 3, [], {}, 'nothing', 'cifar10'])
wrong('GANTraining device', lambda v: GANTraining.from_config(MADE['images'], GANConfig(batch_size=8, width=4), MADE['found'], v), ['banana', None])
wrong('GANTraining.continued', lambda v: GANTraining.continued(MADE['images'], GANConfig(), v), [*PATH, 'nowhere'])
wrong('GANTraining.load', lambda v: GANTraining.load(v, None), [*PATH, 'nowhere'])
wrong('GANTraining.sample', lambda v: MADE['training'].sample(v), COUNT)
wrong('GANTraining.sample labels', lambda v: MADE['conditional'].sample(2, labels=v), ['x', [0, 1], torch.tensor([0]), torch.tensor([0, 99]), torch.tensor([0, -1]), torch.tensor([.5, .5])])
wrong('GANTraining.sample labels of none', lambda v: MADE['training'].sample(2, labels=v), [torch.tensor([0, 1])])
wrong('GANTraining.sample statistics', lambda v: MADE['training'].sample(2, statistics=v), WORD)
wrong('draw_images', lambda v: draw_images(v, 2, RNG), [*THING, torch.nn.Identity()])
wrong('draw_images rng', lambda v: draw_images(MADE['training'].generator, 2, v), [None, 3, 'x'])
wrong('draw_images batch_size', lambda v: draw_images(MADE['training'].generator, 2, RNG, batch_size=v), COUNT)
wrong('trained_generator', trained_generator, [*PATH, 'nowhere'])
wrong('average_ decay', lambda v: average_(torch.nn.Identity(), torch.nn.Identity(), v), [None, 'x', -1, 2, NAN])
wrong('ConvMeanPool', lambda v: ConvMeanPool(v, 2), COUNT)
wrong('CriticBlock', lambda v: CriticBlock(2, v), COUNT)
wrong('Dropout', Dropout, [None, 'x', -1, 1, NAN, True])
wrong('ResNetCritic size', lambda v: ResNetCritic(v, 4), [*COUNT, 20])
wrong('ResNetCritic dropout', lambda v: ResNetCritic(32, 4, v), [3, 'x', (.5,), (2, 2, 2)])
wrong('ResNetCritic pool', lambda v: ResNetCritic(32, 4, pool=v), WORD)
wrong('DCGANCritic width', lambda v: DCGANCritic(32, v), COUNT)
wrong('spectral_norm_', spectral_norm_, THING)
wrong('find_framework', find_framework, WORD)
wrong('framework', lambda v: framework(v)(type('F', (), {})), [None, 3, 'ctgan', ['x']])
wrong('slopes', lambda v: slopes(v, FLOATS), THING)
wrong('gradient_penalty', lambda v: gradient_penalty(torch.nn.Identity(), v, FLOATS), TENSOR)
wrong('consistency', lambda v: consistency(v, v), TENSOR)

# ---- views and app

wrong('Curve', Curve, [None, 'x', 0, 1, -1, 1.5])
wrong('Board.push step', lambda v: Board().push(v), [None, 'x', 1.5, NAN])
wrong('Board.push weights', lambda v: Board().push(1, v), ['x', 3, [1]])
wrong('Board.push samples', lambda v: Board().push(1, samples=v), ['x', 3, np.zeros((2, 2)), np.zeros((2, 2, 3))])
wrong('AlphaView.push', lambda v: AlphaView().push(v), [None, 'x', 1.5])
wrong('Desk.add', lambda v: Desk().add(v), [None, 'x', 1.5])
wrong('Dashboard decide', lambda v: Dashboard(v), ['x', 3, {}])
wrong('Dashboard.push pictures', lambda v: Dashboard().push(1, pictures=v), ['x', 3, {'a': 3}])
wrong('Dashboard.push losses', lambda v: Dashboard().push(1, losses=v), ['x', 3, [1]])
wrong('replay', replay, [*PATH, 'nowhere'])
wrong('scrub', scrub, [*PATH, 'nowhere'])
wrong('watch', watch, [*PATH, 'nowhere'])
wrong('live', live, [None, 'x', 3, [], object()])
wrong('live dashboard', lambda v: live(MADE['search'], v, show=False), ['x', 3, {}])
wrong('live folder', lambda v: live(MADE['search'], folder=v, show=False), [3, 1.5, []])
wrong('live save_every', lambda v: live(MADE['search'], save_every=v, show=False), [None, 'x', -1, NAN])
wrong('live pictures', lambda v: live(MADE['search'], pictures=v, show=False), ['x', 3])
wrong('predicted', lambda v: predicted(v, {}), [None, 'x', 3])
wrong('BeTheSearch', lambda v: BeTheSearch(MADE['game'], v), [None, 'x', {}, {'s0-s9': 'conv_1'}, {'s0-s1': 'nothing'}])
wrong('explore_mixture', lambda v: explore_mixture(v, ['a']), [None, 3, 'x'])
wrong('explore_pyramid', lambda v: explore_pyramid(np.zeros((8, 8, 3)), v, v), [None, 3, 'x'])
wrong('explore_prune', lambda v: explore_prune(v, {}, None, None), [None, 3, 'x'])
wrong('edit_genotype', lambda v: edit_genotype(v, lambda x: ('', '')), [None, 3, 'x'])
wrong('explore_latents', lambda v: explore_latents(v, lambda z: z), [None, 'x', np.zeros(3), np.full((3, 3), NAN)])
wrong('explore_penalty', lambda v: explore_penalty(v, v, np.zeros((3, 2)), np.zeros((3, 2)), {}), [None, 3, 'x'])
wrong('explore_frechet', explore_frechet, [None, 3, 'x'])
wrong('main_plane', main_plane, [None, 'x', np.zeros((3, 2)), np.zeros(3), [[1, 2]]])
wrong('arc', lambda v: arc(v, np.ones(2), .5), [None, 'x', 3])
wrong('card', lambda v: card('a', 1, v), ['', None, 3])
wrong('line_chart', lambda v: line_chart(v, 'a'), [None, 3, 'x', []])
wrong('alpha_chart', alpha_chart, [None, 3, 'x'])
wrong('Report', Report, [None, 3, []])
wrong('Report.write', lambda v: Report('a').write(v), [*PATH, '', '.', 'file/x.html'])
wrong('run_report', run_report, [*PATH, 'nowhere'])
wrong('demo_report', lambda v: demo_report(v, 'nowhere', 'x.html'), [*PATH, 'nowhere'])
wrong('toy_runs', toy_runs, PATH)
wrong('help_of', help_of, WORD)
wrong('parse', lambda v: parse(v, []), WORD)
wrong('parse argv', lambda v: parse('prune', v), [None, 3, 'x'])
wrong('main', main, [3, 'demo', {}])
wrong('dashboard_page', dashboard_page, PATH)


def eyes(): return ModuleFeatures(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3*32*32, 4)), 'mine', 4)


def said(call, value):
    "The sentence of a wrong call, or what came instead."
    try: made = call(value)
    except UserError as e: return str(e)
    except BaseException as e: return e
    return f'nothing: {made!r:.60}'.splitlines()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    "A folder with one file that is none."
    (tmp_path/'file').write_text('x')
    monkeypatch.chdir(tmp_path)
    yield
    assert [p.name for p in tmp_path.rglob('*')] == ['file']


@pytest.mark.parametrize('name', CALLS)
def test_a_wrong_call_is_one_line(name, nowhere):
    call, values = CALLS[name]
    for value in values:
        line = said(call, value)
        assert isinstance(line, str) and 15 < len(line) < 700 and '\n' not in line and ' at 0x' not in line, (value, line)


# ---- every public name

ROOT = Path(degas_nb.__file__).parent
MODULES = sorted('.'.join(p.relative_to(ROOT).with_suffix('').parts) for p in ROOT.rglob('*.py') if not p.stem.startswith('_'))
METHODS = {'ImageSource': ('load', 'about'), 'Report': ('add',), 'Trace': ('append', 'truncate'), 'Ranks': ('own', 'share', 'part'), 'Picture': ('save',), 'Mixed': ('subset',), 'Asked': ('loss',), 'DemoCommand': ('part',)}   # which look at their arguments before anything else
KINDS_OF = {int: 1, float: 1., str: 'x', bool: False, Path: Path('x'), type(None): None, bytes: b'', Callable: lambda *a, **k: None}
ODD = [None, 'x', 3, 1.5, True, [], object(), b'x']


def of_kind(hint):
    "A value of the kind that an annotation names, and no more than that."
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType): return of_kind(parts[0])
    if kind is Literal: return parts[0]
    if kind in KINDS_OF: return KINDS_OF[kind]
    if kind is tuple: return tuple(of_kind(p) for p in parts if p is not ...)
    if kind is torch.Tensor: return torch.zeros(2, 3, 8, 8)
    if kind is torch.nn.Module: return torch.nn.Identity()
    if kind in (Iterable, Iterator): return iter(())
    if kind in (dict, list, torch.Generator): return kind()
    try: return kind.__new__(kind)
    except Exception: return None


def callables(module):
    "Every function, class and class method that stands in `__all__`."
    found = importlib.import_module(f'degas_nb.{module}')
    for name in found.__all__:
        value = getattr(found, name)
        if inspect.isfunction(value): yield name, value, value
        if not inspect.isclass(value) or issubclass(value, BaseException): continue
        if '__init__' in vars(value) or hasattr(value, '__dataclass_fields__'): yield name, value, value.__init__
        for inner, method in vars(value).items():
            if isinstance(method, (classmethod, staticmethod)) and not inner.startswith('_'): yield f'{name}.{inner}', getattr(value, inner), getattr(value, inner)
        for inner in METHODS.get(name, ()): yield f'{name}.{inner}', getattr(value.__new__(value), inner), getattr(value, inner)


def odd_calls(call, annotated):
    "Calls in which one argument is of another kind than its annotation says, and the others are of theirs."
    hints = get_type_hints(inspect.unwrap(annotated))
    takes = [p for p in inspect.signature(call).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for p in takes:
        for odd in ODD if hints.get(p.name, object) is not object else ():
            if _fits(odd, hints[p.name]): continue
            values = {q.name: of_kind(hints.get(q.name, object)) for q in takes if q.default is q.empty} | {p.name: odd}
            yield f'{p.name}={odd!r:.20}', [values.pop(q.name) for q in takes if q.kind is q.POSITIONAL_ONLY], values


@pytest.mark.parametrize('module', MODULES)
def test_no_public_name_ends_in_a_traceback(module, nowhere, monkeypatch):
    "Whatever stands in `__all__`: what is no such argument is a sentence, or does no harm (a record of plain values keeps what it is given)."
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    wrong = []
    for name, call, annotated in callables(module):
        for said, first, values in odd_calls(call, annotated):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                try: call(*first, **values)
                except UserError as e: line = str(e)
                except BaseException as e: line = wrong.append(f'{name}({said}): {type(e).__name__}: {e}')
                else: continue
            if line is None: continue
            if not (15 < len(line) < 700 and line.isprintable() and ' at 0x' not in line): wrong.append(f'{name}({said}): {line}')
    assert not wrong, '\n'.join(wrong)


def test_there_are_three_hundred(): assert sum(len(values) for _, values in CALLS.values()) >= 300


if __name__ == '__main__':   # what is still wrong
    os.chdir('/tmp')
    n = 0
    for name, (call, values) in CALLS.items():
        for value in values:
            n += 1
            if not isinstance(line := said(call, value), str): print(name, repr(value)[:40].replace('\n', ' '), '->', repr(line)[:170].replace('\n', ' '))
    print(n, 'calls')
