"""Deciding: the rules on a small search, the commands that use them, and the studies behind the default."""
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from degas_nb.app import driving
from degas_nb.app.driving import command_lines
from degas_nb.app.main import main
from degas_nb.app.studies import STUDIES, study_of
from degas_nb.ground.data import load
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder
from degas_nb.ground.studies import read_records, study_page
from degas_nb.judge import bench
from degas_nb.search import decide as rules
from degas_nb.search.alternating import Batches, Search, SearchConfig
from degas_nb.search.decide import DECISIONS, Asked, decide
from degas_nb.search.prune import prune
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from degas_nb.search.supernet import SuperGenerator, alone, by_name, mixed
from degas_nb.space.choices import draw, network, number_of
from degas_nb.space.generator import Generator, n_params
from degas_nb.space.genotype import DEGAS, Genotype, SearchSpace, SpaceEdge
from degas_nb.space.ops import batch_norm

STUDIES_HERE = Path(__file__).parent.parent/'studies'


@pytest.fixture(autouse=True)
def short(monkeypatch): monkeypatch.setattr(driving, 'told_apart', partial(driving.told_apart, steps=3))  # of the decision by a critic


@pytest.fixture(scope='module')
def search():
    images = load('emoji', limit=16)
    run = Search.from_config(images, SearchConfig(epochs=2, width=4, z_dim=16, batch_size=8))
    for _ in run: pass
    return run


@pytest.mark.parametrize('impl', ['sum', 'merged'])
def test_a_network_asked_for_is_the_mixture_with_ones_and_zeros(impl):
    net, rng = SuperGenerator(width=4, z_dim=8, impl=impl).double(), torch.Generator().manual_seed(1)
    z = torch.randn(6, 8, dtype=torch.double, generator=rng)
    for genotype in [draw(rng) for _ in range(6)]:
        kept = {e.name: e.op for e in genotype.edges}
        rows = {group: torch.tensor([[float(op == kept.get(e.name)) for op in DEGAS.ops(e)] for e in edges]).double()
                for group, edges in DEGAS.groups().items()}
        with torch.no_grad(): assert torch.allclose(alone(net, genotype)(z), mixed(net, z, rows), atol=1e-12)


def test_what_is_asked_is_refused_where_the_space_has_no_such_edge():
    small = SearchSpace('small', ('a', 'b', 'c'), [SpaceEdge('a', 'b', 'up', 2), SpaceEdge('b', 'c', 'up', 4)])
    with pytest.raises(UserError, match='s0-s1'): alone(SuperGenerator(small, width=4), Genotype.named('cifar10_paper'))


@pytest.mark.long
@pytest.mark.parametrize('how', ['tuned', 'perturb_tuned', 'practised'])
def test_one_of_two_ranks_decides_as_one_alone(search, how, monkeypatch):
    "What it trains on a copy are the images of all ranks, in whole batches, as when the run is decided once more by one process."
    images, config, alone_ = search.images, search.config, decide(search, how, 18)
    for part in 0, 1:
        own = search.train_on[part::2]
        monkeypatch.setattr(search, 'own_train', own)
        monkeypatch.setattr(search, 'batches', Batches(own, config.batch_size//2, config.seed))
        assert decide(search, how, 18) == alone_
    assert search.images is images


def test_what_trains_on_a_copy_is_what_answers():
    "Of images that are kept for alpha the weights never see one, and on the copy their latents would stand still."
    run = Search.from_config(load('emoji', limit=32), SearchConfig(epochs=1, width=4, z_dim=8, batch_size=8, held_out=.5))
    seen = {int(i) for index in Asked(run).on_a_copy().batches for i in index}
    assert seen == {*run.train_on.tolist()} and len({int(i) for index in Asked(run).batches for i in index}) == 32


@pytest.mark.parametrize('optimiser, lr', [('adam', ReconstructionConfig().lr), ('sgd', .3)])
def test_finals_race_at_the_rate_of_a_search_by_sgd(optimiser, lr, monkeypatch):
    run, seen = Search.from_config(load('emoji', limit=16), SearchConfig(epochs=1, width=4, z_dim=8, batch_size=8, optimiser=optimiser, lr=.3)), []
    made = Reconstruction.from_config
    monkeypatch.setattr(Reconstruction, 'from_config', lambda images, config, *rest: seen.append(config) or made(images, config, *rest))
    rules.race(run, [draw(torch.Generator().manual_seed(i)) for i in range(2)])
    assert [c.lr for c in seen] == [lr]*2 and {c.optimiser for c in seen} == {optimiser}


@pytest.mark.long
@pytest.mark.parametrize('how', [how for how, rule in DECISIONS.items() if not hasattr(rule, 'only')])
def test_a_decision_changes_nothing_and_is_the_same_again(search, how):
    before, stream = {k: v.clone() for k, v in search.net.state_dict().items()}, torch.get_rng_state()
    z = search.latents.z.clone()
    first, second = decide(search, how, 40), decide(search, how, 40)
    assert first.genotype == second.genotype and first.says == second.says and first.genotype.meta['decide'] == how
    assert all(torch.equal(v, before[k]) for k, v in search.net.state_dict().items()) and torch.equal(z, search.latents.z)
    assert torch.equal(stream, torch.get_rng_state())
    number_of(first.genotype)  # the two stages could have left it


def test_who_names_no_rule_gets_that_of_the_command(search):
    assert decide(search, budget=12) == decide(search, driving.HABITS['decide'], 12) and decide(search, budget=12).genotype.meta['decide'] == 'lean'


@pytest.mark.long
def test_alpha_is_the_pruning_and_more_questions_are_never_worse(search):
    assert decide(search, 'alpha').genotype == prune(by_name(DEGAS, search.net.weights()))
    for how in ('measured', 'evolved'):
        few, many = [Asked(search).loss(decide(search, how, n).genotype) for n in (30, 90)]
        assert many <= few + 1e-9 and decide(search, how, 30).genotype.meta['asked'] <= 30


def differ(a, b): return sum(a.incoming(x) != b.incoming(x) for x in a.nodes)


@pytest.mark.parametrize('says', [[3., 1., 2.], [2., float('inf'), 1.], [float('inf')]*3])
def test_the_finalist_that_loses_least_when_tuned_is_taken(search, monkeypatch, says):
    met = []
    monkeypatch.setattr(rules, 'tune', lambda asked, genotype: met.append(genotype) or says[len(met) - 1])
    found, few = decide(search, 'tuned', 108), Asked(search, 64)
    assert len(met) == 3 and [*map(few.loss, met)] == sorted(map(few.loss, met))  # the best first
    assert all(differ(a, b) > 1 for i, a in enumerate(met) for b in met[:i])
    assert number_of(found.genotype) == number_of(met[says.index(min(says))]) and found.genotype.meta['asked'] <= 90


def test_to_tune_a_network_is_to_train_it_alone(search):
    "From the shared weights; no weight that is none of its own moves."
    one, own = draw(torch.Generator().manual_seed(4)), Asked(search).on_a_copy()
    before = {k: v.clone() for k, v in own.net.state_dict().items()}
    made = alone(own.net, one)
    rules.train_alone(own, 8, 2e-3, lambda: made)
    moved = {k for k, p in own.net.named_parameters() if not torch.equal(p, before[k])}
    used = {k for k, p in own.net.named_parameters() if torch.autograd.grad(alone(own.net, one)(own.latents.z[:8]).square().sum(), p, allow_unused=True)[0] is not None}
    assert moved and moved == used and own.loss(one) < Asked(search).loss(one)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Asked, 'loss', lambda *_: float('nan'))
        assert rules.tune(Asked(search), one) == float('inf')


@pytest.mark.parametrize('says', [[3., 1., 2.], [2., float('inf'), 1.], [float('inf')]*3])
def test_the_network_that_a_critic_tells_apart_least_is_taken(search, monkeypatch, says):
    met = []
    monkeypatch.setattr(driving, 'told_apart', lambda genotype, *_, **__: met.append(genotype) or says[len(met) - 1])
    found, asked = decide(search, 'critic', 90), Asked(search)
    assert len(met) == 3 == len(set(met)) and [*map(asked.loss, met)] == sorted(map(asked.loss, met))  # the best first
    assert found.genotype == met[says.index(min(says))] and found.genotype.meta == dict(decide='critic', asked=found.asked)


def test_who_loses_little_and_is_small_is_taken(search):
    "Loss and size as they lie among networks by lot; the size is that of the network with the norms of the search."
    asked, rng = Asked(search, 64), torch.Generator().manual_seed(3)
    usual = [draw(rng) for _ in range(30)]
    bare = [n_params(Generator(one, z_dim=16, width=4, norm=batch_norm(affine=False))) for one in usual]
    assert [rules.n_alone(asked, one) for one in usual] == bare
    numbers = torch.tensor([[*map(asked.loss, usual)], bare]).double().log()
    places = ((numbers - numbers.mean(1, keepdim=True))/numbers.std(1, correction=0, keepdim=True)).sum(0)
    by = rules.excess(asked, usual)
    assert [*map(by, usual)] == pytest.approx(places.tolist())
    found = decide(search, 'lean', 90)
    assert by(found.genotype) < min(map(by, usual)) and rules.n_alone(asked, found.genotype) < sorted(bare)[15] and found.asked <= 90


@pytest.mark.parametrize('answer', [float('nan'), float('inf'), 1.])
def test_where_all_lose_alike_or_nothing_there_is_still_a_network(search, monkeypatch, answer):
    monkeypatch.setattr(Asked, 'loss_of', lambda *_: answer)
    for budget in (1, 12): number_of(decide(search, 'lean', budget).genotype)


@pytest.mark.parametrize('how, budget', [('by_eye', 10), ('measured', 0)])
def test_what_cannot_be_decided_by(search, how, budget):
    with pytest.raises(UserError): decide(search, how, budget)


@pytest.mark.long
def test_the_command_decides_and_decides_again(tmp_path, capsys):
    small = ['--data', 'emoji', '--limit', '16', '--epochs', '1', '--width', '4', '--z-dim', '16', '--batch-size', '8', '--device', 'cpu']
    out = tmp_path/'run'
    assert not main(['search', *small, '--decide', 'measured', '--asked', '30', '--out', str(out)])
    found = Genotype.load(out)
    assert found.meta['decide'] == 'measured' and RunFolder.open(out).meta['writes']['asked'] == 30
    assert not main(['prune', str(out), '--decide', 'alpha'])
    by_alpha = Genotype.load(out)
    assert not main(['prune', str(out)])                                     # as the search did
    assert Genotype.load(out) == found and Genotype.load(out).meta['decide'] == 'measured'
    assert not main(['prune', str(out), '--compare', 'alpha'])               # a way of alpha's
    assert Genotype.load(out).meta['compared'] == 'alpha'
    assert not main(['search', *small, '--preset', 'paper', '--epochs', '1', '--out', str(tmp_path/'paper')])
    assert Genotype.load(tmp_path/'paper').meta.get('decide') == 'alpha' and by_alpha.edges
    capsys.readouterr()


def test_an_old_search_is_decided_by_alpha(tmp_path, capsys):
    small = ['--data', 'emoji', '--limit', '16', '--epochs', '1', '--width', '4', '--z-dim', '16', '--batch-size', '8', '--device', 'cpu']
    assert not main(['search', *small, '--asked', '20', '--out', str(tmp_path/'run')])
    run = RunFolder.open(tmp_path/'run')
    run.note(writes=dict(save_every=60.))  # as versions before wrote it
    assert '--decide alpha' in command_lines(run)[0]
    (run.path/'genotype.json').unlink()
    assert not main(['search', '--resume', '--out', str(run.path)])
    assert Genotype.load(run.path).meta['decide'] == 'alpha'
    capsys.readouterr()


def test_a_travel_is_rate_times_steps(search):
    run = Search.from_config(search.images, SearchConfig(epochs=200, warmup=50, width=4, z_dim=16, batch_size=8, travel=6.))
    assert run.alpha_rate(run.config)*150*run.per_epoch == pytest.approx(6)
    with pytest.raises(UserError, match='--travel'): run.replan(alpha_lr=1e-3)


def test_a_reconstruction_goes_on_to_the_same_bits(tmp_path):
    images, config = load('emoji', limit=16), ReconstructionConfig(epochs=3, width=4, z_dim=16, batch_size=8)
    whole = Reconstruction.from_config(images, config, network(123))
    for _ in whole: pass
    half = Reconstruction.from_config(images, config, network(123))
    for _ in range(3): next(half)
    half.save(tmp_path/'run')
    again = Reconstruction.load(tmp_path/'run', images)
    for _ in again: pass
    assert all(torch.equal(p, q) for p, q in zip(whole.net.parameters(), again.net.parameters())) and whole.final_loss() == again.final_loss()
    with pytest.raises(UserError, match='other settings|another run|another config'): Reconstruction.from_config(images, config, network(7)).save(tmp_path/'run')


@pytest.mark.long
@pytest.mark.parametrize('name', [name for name in STUDIES if name != 'toy'])
def test_the_page_of_a_study_is_made_of_its_records(name):
    folder = STUDIES_HERE/name
    if not (folder/'records.jsonl').exists(): pytest.skip(f"{name} has no records yet")
    study = study_of(name)
    records = read_records(study, folder)  # refuses what was made with other arguments than are declared
    assert len(records) == len((folder/'records.jsonl').read_text().splitlines())
    assert study_page(study, records) == (folder/'README.md').read_text()


def test_asking_beats_alpha_in_the_table():
    "What README and the lesson say."
    results = [json.loads(line) for line in (STUDIES_HERE/'decide'/'records.jsonl').read_text().splitlines()]
    losses = {}
    for r in results:
        for rule, found in r['result']['rules'].items(): losses.setdefault((r['key'].split('/')[0], rule), []).append(found['loss'])
    means = {key: sum(v)/len(v) for key, v in losses.items() if len(v) >= 8}
    assert means['joint', 'tuned'] == min(means.values()) < means['joint', 'alpha'] and means['teaching', 'measured'] < means['teaching', 'alpha'], means


def test_readme_counts_as_the_tables_do():
    "How many of ten searches found a network below the 5th percentile, or better than the best of fifty, is read from the pages."
    words = ('none one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen '
             'twenty').split()
    def row(study, rule):
        cells = next(line.split(' | ') for line in (STUDIES_HERE/study/'README.md').read_text().splitlines() if line.startswith(f'| {rule} |'))
        return words[int(cells[2])], *(words[int(cell.split()[0])] for cell in cells[4:6]), cells[6].replace('%', ' %')
    (n, below, better, all_six), (m, below_by_alpha, better_by_alpha, _) = row('decide', 'joint | tuned'), row('decide', 'joint | alpha')
    (k, there, won, six_there), (h, there_by_alpha, won_by_alpha, _) = row('decide-emoji', 'joint | tuned'), row('decide-emoji', 'joint | alpha')
    (few, papers, won_by_paper, _) = row('decide', 'paper | alpha')
    readme, worth = (STUDIES_HERE.parent/'README.md').read_text(), (STUDIES_HERE.parent/'nbs/judge/05_worth.ipynb').read_text()
    assert {n, m, k, h} <= {'ten', 'twenty'}
    assert f'Of {n} searches of 2,000 CIFAR-10 images, as `degas search` makes them (but 16 channels wide, not 32), {below} found a network that reconstructs better' in readme
    assert f'than 95 % of 320 drawn by lot, and {better} one that is better than the best of fifty by lot ({all_six} on average over the six fifties of the table)' in readme
    assert f"decided by alpha (the operation with the largest mixing weight, the paper's rule), {below_by_alpha} and {better_by_alpha} of {m} did" in readme
    assert f"With the paper's optimisers and rates, {papers} and {won_by_paper} of {few}." in readme
    (rates, alternating, won_alternating, _) = row('decide-emoji', 'rate | alpha')
    assert f'(by alpha after an alternating search, {alternating} and {won_alternating} of {rates})' in readme
    assert f'On emoji they are {there} and {won} of {k} ({six_there}), by alpha {there_by_alpha} and {won_by_alpha} of {h}' in readme
    cost = (STUDIES_HERE/'decide'/'README.md').read_text().split('its decision by `tuned` ')[1].split()[0]
    assert f'costs {float(cost):.0%} of what an alternating one of that size costs'.replace('%', ' %') in readme
    def agree(study): return next(map(float, line.strip('| ').split(' | ')[2:]) for line in (STUDIES_HERE/study/'README.md').read_text().splitlines()
                                  if line.startswith('| joint |') and line.count('|') == 5)
    (on_cifar, chance), (on_emoji, _) = agree('decide'), agree('decide-emoji')
    assert f'the same leader on {on_cifar:.0%} of the edges, {on_emoji:.0%} on emoji, {chance:.0%} by chance'.replace('%', ' %') in readme
    page, other = ((STUDIES_HERE/study/'README.md').read_text() for study in ('proxy', 'criteria'))
    def line(begins, page=page): return next(line.strip('| ').split(' | ') for line in page.splitlines() if line.startswith(f'| {begins} |'))
    for words, (_, n, rho, *_) in {
            'the loss after GLO, what a search minimises': line('by lot: all'), 'the same, within the better half of them': line('by lot: the better half'),
            'the same, at equal size': line('by lot: at equal size'), 'the loss of its own images, of these 96 only': line('loss of its own images', other),
            'the loss of images that it has never seen': line('loss of images never seen', other), 'the number of its parameters': line('number of parameters'),
            'loss and parameters, their ranks added': line('loss and parameters, their ranks added'),}.items(): assert f'| {words} | {n} | {rho} |' in readme, words
    assert page.split('on networks by lot: ')[1].split(' (')[0] in readme
    for begins, name in {'loss of images that a network has never seen has a rho of': 'loss of images never seen', 'that of its own images, of the same 96 networks,': 'loss of its own images',
                         'the distance of what it draws without a GAN': 'distance of what it draws'}.items(): assert f'{begins} {line(name, other)[2]}' in worth, name
    assert f"It was not seen again in `proxy`: {line('what the critic tells apart after 300 steps, of another seed')[2]} after 300 of 1,000 steps" in worth
    assert f"Two seeds agree by {line('the last 6, their mean')[2]} on the 24 networks that have three" in worth
    def nearer(name):
        value, low, _, high = line(name)[2].replace('(', '').replace(')', '').split()
        return f'{-float(value):.2f}', f'({-float(high):.2f} to {-float(low):.2f}'
    (both, around), (size, about), (alone, _) = map(nearer, ('loss and parameters, their ranks (among all) added', 'the number of parameters', 'the loss after GLO'))
    assert f'by lot ({page.split(", of all ")[1][:4]}) by {both} {around}), the best by parameters by {size} {about}), the best by the loss by {alone} (' in worth
    assert f"stays open: {line('by lot: without noise')[2]}" in worth and f"stays open ({line('by lot: without noise')[2].replace(' (', ', ')}" in readme
    new = (STUDIES_HERE/'chosen'/'README.md').read_text()
    lean, tuned, lot, pair, ahead = (line(name, new) for name in ('lean', 'tuned', 'nothing: by lot', 'lean than tuned', 'lean than by lot'))
    def nearer_by(cells):
        apart, low, _, high = cells[2].replace('(', '').replace(')', '').split()
        return f'{-float(apart):.2f}', f'({-float(high):.2f} to {-float(low):.2f})', f'({low} to {high})'
    assert lean[1] == tuned[1] == '8' and f'distance of {lean[5]} (over the second half of a training), networks by lot {lot[5]}: nearer by {" ".join(nearer_by(ahead)[:2])}' in readme
    assert f'have {tuned[5]}. On average `lean` is nearer than that by {nearer_by(pair)[0]}' in readme and f'do not tell the two apart {nearer_by(pair)[2]}' in readme
    assert f'{lean[5]} over the second half' in worth and f'by {nearer_by(pair)[0]} {nearer_by(pair)[2][:-1]}, so eight' in worth and 'five of eight' in worth and pair[3].startswith('5 of 8')
    places = page.split('| not by lot |')[1]
    assert f"nearly all networks by lot ({line('resnet', places)[3]} of them are nearer than the mean of its three runs)" in worth
    assert all(int(line(name, places)[3][:-1]) < 34 for name in ('cifar10_paper', 'cifar10_found')), 'in the better third'
    assert 'tau of {tau:.2f} ({low:.2f} to {high:.2f}; the best of five'.format(**bench._surrogate('distance')['held_out']['cifar10']['lot']) in readme
    second = {cells[0].strip('| '): cells[2] for line in (STUDIES_HERE/'table2'/'README.md').read_text().splitlines() if (cells := line.split(' | '))[2:]}
    assert f"the one comes to {second['found_on_cifar10']} and the other to {second['found_on_target']}: no difference that five seeds could show. CT-GAN's ResNet has {second['resnet']}, the paper's Figure 1 {second['figure1']}, networks by lot {second['lot']}: on average" in readme
    rows = {cells[0].strip('| '): cells[2] for line in (STUDIES_HERE/'table1'/'README.md').read_text().splitlines() if (cells := line.split(' | '))[2:]}
    for row, words in dict(ctgan="CT-GAN's own ResNet ends at a distance of", degas_lean='what a search finds by loss and size (`lean`) ends at',
                           degas_tuned='by the loss alone (`tuned`) at', degas_alpha="by the paper's settings and rule at", figure1="the paper's Figure 1 at",
                           lot='a network by lot at', lot_smallest='the smallest of 300 by lot at').items(): assert f'{words} {rows[row]}' in readme, row
    decide_lesson = (STUDIES_HERE.parent/'nbs/search/10_decide.ipynb').read_text()
    assert f"{rows['degas_lean']} by `lean`, {rows['degas_tuned']} by `tuned`" in decide_lesson


def test_a_page_can_be_made_of_any_of_its_records():
    "Of none, of those that came first, of one kind alone; and two classifiers are told of."
    from degas_nb.app.studies import proxy_page, who_judged
    records = [json.loads(line) for line in (STUDIES_HERE/'proxy'/'records.jsonl').read_text().splitlines()]
    for some in [], records[:1], records[:30], *([r for r in records if r['key'].startswith(kind)] for kind in ('longer', 'good', 'resnet')):
        assert 'several classifiers' not in proxy_page(some, 6)
    other = dict(records[0], result=records[0]['result'] | dict(extractor='another'))
    assert 'judged by several classifiers (2 by ' in who_judged([other, *records[1:3]])
