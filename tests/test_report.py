"""The report: one file that fetches nothing, says what is missing, and cannot be broken by what stands in the files."""
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from lab import Watched

from degas_nb.app import report as reports
from degas_nb.app.report import demo_report, run_report, toy_runs
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import RunFolder
from degas_nb.search.alternating import SEARCHES
from degas_nb.search.decide import DECISIONS
from degas_nb.space.genotype import Genotype

SECTIONS = ['Alpha over time', 'The network that was found', 'Reconstructions beside their targets', 'Samples of the super-network', 'Losses of the search',
            'Samples over training', 'Losses of the GAN training', 'Scores', 'How to do this again', 'Environment']
VOID = {'img', 'meta', 'input', 'br'}


class Page(HTMLParser):
    "Tags with their attributes, text without scripts and styles; an end tag that closes nothing is an error."
    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], '', []
        self.feed(html)
        assert not self.open, f'left open: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID: self.open.append(tag)

    def handle_startendtag(self, tag, attrs): self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f'</{tag}> closes {self.open[-3:]}'
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ('script', 'style'): self.words += data

    def all(self, tag): return [a for t, a in self.tags if t == tag]


def outside(html):
    "Whatever in the page would be fetched."
    addresses = [v for _, a in Page(html).tags for k, v in a.items() if k in ('src', 'href', 'srcset', 'data', 'poster', 'action') and not v.startswith(('data:', '#'))]
    return addresses + re.findall(r'@import[^;]*|url\((?!#)[^)]*\)', html)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return toy_runs(tmp_path_factory.mktemp('toy'))


@pytest.fixture(scope='module')
def report(toy):
    return demo_report(*toy, toy[0].parent / 'report.html', ['degas demo --seed 0'])


def test_one_file_with_every_section(report):
    html = report.read_text()
    page = Page(html)
    assert outside(html) == []
    for title in SECTIONS: assert f'<h2>{title}</h2>' in html, title
    assert 'degas demo --seed 0' in page.words and 's6 = deconv_6(s5)' in page.words
    assert all(a.get('alt') for a in page.all('img')) and len(page.all('img')) >= 8
    assert all(a.get('aria-label') for a in page.all('svg'))
    assert len([a for a in page.all('figure') if a.get('class') == 'panel']) == 11
    ids = [a['id'] for _, a in page.tags if 'id' in a and a['id'] != 'tip']
    assert len(ids) == len(set(ids)) and {a['href'][1:] for a in page.all('a')} <= set(ids)
    assert len(html) < 2_000_000


def test_every_field_of_a_score_is_shown(report, toy):
    words = Page(report.read_text()).words
    for record in json.loads((toy[1] / 'scores.json').read_text()):
        for field in record: assert field in words, field


@pytest.mark.parametrize('which', [0, 1])
def test_a_single_run(toy, which):
    out = run_report(toy[which])
    assert out == toy[which] / 'report.html' and outside(out.read_text()) == []


NASTY = '"><script>alert(1)</script><img src=https://example.org/x.png>'


def test_what_stands_in_the_files_is_text(tmp_path):
    search, gan = toy_runs(tmp_path / NASTY.replace('/', ''))
    config = json.loads((search / 'config.json').read_text())
    config['data']['name'] = config['config'][NASTY] = NASTY
    (search / 'config.json').write_text(json.dumps(config))
    with open(search / 'trace.jsonl', 'a') as f:
        for step in (400, 410): f.write(json.dumps(dict(step=step, epoch=14, psnr=None, weights={NASTY: {NASTY: .7, 'b': .3}})) + '\n')
    (gan / 'scores.json').write_text(json.dumps([{'name': NASTY, NASTY: [NASTY], 'value': 1.}]))
    html = demo_report(search, gan, tmp_path / 'report.html', [NASTY]).read_text()
    page = Page(html)
    assert len(page.all('script')) == 2 and outside(html) == [] and NASTY in page.words


@pytest.mark.parametrize('strategy', SEARCHES)
def test_the_loss_is_what_is_descended_or_what_is_watched(strategy, toy, tmp_path):
    shutil.copytree(toy[0], tmp_path/'run')
    config = json.loads((tmp_path/'run/config.json').read_text())
    (tmp_path/'run/config.json').write_text(json.dumps(config | dict(config=config['config'] | dict(strategy=strategy))))
    html = run_report(tmp_path/'run').read_text()
    assert ('What the search descends' in html) == (strategy != 'adversarial') == ('never saw this loss' not in html)


def test_every_decision_is_put_into_words(tmp_path):
    "Those that did more than ask have words of their own; one that nobody knows is said to have asked."
    run = RunFolder.create(tmp_path/'run', 'search', {}, {})
    said = {}
    for how in DECISIONS:
        genotype = Genotype.named('cifar10_paper')
        Genotype(genotype.nodes, genotype.edges, genotype.space, dict(decide=how)).save(run.path/'genotype.json')
        said[how] = reports._chosen(run)
    asking = {how for how, words in said.items() if words.startswith(reports._ASKED)}
    assert asking == {'measured', 'evolved', 'perturb', 'perturb_tuned'}
    assert len(set(said.values())) == len(said) - len(asking) + 1


def test_missing_and_damaged_parts_are_said(toy, tmp_path):
    for name in ('search', 'gan'): shutil.copytree(toy[0].parent / name, tmp_path / name)
    (tmp_path / 'search/genotype.json').write_text('{"format": "degas-genotype/1", "nodes": [')
    shutil.rmtree(tmp_path / 'search/samples')
    (tmp_path / 'search/trace.jsonl').write_text('{"step": 0}\nnot json\n')
    (tmp_path / 'gan/scores.json').write_text('{}{}')
    (tmp_path / 'gan/trace.jsonl').unlink()
    html = demo_report(tmp_path / 'search', tmp_path / 'gan', tmp_path / 'report.html').read_text()
    said = ' '.join(re.findall('class="missing">(.*?)</p>', html))
    for word in ('cannot be drawn', 'No reconstructions', 'Alpha over time', 'not in the trace', 'No scores', 'not recorded'): assert word in said, word
    assert Page(html)
    assert 'No GAN training' in demo_report(tmp_path / 'search', tmp_path / 'nowhere', tmp_path / 'report.html').read_text()
    for folder in ('nowhere', 'search/..'):
        with pytest.raises(UserError): run_report(tmp_path / folder)


@pytest.mark.long
def test_in_the_browser(report, browser):
    for width, scheme in ((1280, 'light'), (390, 'dark')):
        page = browser.new_page(viewport=dict(width=width, height=900), color_scheme=scheme)
        watched = Watched(page, 'file:')
        page.goto(report.as_uri())
        before = page.locator('.panel h3 span').all_text_contents()
        page.locator('.slider input').focus()
        page.keyboard.press('Home')
        assert page.locator('.slider output').text_content() == 'step 0'
        assert page.locator('.panel h3 span').all_text_contents() != before
        assert page.evaluate('() => document.documentElement.scrollWidth <= innerWidth'), f'wider than a screen of {width}'
        watched.was_quiet()
        page.close()
