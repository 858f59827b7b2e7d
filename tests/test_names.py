"""Names are text: whatever the files of a run call themselves, on every page it is read as it is written."""
import json, re, shutil, warnings
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st
from nbconvert.filters import markdown2html

from degas_nb.app.page import dashboard_page
from degas_nb.app.report import demo_report, run_report, toy_runs
from degas_nb.ground.errors import printable
from degas_nb.ground.show import in_html, in_markdown, in_plotly
from degas_nb.ground.studies import markdown_table
from degas_nb.space.genotype import Genotype, svg
from degas_nb.views.dashboard import Desk, desk_picture
from degas_nb.views.explore import bars, panels
from degas_nb.views.replay import replay, scrub
from degas_nb.views.widgets import Board, board_picture

from hostile import HOSTILE, ORDERS, spoil


class Tags(HTMLParser):
    "The elements of a page with their attributes, and its text."
    def __init__(self, page):
        super().__init__()
        self.seen, self.text = [], ''
        self.feed(page)

    def handle_starttag(self, tag, attributes): self.seen.append((tag, dict(attributes)))
    def handle_data(self, data): self.text += data


def closed(page):
    "Nothing on it runs, leads or asks outside but what we wrote ourselves; nothing moves the reader's eye or terminal."
    for order in ORDERS: assert order not in page, order
    for tag, attributes in Tags(page).seen:
        for name, value in attributes.items():
            assert not name.startswith('on'), (tag, name)
            if name in ('href', 'src'): assert value.startswith(('#', 'data:image/')), (tag, name, value[:80])


@pytest.fixture(params=HOSTILE)
def name(request): return HOSTILE[request.param]


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    "A search and a training."
    folder = tmp_path_factory.mktemp('runs')
    search, _ = toy_runs(folder)
    config = json.loads((search/'config.json').read_text())
    config['data']['source'] = dict(data='emoji')
    (search/'config.json').write_text(json.dumps(config))
    rows = (search/'trace.jsonl').read_text().splitlines()
    (search/'trace.jsonl').write_text('\n'.join(rows[::60]) + '\n')
    return folder


@pytest.fixture
def run(plain, name, tmp_path):
    "The search with that name everywhere."
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    return spoil(tmp_path/'search', name)


def test_the_report(run, tmp_path):
    closed(run_report(run).read_text())
    page = demo_report(run, tmp_path/'gan', tmp_path/'all.html', [f"degas {json.loads((run/'config.json').read_text())['data']['name']}"]).read_text()
    closed(page)
    policy = next(a['content'] for _, a in Tags(page).seen if a.get('http-equiv') == 'Content-Security-Policy')
    assert "default-src 'none'" in policy and "'unsafe-inline'" not in policy[policy.index('script-src'):] and 'sha256-' in policy


def test_the_page_of_the_dashboard(run, name):
    page = dashboard_page(run)
    json.dumps(page).encode()
    texts = [markdown2html(c['source']) for c in page['cells'] if c['cell_type'] == 'markdown']
    for text in texts: closed(text)
    assert not {tag for text in texts for tag, _ in Tags(text).seen} - {'p', 'h1', 'h2', 'code'}
    if len(name) < 300: assert ' '.join(printable(name).split()) in Tags(texts[1]).text


def test_a_folder_of_that_name(tmp_path, name):
    "The title, the heading and what is said of a run that is gone."
    folder = tmp_path/name.replace('/', '-').replace('\0', '')[:200]
    page = dashboard_page(folder)
    json.dumps(page, ensure_ascii=False).encode()
    for cell in page['cells']: closed(markdown2html(cell['source']))
    closed(in_html(page['metadata']['title']))


@pytest.mark.long
@pytest.mark.parametrize('name', ['html', 'formula', 'control'], indirect=True)
def test_replay_and_pictures(run):
    figure = replay(run)
    for text in [a.text for a in figure.layout.annotations] + [t.name for t in figure.data if t.name] + [y for t in figure.data if t.type == 'bar' for y in t.y] + \
                [f.layout.title.text for f in figure.frames]:
        assert not re.search('[<>$\x00-\x1f\x9b\u202e\u200f]', text.replace('<br>', '')) and len(text) < 2500, text[:200]
    scrub(run)
    weights = [json.loads(row)['weights'] for row in (run/'trace.jsonl').read_text().splitlines()]
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'Glyph')       # an escape character has no picture
        warnings.filterwarnings('ignore', 'Glyph [0-9]{4}')   # Hebrew has none either in the font that comes along
        for board, draw in ((Desk(), desk_picture), (Board(), board_picture)):
            for i, w in enumerate(weights): (board.add if isinstance(board, Desk) else board.push)(i, w, losses={k: 1. for k in w})
            assert draw(board, .5)[0]


def test_tables_figures_and_drawings(name):
    lines = markdown_table([['', name], [name, 1]]).splitlines()
    assert len(lines) == 3 and all(line.count('|') == 3 for line in lines)
    closed(markdown2html('\n'.join(lines)))
    figure = panels(['a'], [1.])
    bars(figure, 1, [name], (0, 1))
    assert not re.search('[<>$]', figure.layout.yaxis.ticktext[0])
    drawn = svg(Genotype.named('cifar10_paper'))
    assert len(Tags(drawn).seen) > 20 and not re.search(r'[\x00-\x08]', drawn)


@pytest.mark.long
@given(st.text())
def test_what_is_written_is_read(text):
    "Nothing is lost on the way, and Markdown makes a paragraph of it and no more."
    for as_text, most in ((in_html, 10**6), (in_plotly, 10**6)): assert unescape(as_text(text, most)) == printable(text, most)
    line = ' '.join(printable(text, 10**6).split())
    assert unescape(in_markdown(text, 10**6)) == line
    for page in (markdown2html(in_markdown(text)), markdown2html(f'<h1>{in_markdown(text)}</h1>'), markdown2html(f'x {in_markdown(text)} y')):
        assert {tag for tag, _ in Tags(page).seen} <= {'p', 'h1'}, page
