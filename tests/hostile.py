"""A run whose every name would be something else than a name on a page, or in a terminal."""
import json

HOSTILE = {
    'markdown': 'a</p>\n\n[click](javascript:alert(6)) ![i](http://evil.example/x.png)\n\n# *b* `c` _d_ ~~e~~\n\n1. f\n\n| g | h |\n| - | - |',
    'html': '<script>alert(1)</script><img src=http://evil.example/y.png onerror=alert(2)>"\'><a href="javascript:alert(3)">x</a></svg></style>',
    'formula': r'$\href{javascript:alert(4)}{x}$ $\frac \(a\) \begin{x} {{ config }} {% raw %} %{y}',
    'links': 'www.evil.example http://evil.example/z mailto:a@evil.example <http://evil.example>',
    'control': 'a\x1b[31mred\x07\x00\x08\r\nb\x9b2J\u2028c',
    'direction': 'abc\u202egnp.exe\u2066x\u200f\u061cd \u05d0\u05d1',
    'no UTF-8': 'caf\udce9',
    'long': 'x'*100_000,
}
ORDERS = ('<script>alert', '<img src=http', 'href="javascript', 'href=javascript', '<a href="javascript', 'onerror=alert(2)&gt;<', '</svg></style>',
          '\x1b', '\x07', '\x00', '\x9b', '\u2028', '\u202e', '\u2066', '\u200f', '\u061c', '\udce9', 'x'*20_001)   # what no page may hold


def spoil(run, name):
    "Put `name` where a run's files have one, and where they should have a number."
    path = run/'config.json'
    config = json.loads(path.read_text())
    config['data'] |= dict(name=name, split=name, classes=[name], notes=[name], source=config['data']['source'] | dict(data=name, split=name))
    path.write_text(json.dumps(config))
    rows = [json.loads(row) for row in (run/'trace.jsonl').read_text().splitlines()]
    for row in rows:
        row[name] = row['loss']
        for which in {'alpha', 'weights'} & row.keys():
            row[which] = {edge + name*(edge == 's0-s1'): {op + name*op.startswith('sep'): w for op, w in ops.items()} for edge, ops in row[which].items()}
    (run/'trace.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (run/'scores.json').write_text(json.dumps([dict(name=name, value=1., std=name, unit=name, extractor=name, n_real=name, step=name) | {name: name}, dict(name=name, value=name)]))
    found = json.loads((run/'genotype.json').read_text())
    found['meta'] |= dict(decide=name, asked=name, origin=name)
    (run/'genotype.json').write_text(json.dumps(found))
    return run
