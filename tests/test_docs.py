"""The site: a page for every notebook, links that lead somewhere, formulas, figures and search alive, nothing asked from outside."""
import ast
import functools
import http.server
import json
import os
import re
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))
import docs  # noqa: E402
from lab import Watched, shoot  # noqa: E402
from warm import python  # noqa: E402


class Links(HTMLParser):
    "What a page points to, what it loads, and the places in it that can be pointed to."
    def __init__(self, text):
        super().__init__()
        self.to, self.loads, self.ids, self.pictures = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        if tag == 'a' and 'name' in attrs: self.ids.add(attrs['name'])
        if tag == 'a' and attrs.get('href'): self.to.append(attrs['href'])
        if tag in ('script', 'img', 'iframe') and attrs.get('src'): self.loads.append(attrs['src'])
        if tag == 'link' and attrs.get('rel') != 'canonical': self.loads.append(attrs.get('href', ''))
        if tag == 'img': self.pictures.append(attrs)


@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The folder of the site, built once."
    out = tmp_path_factory.mktemp('site') / 'site'
    watched = [ROOT / name for name in ('_quarto.yml', 'degas_nb/_modidx.py', '_docs', '_proc', 'nbs/nbdev.yml', 'nbs/sidebar.yml')]
    before = [p.stat().st_mtime if p.exists() else None for p in watched]
    code = f"import runpy, sys; sys.argv = ['docs.py', {str(out)!r}]; runpy.run_path({str(ROOT / 'tools/docs.py')!r}, run_name='__main__')"
    done = python('-c', code, cwd=ROOT, env=os.environ | dict(OMP_NUM_THREADS='1'), timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert before == [p.stat().st_mtime if p.exists() else None for p in watched], 'building the site touched the working tree'
    assert not [line for line in done.stdout.splitlines() if line.startswith('warning:') and 'KaTeX' not in line], done.stdout
    return out


@pytest.fixture(scope='session')
def pages(site): return {p.relative_to(site).as_posix(): Links(p.read_text()) for p in site.rglob('*.html')}


def page_of(name): return Path(re.sub(r'(^|/)\d\d_', r'\1', name)).with_suffix('.html').as_posix()


@pytest.mark.timeout(480)  # one test waits for the site
def test_every_notebook_has_a_page(site, pages):
    names = docs.notebooks()
    assert names and {page_of(n) for n in names} <= set(pages)
    for name in names:
        text = (site / page_of(name)).read_text()
        for other in names: assert page_of(other).split('/')[-1] in text, f'{name}: no way to {other}'


def test_exported_names_are_documented(site):
    "Those of `__all__`: what other modules need and no reader meets stays out of the pages."
    for module in sorted((ROOT / 'degas_nb').rglob('[a-z]*.py')):
        page = site / module.relative_to(ROOT / 'degas_nb').with_suffix('.html')
        if not page.exists(): continue
        public = next(ast.literal_eval(node.value) for node in ast.parse(module.read_text()).body if isinstance(node, ast.Assign) and node.targets[0].id == '__all__')
        names = [n for n in re.findall(r'^(?:def|class) ([a-zA-Z]\w*)', module.read_text(), re.M) if n in public]
        missing = [n for n in names if f'>{n}<' not in page.read_text()]
        assert page.read_text().count('href="../source/') >= len(names)
        assert not missing, f'{module.stem}: {missing}'


def test_links_lead_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for target in page.to + page.loads:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith('data:'): continue
            where = (Path(name).parent / unquote(parts.path)) if parts.path else Path(name)
            file = (site / where).resolve()
            if file.is_dir(): continue
            if not file.is_file(): broken.append((name, target))
            elif parts.fragment and file.suffix == '.html':
                there = pages[file.relative_to(site.resolve()).as_posix()]
                if unquote(parts.fragment) not in there.ids: broken.append((name, target))
    assert not broken, broken[:20]


def test_nothing_is_loaded_from_outside(site, pages):
    for name, page in pages.items():
        assert not [t for t in page.loads if urlsplit(t).netloc], name
        assert not [t for t in page.to if 'example.org' in t], name
    for sheet in site.rglob('*.css'): assert not re.search(r'(@import|url\()\s*["\']?https?:', sheet.read_text()), sheet


def test_search_knows_the_pages(site):
    entries = json.loads((site / 'search.json').read_text())
    assert {page_of(n) for n in docs.notebooks()} <= {e['href'].split('#')[0] for e in entries}
    assert any('Genotype' in e['text'] + e['section'] for e in entries)


def test_pictures_fit_and_widgets_left_one(site, pages):
    assert len(pages['views/widgets.html'].pictures) >= 1
    for page in site.rglob('*.html'): assert not re.search(r'<script[^>]*application/vnd\.jupyter', page.read_text()), page
    assert all(a['src'] for page in pages.values() for a in page.pictures)


def test_every_promise_names_tests_that_are_there():
    "And every row of the page names one."
    text = ''.join(''.join(c['source']) for c in json.loads((ROOT / 'nbs/guides/promises.ipynb').read_text())['cells'] if c['cell_type'] == 'markdown')
    rows = [row for row in text.splitlines() if row.startswith('| ') and '::' in row]
    assert len(rows) > 15 and all(re.search(r'`tests/test_\w+\.py::test_\w+`', row) for row in rows)
    named, linked = re.findall(r'`tests/(\w+\.py)::(\w+)`', text), re.findall(r'\[`tests/(\w+\.py)::(\w+)`\]\(\.\./\.\./tests/\1\)', text)
    assert named == linked, 'each name is a link to its file, which the site leads to the line'
    for file, name in named:
        assert re.search(rf'^def {name}\(', (ROOT / 'tests' / file).read_text(), re.M), f'{file} has no {name}'


def test_the_page_of_promises_leads_to_the_lines_of_its_tests(site, pages):
    "On the site; in JupyterLab and where the repository is looked at, to their files."
    found = [t for t in pages['guides/promises.html'].to if 'tests/' in t]
    assert len(found) > 50 and all(t.startswith('../source/tests/') for t in found)
    for target in found:
        page, _, line = target.partition('#L-')
        text = (ROOT / 'tests' / f'{Path(page).stem}.py').read_text().splitlines()[int(line) - 1]
        assert re.match(r'\s*def test_', text), (target, text)


def test_the_sidebar_in_quarto_yml_is_fresh():
    config = yaml.safe_load((ROOT / '_quarto.yml').read_text())
    assert config['website']['sidebar']['contents'] == docs.sidebar(docs.notebooks()), 'run tools/docs.py --sidebar'
    assert (ROOT / 'nbs/_quarto.yml').resolve() == (ROOT / '_quarto.yml').resolve()


def test_the_list_of_open_points_is_fresh():
    "What the guide stores is what its cell collects from the lessons now."
    path = ROOT / 'nbs/guides/open_points.ipynb'
    cell = next(c for c in json.loads(path.read_text())['cells'] if 'def gaps(' in ''.join(c['source']))
    names = dict(re=re, json=json, Path=Path)
    exec(''.join(cell['source']).rpartition('Markdown(')[0], names)
    found = names['table'](ROOT / 'nbs')
    assert found.count('\n') > 15 and ''.join(cell['outputs'][0]['data']['text/markdown']) == found, 'run tools/nb.py run nbs/guides/open_points.ipynb'


def test_sidebar_sections():
    names = ['app/01_report.ipynb', 'gan/02_frameworks.ipynb', 'guides/add_an_op.ipynb', 'index.ipynb', 'search/03_mixed.ipynb', '00_tour.ipynb', 'search/01_pyramid.ipynb']
    entries = docs.sidebar(docs.in_reading_order(names))
    assert entries[0]['text'] == 'Home' and entries[1] == '00_tour.ipynb'
    assert [e['section'] for e in entries[2:]] == ['The search', 'The GAN', 'Guides', 'Workshop: the front door']
    assert entries[2]['contents'] == ['search/01_pyramid.ipynb', 'search/03_mixed.ipynb']


def test_outputs_that_a_page_cannot_show():
    view = {'application/vnd.jupyter.widget-view+json': {}}
    cells = [dict(cell_type='code', source='', outputs=[dict(data=d)]) for d in
             (dict(view), view | {'image/png': 'x'}, {docs.PLOTLY: dict(data=[dict(name='</script>')], layout={}, frames=[dict(name='1')])})]
    docs.fix_outputs(dict(cells=cells, metadata={}))
    first, second, third = (c['outputs'][0]['data'] for c in cells)
    assert 'JupyterLab' in first['text/html'] and second == {'image/png': 'x'}
    assert third['text/html'].count('</script>') == 1 and '"frames"' in third['text/html']


@pytest.mark.long
@pytest.mark.timeout(120)
def test_in_the_browser(site, pages, browser):
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f'http://127.0.0.1:{server.server_port}'
        page = browser.new_page(viewport=dict(width=1300, height=900))
        watched = Watched(page, base)
        for name in sorted(n for n in pages if not n.startswith('source/')):
            page.goto(f'{base}/{name}')
            check_alive(page, (site / name).read_text(), name)
        search_box(page)
        page.goto(f'{base}/{next(n for n in pages if n.endswith("/prune.html") and not n.startswith("source/"))}')
        replay_by_keyboard(page)
        page.close()
        server.shutdown()
    watched.was_quiet()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


def check_alive(page, text, name):
    "Formulas are set and plotly figures are drawn on this page."
    if 'class="math' in text and 'site_libs/katex' in text:
        page.wait_for_selector('.katex', state='attached', timeout=10_000)
        assert page.locator('.katex-error').count() == 0, f'{name}: a formula that KaTeX cannot read'
    figures = text.count('class="plotly-static"')
    if figures: page.wait_for_function('n => document.querySelectorAll(".plotly-static .main-svg").length >= n', arg=figures, timeout=20_000)


def replay_by_keyboard(page):
    "The recorded search is scrubbed with the arrow keys, says where it is, and plays and pauses with the space bar."
    bar, slider = page.locator('.replay-controls').first, page.locator('.replay-controls input[type=range]').first
    bars = lambda: page.evaluate('() => [...document.querySelectorAll(".barlayer path")].map(e => e.getAttribute("d")).join()')
    page.wait_for_function('() => document.querySelector(".replay-controls output").textContent', timeout=10_000)
    first, step = bars(), bar.locator('output').text_content()
    slider.focus()
    page.keyboard.press('End')
    page.wait_for_timeout(300)
    last = bars()
    assert last != first and slider.get_attribute('aria-valuetext') == f"step {bar.locator('output').text_content()}" != f'step {step}'
    assert 'kept ' in bar.locator('[aria-live]').text_content()
    bar.scroll_into_view_if_needed()
    shoot(page, 'replay_on_the_site')
    bar.locator('button').focus()
    page.keyboard.press('Space')                            # from the end: from the start again
    page.wait_for_timeout(700)
    page.keyboard.press('Space')
    page.wait_for_timeout(300)
    assert bar.locator('button').text_content() == 'Play' and bars() not in (first, last)
    assert page.locator('.plotly-static .slider-group, .plotly-static .updatemenu-button').count() == 0


def search_box(page):
    "A word typed into the search box finds pages."
    box = page.locator('#quarto-search input')
    box.fill('genotype')
    page.wait_for_selector('.smalldocs-search-results a', timeout=10_000)
    assert page.locator('.smalldocs-search-results a').count() >= 1
