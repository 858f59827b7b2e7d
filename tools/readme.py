"""README.md from nbs/index.ipynb, without Quarto: nbdev's processors, then nbconvert. Pictures go to index_files/ beside it.

    tools/readme.py [--check]    exit 1 with --check when README.md was not up to date
"""
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.process import NBProcessor
from nbdev.processors import FrontmatterProc, add_links, hide_, rm_export, strip_ansi
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
PROCESSORS = [FrontmatterProc, strip_ansi, hide_, rm_export, add_links]


def processed(path):
    "The notebook as nbdev would show it: hidden and exported cells gone; nothing is executed."
    processor = NBProcessor(path, procs=PROCESSORS, rm_directives=False)
    processor.process()
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / 'index.ipynb'
        from execnb.nbio import write_nb
        write_nb(processor.nb, file)
        return nbformat.read(file, 4)


def as_title(source):
    "Front matter back to a title and a description."
    value = lambda key: (re.search(rf'^{key}: (.*)$', source, re.M) or ['', ''])[1].strip('\'"')
    return f"# {value('title')}" + (f"\n\n> {value('description')}" if value('description') else '')


def plain(cells):
    "Cells without directives; those that say `echo: false` lose their source, `include: false` go."
    for cell in cells:
        if cell.cell_type == 'raw': cell = nbformat.v4.new_markdown_cell(as_title(cell.source))
        if cell.cell_type == 'code':
            options = dict(re.findall(r'^#\|\s*([\w-]+):\s*(.*)$', cell.source, re.M))
            cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
            if options.get('include') == 'false' or not (cell.source or cell.outputs): continue
            if options.get('echo') == 'false': cell.metadata['tags'] = ['hide-input']
        yield cell


def callout(found):
    "A Quarto callout as an alert, which GitHub knows."
    kind = {'note': 'NOTE', 'tip': 'TIP', 'important': 'IMPORTANT', 'warning': 'WARNING', 'caution': 'CAUTION'}.get(found[1], 'NOTE')
    return f'> [!{kind}]\n' + '\n'.join(f'> {line}'.rstrip() for line in found[2].splitlines())


def alternative(output):
    "The words that stand for a picture: its own `alt`, or the label of an SVG."
    for kind in ('image/svg+xml', 'image/png', 'image/jpeg'):
        if kind in output.get('data', {}):
            label = re.search(r'aria-label="([^"]*)"', ''.join(output.data[kind])) if 'svg' in kind else None
            return output.metadata.get(kind, {}).get('alt') or (label[1] if label else 'picture')


def readme(path, host):
    "README text, and its pictures {name: bytes}."
    nb = processed(path)
    nb.cells = list(plain(nb.cells))
    nb.metadata.setdefault('language_info', dict(name='python'))
    hide = dict(enabled=True, remove_input_tags=('hide-input',))
    exporter = MarkdownExporter(config=Config(TagRemovePreprocessor=hide))
    text, resources = exporter.from_notebook_node(nb, resources=dict(output_files_dir='index_files', unique_key='index'))
    words = iter([a for cell in nb.cells for o in cell.get('outputs', []) if (a := alternative(o))])
    text = re.sub(r'!\[(?:png|svg|jpeg)\]\(', lambda _: f'![{next(words, "picture")}](', text)
    text = re.sub(r'\{target="_blank"[^}]*\}', '', text)
    text = re.sub(r':::\s*\{\.callout-(\w+)[^}]*\}\n(.*?)\n:::', callout, text, flags=re.S)
    text = re.sub(r'\[(`[^`\]]+`)\]\(' + re.escape(host) + r'[^)]*\)', r'\1', text)        # there is no site to link to yet
    text = re.sub(r'\]\((pictures/|(?:\w+/)?\w+\.ipynb)', r'](nbs/\1', text)               # README.md stands a folder higher
    return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n', resources['outputs']


def main(check=False):
    config = get_config()
    source = config.nbs_path / config.readme_nb
    if not source.exists(): sys.exit(f'{source} is missing: README.md stays as it is')
    text, pictures = readme(source, f'{config.doc_host}{config.doc_baseurl}')
    old = (ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else ''
    if check: sys.exit(int(text != old))
    (ROOT / 'README.md').write_text(text)
    folder = ROOT / 'index_files'
    if folder.exists(): shutil.rmtree(folder)
    for name, data in pictures.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(data)


if __name__ == '__main__': main('--check' in sys.argv)
