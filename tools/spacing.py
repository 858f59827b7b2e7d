"""One spacing of annotations, as the notebooks have it: `x:Tensor, n:int=3`, `lr:float = 1e-3`, `)->Tensor:`, comments in a column.

    python tools/spacing.py          writes what differs
    python tools/spacing.py --check  names it, and exits 1
"""
import ast, io, json, re, sys, tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDEST = 140   # of a line; where a column of comments would pass it, they follow their code


def parse(text:str)->ast.Module|None:
    "The tree of a cell; magics stand for `pass`; None where it isn't Python."
    for t in (text, re.sub(r'(?m)^ *[%!].*$', lambda m: 'pass'.ljust(len(m[0])), text)):
        try: return ast.parse(t)
        except SyntaxError: pass


def arguments(args:ast.arguments)->list[tuple[ast.arg, ast.expr|None]]:
    "Each with its default."
    plain = args.posonlyargs + args.args
    pairs = [*zip(plain, [None]*(len(plain) - len(args.defaults)) + args.defaults), *zip(args.kwonlyargs, args.kw_defaults)]
    return pairs + [(a, None) for a in (args.vararg, args.kwarg) if a]


def gaps(tree:ast.AST, before:callable)->Iterator[tuple]:
    "(line, start, end, what should stand there) of everything between a name, its annotation and its value; columns in bytes."
    for n in ast.walk(tree):
        if isinstance(n, ast.FunctionDef|ast.AsyncFunctionDef):
            for a, default in arguments(n.args):
                if a.annotation is None: continue
                yield a.lineno, a.col_offset + len(a.arg.encode()), a.annotation.lineno, a.annotation.col_offset, ':'
                if default is not None: yield a.annotation.end_lineno, a.annotation.end_col_offset, default.lineno, default.col_offset, '='
            if n.returns is not None:
                arrow = re.search(rb' *-> *$', before(n.returns.lineno, n.returns.col_offset))
                if arrow: yield n.returns.lineno, arrow.start(), n.returns.lineno, n.returns.col_offset, '->'
        if isinstance(n, ast.AnnAssign):
            yield n.target.end_lineno, n.target.end_col_offset, n.annotation.lineno, n.annotation.col_offset, ':'
            if n.value: yield n.annotation.end_lineno, n.annotation.end_col_offset, n.value.lineno, n.value.col_offset, ' = '
        for annotation in (getattr(n, 'annotation', None), getattr(n, 'returns', None)):
            for u in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                if isinstance(u, ast.BinOp) and isinstance(u.op, ast.BitOr): yield u.left.end_lineno, u.left.end_col_offset, u.right.lineno, u.right.col_offset, '|'


def tight(text:str)->str:
    "With the gaps as they should be."
    lines = [line.encode() for line in text.splitlines(True)]
    edits = {(l, a, z, new.encode()) for l, a, m, z, new in gaps(parse(text), lambda l, c: lines[l - 1][:c]) if l == m and lines[l - 1][a:z].strip() == new.strip().encode()}
    for l, a, z, new in sorted(edits, reverse=True): lines[l - 1] = lines[l - 1][:a] + new + lines[l - 1][z:]
    return b''.join(lines).decode()


def split(line:str)->tuple[str, str]:
    "Code and comment of a line."
    pad = len(line) - len(line.lstrip())
    try:
        for token in tokenize.generate_tokens(io.StringIO(line[pad:]).readline):
            if token.type == tokenize.COMMENT: return line[:pad + token.start[1]].rstrip(), line[pad + token.start[1]:]
    except (tokenize.TokenError, IndentationError): pass
    return line, ''


def columns(tree:ast.AST)->Iterator[list[int]]:
    "Lines whose comments belong below each other: of one signature, of neighbouring fields."
    for n in ast.walk(tree):
        if isinstance(n, ast.FunctionDef|ast.AsyncFunctionDef): yield [*range(n.lineno, n.body[0].lineno)]
        if isinstance(n, ast.ClassDef):
            block = []
            for m in n.body:
                if isinstance(m, ast.AnnAssign) and m.lineno == m.end_lineno: block.append(m.lineno)
                else:
                    yield block
                    block = []
            yield block


def aligned(text:str)->str:
    "With comments in columns."
    lines = text.splitlines()
    for numbers in columns(parse(text)):
        parts = {i - 1: split(lines[i - 1]) for i in numbers}
        parts = {i: (code, note) for i, (code, note) in parts.items() if note and code}
        if not parts: continue
        widths = [len(code) for code, _ in parts.values()]
        column = max(widths) + 2
        loose = column > min(widths) + 60 or any(column + len(note) > WIDEST for _, note in parts.values())
        for i, (code, note) in parts.items(): lines[i] = f'{code}  {note}' if loose else code.ljust(column) + note
    return '\n'.join(lines) + '\n'*text.endswith('\n')


def spaced(text:str)->str:
    "Python with one spacing; other text as it is."
    return text if parse(text) is None else aligned(tight(text))


def renewed(path:Path)->str:
    "What a file should hold."
    text = path.read_text()
    if path.suffix == '.py': return spaced(text)
    nb = json.loads(text)
    for cell in nb['cells']:
        if cell['cell_type'] == 'code': cell['source'] = spaced(''.join(cell['source'])).splitlines(True)
    return json.dumps(nb, indent=1, ensure_ascii=False) + '\n'


def main(check:bool)->int:
    "Exit status."
    files = [ROOT/'degas_nb'/'__init__.py', *sorted((ROOT/'nbs').rglob('*.ipynb')), *(p for d in ('tests', 'tools', 'benchmarks') for p in sorted((ROOT/d).glob('*.py')))]
    other = {p: new for p in files if '.ipynb_checkpoints' not in p.parts and (new := renewed(p)) != p.read_text()}
    for path, new in other.items():
        print(('differs: ' if check else 'mended: ') + str(path.relative_to(ROOT)))
        if not check: path.write_text(new)
    return int(check and bool(other))


if __name__ == '__main__': sys.exit(main(sys.argv[1:] == ['--check']))
