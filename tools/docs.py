"""The documentation site without Quarto: nbdev's processors, then smalldocs; nothing in it asks the network.

    tools/docs.py [OUT]       build the site into OUT (default _docs); the working tree stays as it is
    tools/docs.py --sidebar   write the sidebar of _quarto.yml anew, from the notebooks that exist

Formulas need KaTeX: the npm package `katex`, fetched once into node_modules/ when npm is there.
_quarto.yml stays valid for Quarto itself: `nbdev_docs` makes the same pages for who has it, but for the line "Needs" under each title.
"""
import functools
import inspect
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PLOTLY, VIEW = 'application/vnd.plotly.v1+json', 'application/vnd.jupyter.widget-view+json'
PICTURES = {'text/html', 'image/png', 'image/jpeg', 'image/svg+xml'}
SECTIONS = dict(space='The space', search='The search', gan='The GAN', judge='Judging', guides='Guides',
                ground='Workshop: ground', views='Workshop: views', app='Workshop: the front door')  # folders of nbs/, in reading order
GUIDES = ['cifar_to_stl', 'with_labels', 'your_own_space', 'what_it_costs', 'many_gpus', 'live_lessons', 'open_points', 'what_alpha_means',
          'promises']  # they have no numbers
NAMES = '#| hide\n#| exec_doc\nimport degas_nb.{0}\nglobals().update(vars(degas_nb.{0}))'
UNUSED_KATEX = shutil.ignore_patterns('*.ttf', '*.woff', '*.mjs', 'README*', 'katex.js', 'katex.css', '*swap*')


# ---- the sidebar

def notebooks(root=ROOT):
    "All notebooks, as paths below nbs/, in reading order."
    nbs = root / 'nbs'
    found = [p.relative_to(nbs) for p in nbs.rglob('*.ipynb')]
    return in_reading_order([p.as_posix() for p in found if not any(part[0] in '._' for part in p.parts)])


def in_reading_order(names):
    "Home, what lies in no room, then room by room as the course goes; guides as `GUIDES` says, others behind them."
    rooms = ['.', *SECTIONS]
    place = lambda name: GUIDES.index(Path(name).stem) if name.startswith('guides/') and Path(name).stem in GUIDES else len(GUIDES)
    return sorted(names, key=lambda name: (name != 'index.ipynb', rooms.index(Path(name).parent.as_posix()), place(name), name))


def sidebar(names):
    "Sidebar entries: home, what lies in no room, then a section a room."
    home = [dict(text='Home', href='index.ipynb')] if 'index.ipynb' in names else []
    first = [n for n in names if '/' not in n and n != 'index.ipynb']
    groups = {title: [n for n in names if n.startswith(f'{room}/')] for room, title in SECTIONS.items()}
    return home + first + [dict(section=title, contents=found) for title, found in groups.items() if found]


def write_sidebar(root=ROOT):
    "Put the sidebar into _quarto.yml; the rest of it stays."
    file = root / '_quarto.yml'
    config = yaml.safe_load(file.read_text())
    config['website']['sidebar']['contents'] = sidebar(notebooks(root))
    file.write_text(yaml.safe_dump(config, sort_keys=False, width=120))


# ---- notebooks, before they become pages

def in_script(value):
    "JSON that cannot end the script it stands in."
    return json.dumps(value).replace('<', '\\u003c')


def plotly_html(figure, key):
    "A plotly output as a live figure; plotly.js comes with the site, and a slider for one with frames."
    frames = figure.get('frames') or []
    layout = {k: v for k, v in figure.get('layout', {}).items() if k != 'width' and not (frames and k in ('sliders', 'updatemenus'))}
    if frames: layout['margin'] = layout.get('margin', {}) | dict(b=40)
    config = dict(responsive=True, displaylogo=False) | figure.get('config', {})
    moments = [[f['name'], f.get('layout', {}).get('title', {}).get('text', '').replace('<br>', ' ')] for f in frames]
    then = f'.then(graph => withControls(graph, {in_script(moments)}))' if frames else ''
    return (f'<div id="{key}" class="plotly-static" style="width:100%;min-height:{layout.get("height", 420)}px"></div>'
            f'<script>addEventListener("load",()=>Plotly.newPlot("{key}",{in_script(dict(data=figure["data"], layout=layout, config=config, frames=frames))}){then})</script>')


def fix_outputs(nb):
    "Outputs that a page cannot show become HTML: plotly figures, and widgets that left no picture."
    nb['metadata'].pop('widgets', None)
    nb['cells'] = in_source_order(nb['cells'])
    outputs = [o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', [])]
    for i, data in enumerate(outputs):
        if PLOTLY in data: data['text/html'] = plotly_html(data.pop(PLOTLY), f'plotly-{i}')
        if data.pop(VIEW, None) is not None and not PICTURES & set(data):
            data['text/html'] = '<p class="text-muted border rounded p-2">A live widget: open this notebook in JupyterLab to use it.</p>'


DOC_ENTRY = re.compile(r'\[source\]\([^)]*?/(\w+)\.py#L(\d+)\)')
LINK = re.compile(r'\]\(([\w./-]+\.ipynb)')
CODE_LINK = re.compile(r'\[`([^`\]]+)`\]\(https?:[^)\s]*\)')


def in_source_order(cells):
    "Entries that nbdev put behind one exported cell, last first, as the source has them; and links, which a comment in code cannot have, as text."
    line, out, run = lambda c: int(DOC_ENTRY.search(json.dumps(c))[2]), [], []
    for cell in cells:
        if cell['cell_type'] == 'code' and DOC_ENTRY.search(json.dumps(cell.get('outputs', []))):
            for o in cell['outputs']: plain_signature(o.get('data', {}))
            run.append(cell)
        else:
            out += sorted(run, key=line) + [cell]
            run = []
    return out + sorted(run, key=line)


def plain_signature(data):
    "Let the code block of an API entry hold no markdown links."
    text = data.get('text/markdown')
    if text is None: return
    parts = re.split(r'(```.*?```)', ''.join(text), flags=re.S)
    data['text/markdown'] = ''.join(CODE_LINK.sub(r'\1', p) if p.startswith('```') else p for p in parts)


def page_name(nb, default):
    "What nbdev calls the page (`output-file`): its links go there."
    front = ''.join(nb['cells'][0]['source']) if nb['cells'] and nb['cells'][0]['cell_type'] == 'raw' else ''
    found = re.search(r'^output-file: (\S+)\.html$', front, re.M)
    return found[1] if found else default


def prepare(cache):
    "Fix the processed notebooks in `cache`, and let their names and the sidebar be those of the pages."
    renamed = {}
    for path in sorted(cache.rglob('*.ipynb')):
        nb = json.loads(path.read_text())
        fix_outputs(nb)
        target = path.with_name(page_name(nb, path.stem) + '.ipynb')
        path.unlink()
        target.write_text(json.dumps(nb))
        renamed[path.relative_to(cache).as_posix()] = target.relative_to(cache).as_posix()
    for name in renamed.values(): follow(cache, name, renamed)
    config = yaml.safe_load((cache / '_quarto.yml').read_text())
    config['format'] = dict(html=config['format']['html'])
    config['website']['sidebar']['contents'] = rename(sidebar(in_reading_order(renamed)), renamed)
    (cache / '_quarto.yml').write_text(yaml.safe_dump(config, sort_keys=False))
    return renamed


def follow(cache, page, names):
    "Links from notebook to notebook lead to the renamed pages, from whichever room."
    here, path = posixpath.dirname(page), cache / page
    def led(link):
        target = posixpath.normpath(posixpath.join(here, link[1]))
        return '](' + posixpath.relpath(names.get(target, target), here or '.')
    nb = json.loads(path.read_text())
    for cell in nb['cells']:
        if cell['cell_type'] == 'markdown': cell['source'] = re.sub(LINK, led, ''.join(cell['source']))
        for data in (o.get('data', {}) for o in cell.get('outputs', [])):
            if 'text/markdown' in data: data['text/markdown'] = re.sub(LINK, led, ''.join(data['text/markdown']))
    path.write_text(json.dumps(nb))


def rename(entries, names):
    "The same sidebar with new file names."
    if isinstance(entries, str): return names.get(entries, entries)
    if isinstance(entries, list): return [rename(e, names) for e in entries]
    return {k: rename(v, names) if k in ('href', 'contents') else v for k, v in entries.items()}


# ---- pages

def katex():
    "The folder of KaTeX, fetched by npm when it is not there; None when it cannot be had."
    folder = ROOT / 'node_modules/katex/dist'
    if not folder.exists() and shutil.which('npm'):
        subprocess.run(['npm', 'install', '--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--silent', 'katex@0.16'], cwd=ROOT, check=False)
    return folder if folder.exists() else None


def localise(built, host, math):
    "Scripts, fonts and links that point outside point into the site."
    libraries = built / 'site_libs'
    libraries.mkdir(exist_ok=True)
    if math: shutil.copytree(math, libraries / 'katex', ignore=UNUSED_KATEX)
    for page in built.rglob('*.html'):
        up, text = '../' * (len(page.relative_to(built).parts) - 1), page.read_text()
        if math: text = re.sub(r'https://cdn\.jsdelivr\.net/npm/katex@[\d.]+/dist/', f'{up}site_libs/katex/', text)
        else: text = re.sub(r'<(script|link)[^>]*cdn\.jsdelivr\.net/npm/katex[^>]*>(</script>)?', '', text)
        text = text.replace(f'href="{host}/', f'href="{up}')
        if 'plotly-static' in text:
            add_plotly(libraries)
            text = text.replace('</head>', ''.join(f'<script src="{up}site_libs/{name}"></script>' for name in ('plotly.min.js', 'replay.js')) + '</head>', 1)
        page.write_text(text.replace('</head>', '<link rel="icon" href="data:,"></head>', 1))
    for sheet in built.rglob('*.css'): sheet.write_text(re.sub(r'@import url\([^)]*https?:[^)]*\);?', '', sheet.read_text()))


def write_sources(built, repository):
    "The modules as pages of their own: `source` leads there, with or without a repository on the network."
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer
    for module in sorted((ROOT / 'degas_nb').rglob('*.py')):
        name = module.relative_to(ROOT / 'degas_nb').with_suffix('')
        style = HtmlFormatter(full=True, title=f'degas_nb.{".".join(name.parts)}', linenos='table', lineanchors='L', anchorlinenos=True, encoding='utf-8')
        page = built / 'source' / f'{name}.html'
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(highlight(module.read_text(), PythonLexer(), style))
    link = re.compile(re.escape(repository) + r'/blob/[^"]*?degas_nb/((?:\w+/)?\w+)\.py#L(\d+)')
    for page in built.rglob('*.html'):
        up = '../' * (len(page.relative_to(built).parts) - 1)
        if page.relative_to(built).parts[0] != 'source': page.write_text(link.sub(rf'{up}source/\1.html#L-\2', page.read_text()))


def write_tests(built):
    "The tests that a page links to, as pages of their own; a link leads to the line of the test that it names."
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer
    link = re.compile(r'<a href="(?:\.\./)*tests/(\w+)\.py"([^>]*)>(\s*<code>tests/\1\.py::(\w+)</code>)')
    for page in [p for p in built.rglob('*.html') if link.search(p.read_text())]:
        up = '../' * (len(page.relative_to(built).parts) - 1)
        def led(found):
            file, to = ROOT / 'tests' / f'{found[1]}.py', built / 'source' / 'tests' / f'{found[1]}.html'
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists(): to.write_bytes(highlight(file.read_text(), PythonLexer(), HtmlFormatter(full=True, title=file.name, linenos='table', lineanchors='L', anchorlinenos=True, encoding='utf-8')))
            line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if re.match(rf'\s*def {found[4]}\(', text))
            return f'<a href="{up}source/tests/{found[1]}.html#L-{line}"{found[2]}>{found[3]}'
        page.write_text(link.sub(led, page.read_text()))


def add_plotly(libraries):
    "plotly.js and what drives its frames, once."
    if (libraries / 'plotly.min.js').exists(): return
    import plotly
    shutil.copy(Path(__file__).parent / 'replay.js', libraries)
    shutil.copy(Path(plotly.__file__).parent / 'package_data/plotly.min.js', libraries)


def copy_project(to):
    "What the site is made of: nbdev writes beside its sources, so it works on a copy."
    for name in ('nbs', 'degas_nb'): shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', 'runs', '*.part'))
    for name in ('settings.ini', '_quarto.yml', 'README.md'): shutil.copy(ROOT / name, to)


def title_alone(cells):
    "What stands under the title gets a cell of its own: nbdev takes the title's cell away, with all that is in it."
    parts = ''.join(cells[0]['source']).split('\n\n', 2)
    if len(parts) < 3 or not parts[0].startswith('# '): return
    cells[:1] = [dict(cells[0], source='\n\n'.join(parts[:2])), dict(cells[0], id='below-title', source=parts[2])]


def marked(source):
    "What a student edits, and the check below it, say so on the page: nbdev takes directives away."
    for mark, says in dict(exercise='yours to write', check='fails until it is right').items():
        source = re.sub(rf'^#\|\s*{mark}\b.*\n', f'# {says}\n', source)
    return source


def import_instead(nbs):
    "Let nbdev take the names that the API pages need from the modules: it would run exported cells, and lesson cells with an import, as `__main__`."
    for path in nbs.rglob('*.ipynb'):
        nb = json.loads(path.read_text())
        title_alone(nb['cells'])
        code = [c for c in nb['cells'] if c['cell_type'] == 'code']
        for cell in code: cell['source'] = '#| eval: false\n' + marked(''.join(cell['source']))
        module = re.search(r'^#\|\s*default_exp\s+(\S+)', '\n'.join(c['source'] for c in code), re.M)
        if module: nb['cells'].insert(1, dict(code[0], id='names', outputs=[], source=NAMES.format(module[1])))
        path.write_text(json.dumps(nb))


def unlinked(built):
    "nbdev makes a link of every name that it knows; one that only serves its module (`__all__` leaves it out) has no entry to lead to, and stays a name."
    pages = {page: page.read_text() for page in built.rglob('*.html')}
    ids = {page.resolve(): set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    for page, text in pages.items():
        def kept(link):
            there = ids.get((page.parent / link[1]).resolve())
            return link[3] if there is not None and link[2] not in there else link[0]
        page.write_text(re.sub(r'<a [^>]*?href="([^"#:]+\.html)#([^"]+)"[^>]*>(<code>[^<]*</code>)</a>', kept, text))


def build(out, work):
    "Make the site in `work` and move it to `out`; returns the warnings."
    copy_project(work)
    import_instead(work / 'nbs')
    os.chdir(work)
    sys.path.insert(0, str(work))
    import nbdev.doclinks
    from IPython.core.history import HistoryManager
    from nbdev.config import get_config
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    inspect.findsource = functools.cache(inspect.findsource)  # Python 3.11 parses a whole module to find a class, each time
    HistoryManager.enabled.default_value = False              # or each notebook's shell makes a database of what it was asked
    config = get_config()
    assert config.config_path.resolve() == work.resolve(), config.config_path
    nbdev.doclinks._build_modidx()
    by_name = nbdev.doclinks._lineno                  # knows `Genotype`, not `degas_nb.space.genotype.Genotype`
    nbdev.doclinks._lineno = lambda symbol, file: by_name(re.sub(r'^degas_nb\.(\w+\.){2}', '', symbol), file)
    refresh_quarto_yml()
    cache = Path(proc_nbs(force=True, n_workers=0))
    prepare(cache)
    from smalldocs.site import build as render
    site = render(cache, quiet=True)
    math = katex()
    built = cache / config.doc_path.name
    write_sources(built, config.git_url)
    write_tests(built)
    localise(built, f'{config.doc_host}{config.doc_baseurl}', math)
    unlinked(built)
    if out.exists(): shutil.rmtree(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(built, out)
    no_math = [] if math else ['no KaTeX (npm install katex@0.16): formulas stay as they were typed']
    return [w for w in site.warnings if 'output-file' not in w and '../tests/' not in w] + no_math   # those lead to `write_tests`


def main(argv):
    if argv and argv[0] in ('-h', '--help'): return print(__doc__)
    if argv == ['--sidebar']: return write_sidebar()
    out, start = Path(argv[0] if argv else ROOT / '_docs').resolve(), time.time()
    if out.exists() and any(out.iterdir()) and not (out / 'search.json').exists(): sys.exit(f'{out} is not empty and holds no site: choose another folder')
    with tempfile.TemporaryDirectory() as work:
        warnings = build(out, Path(work).resolve())
        os.chdir(ROOT)
    for warning in warnings: print('warning:', warning)
    print(f'{len(list(out.rglob("*.html")))} pages in {out}, {time.time() - start:.0f} s')


if __name__ == '__main__': main(sys.argv[1:])
