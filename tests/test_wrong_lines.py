"""What a person types wrongly: three hundred command lines and more, each refused with exit code 2 and one sentence, and nothing written."""
import pytest
import torch

from degas_nb.app.commands import _write_images
from degas_nb.app.main import main

BASE = {   # what a good line begins with; none of it is there
    'demo': ['--data', 'no/images', '--out', 'X'],
    'search': ['--data', 'no/images', '--out', 'X'],
    'train': ['--data', 'no/images', '--out', 'X', '--genotype', 'cifar10_paper'],
    'reconstruct': ['--data', 'no/images', '--out', 'X', '--genotype', 'cifar10_paper'],
    'prune': ['no/run'], 'score': ['no/run'], 'sample': ['no/run', '--out', 'X'], 'dashboard': ['no/run'],
    'draw': ['cifar10_paper', '--out', 'X.svg'], 'study': ['toy', '--out', 'X']}
COUNT = ['x', '0', '1.5', '']
RATE = ['x', '-1', 'nan']
WORD = ['nothing', '']
SEED = ['x', '9'*30]
FLAGS = {
    'search': {'--epochs': COUNT, '--width': COUNT[1:2] + ['60000'], '--z-dim': COUNT[1:3], '--batch-size': COUNT + ['1'], '--img-size': COUNT + ['20', '1000000000'], '--limit': COUNT[:2], '--warmup': ['x', '-1', '1.5'],
               '--lr': RATE, '--z-lr': RATE[1:], '--alpha-lr': RATE[1:2], '--travel': RATE[1:], '--held-out': RATE + ['1', '2'], '--save-every': RATE, '--on-nan': WORD, '--asked': COUNT, '--seed': SEED,
               '--optimiser': WORD, '--z-init': WORD, '--surface': WORD, '--relaxation': WORD, '--impl': WORD, '--amp': WORD, '--decide': WORD, '--preset': WORD, '--device': WORD + ['cuda:99', 'banana'],
               '--space': ['nothing', '', 'no/run', '/dev/null', '.'], '--split': ['', 'valid']},
    'train': {'--steps': COUNT[:2], '--n-critic': COUNT[:2], '--fake-ratio': COUNT[:2], '--sample-every': COUNT[:2], '--save-every': RATE[:2], '--on-nan': WORD, '--width': COUNT[:2] + ['60000'], '--batch-size': COUNT[:2] + ['1'], '--img-size': COUNT[:2] + ['20'],
              '--lr': RATE[:2], '--ema': RATE[:2] + ['1'], '--seed': SEED, '--framework': WORD, '--optimiser': WORD, '--init': WORD + ['keep'], '--z-ratio': WORD, '--preset': WORD, '--device': WORD + ['cuda:99'],
              '--genotype': ['nothing', '', 'no/file.json', '/dev/null', '.']},
    'reconstruct': {'--epochs': COUNT, '--width': COUNT[:2] + ['60000'], '--z-dim': COUNT[1:3], '--batch-size': COUNT[:2] + ['1'], '--img-size': COUNT[:2] + ['20', '1000000000'], '--limit': COUNT[:2], '--lr': RATE, '--z-lr': RATE[1:],
                    '--lr-end': RATE[:2], '--save-every': RATE, '--on-nan': WORD + ['rollback stop'], '--seed': SEED, '--optimiser': WORD, '--z-init': WORD, '--surface': WORD, '--amp': WORD, '--device': WORD + ['cuda:99'],
                    '--genotype': ['nothing', '', 'no/file.json', '/dev/null', '.', 'resnet'], '--split': [''], '--data': ['', 'emojis', '/dev/null', 'file']},
    'demo': {'--epochs': COUNT, '--steps': COUNT, '--n': COUNT + ['9'], '--seed': SEED, '--device': WORD, '--data': ['', 'no/images', 'emojis', '/dev/null'], '--out': ['']},
    'sample': {'--n': COUNT, '--seed': SEED, '--norms': WORD, '--device': WORD, '--label': [''], '--out': ['', 'x.npz', 'x.jpg', 'x.tar', 'no/x.png', '/dev/null/x']},
    'score': {'--n': COUNT + ['9'], '--seed': SEED, '--extractor': WORD, '--resize': WORD, '--norms': WORD, '--device': WORD, '--img-size': COUNT + ['5000'], '--weights': ['', 'no.pth', '.'],
              '--real-stats': ['', 'no.npz', '.', '/dev/null'], '--save-real-stats': ['', 'x.txt', 'no/x.npz'], '--data': ['', 'no/images'], '--features': ['', 'no/images']},
    'draw': {'--img-size': COUNT + ['20', '8'], '--out': ['', 'x.png', 'no/x.svg', '/proc/x.svg']},
    'dashboard': {'--port': ['x', '-1', '70000', '1.5', '']},
    'prune': {'--rule': WORD, '--compare': WORD, '--decide': WORD, '--asked': COUNT},
    'study': {'--workers': COUNT, '--minutes': RATE, '--only': [''], '--out': ['', '/dev/null/x'], '--ray': ['']},
}
FIRST = {  # words in place of all others
    '': [['serach'], ['-x'], ['--out', 'X'], ['Search'], [' '], ['search.py'], ['a'*10_000], ['\x1b[31m'], ['--data=emoji']],
    'search': [[], ['--out', 'X'], ['--data', 'emoji'], ['--resume'], ['--resume', '--out', 'X'], ['--resume', '--overwrite', '--out', 'X'], ['--resume', '--out='], ['--data', 'emoji', '--out', 'X', 'more'],
               ['--data', 'emoji', '--out', 'X', '--widht', '4'], ['--data', 'emoji', '--out', 'X', '--lr'], ['--data', 'emoji', '--out', 'file'], ['--data', 'emoji', '--out', 'file/X'], ['--data', 'emoji', '--out', '.'],
               ['--data', 'emoji', '--out', 'a'*300], ['--data', 'no', '--out', 'X'], ['--data', 'file', '--out', 'X'], ['--data', '.', '--out', 'X'], ['--data', '', '--out', 'X'], ['--data', 'a\0b', '--out', 'X'],
               ['--data', 'emoji', '--out', 'X', '--joint', '--held-out', '.5'], ['--data', 'emoji', '--out', '~no-such-user-here/X'], ['--data', 'emoji', '--out', 'a\0b'], ['--resume', '--out', 'X', '--preset', 'paper']],
    'train': [[], ['--out', 'X'], ['--genotype', 'resnet'], ['--resume'], ['--resume', '--out', 'X'], ['--genotype', 'file', '--data', 'emoji', '--out', 'X'], ['--genotype', 'resnet', '--data', 'emoji', '--out', 'file'],
              ['--genotype', 'resnet', '--data', 'emoji', '--out', 'X', '--betas', '1'], ['--genotype', 'resnet', '--data', 'emoji', '--out', 'X', '--betas', '0', '1'], ['--genotype', 'resnet', '--data', 'emoji', '--out', 'X', '--betas', 'x', 'y'],
              ['--genotype', 'resnet', '--data', 'emoji', '--out', 'X', '--limit', '8', '--batch-size', '9', '--width', '4'], ['--genotype', 'a\0b', '--data', 'emoji', '--out', 'X']],
    'reconstruct': [[], ['--out', 'X'], ['--genotype', 'cifar10_paper'], ['--resume'], ['--resume', '--out', 'X'], ['--resume', '--out', 'file'], ['--resume', '--overwrite', '--out', 'X'], ['--genotype', 'file', '--data', 'emoji', '--out', 'X'],
                    ['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', 'file'], ['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', '.'], ['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', 'X', '--alpha-lr', '1'],
                    ['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', 'X', '--limit', '8', '--batch-size', '9', '--width', '4'], ['--genotype', 'a\0b', '--data', 'emoji', '--out', 'X'], ['--genotype', 'cifar10_paper', '--data', 'emoji', '--out', 'a\0b']],
    'prune': [[], ['.'], ['file'], ['', '--rule', 'argmax_all'], ['a', 'b'], ['a\0b'], ['~no-such-user-here']],
    'score': [[], ['file'], ['.'], [''], ['emoji'], ['no', 'no', 'no'], ['emoji', 'no/images'], ['emoji', 'emoji', '--data', 'emoji'], ['emoji', '--untrained'], ['emoji', '--real-stats', 'no.npz'],
              ['emoji', 'emoji', '--weights', 'file'], ['a\0b']],
    'sample': [[], ['no'], ['--out', 'X'], ['file', '--out', 'X'], ['.', '--out', 'X'], ['a', 'b', '--out', 'X'], ['no', '--out', 'file'], ['no', '--out', '.'], ['no', '--out', 'a\0b']],
    'draw': [[], ['cifar10_paper'], ['no', '--out', 'X.svg'], ['file', '--out', 'X.svg'], ['.', '--out', 'X.svg'], ['cifar10_paper', '--out', '.'], ['', '--out', 'X.svg'], ['cifar10_paper', 'more', '--out', 'X.svg'], ['cifar10_paper', '--out', 'a\0.svg']],
    'dashboard': [[], ['no'], ['.'], ['file'], [''], ['a', 'b'], ['a\0b']],
    'study': [['nothing', '--out', 'X'], ['toy', 'more', '--out', 'X'], ['', '--out', 'X'], ['toy', '--out', 'file'], ['toy', '--out', 'X', '--tables'], ['glo', '--out', 'X', '--data', 'no/images'], ['../x', '--out', 'X'], ['toy', '--out', 'X', '--only', 'nothing/of/it']],
    'demo': [['more'], ['--out', 'file'], ['--out', 'X', '--data', 'file'], ['--out', ''], ['--out='], ['--out', 'a\0b'], ['--out', '.'*300]],
}
LINES = {command: [[command, *BASE[command], flag, value] for flag, values in flags.items() for value in values] for command, flags in FLAGS.items()}
for command, ends in FIRST.items(): LINES[command] = LINES.get(command, []) + [[*[command]*bool(command), *end] for end in ends]


def answer(argv, capsys):
    "Exit code, stdout and stderr."
    capsys.readouterr()
    code = 0
    try: main(argv)
    except SystemExit as e: code = e.code
    except BaseException as e: code = repr(e)
    return code, *capsys.readouterr()


@pytest.fixture
def here(tmp_path, monkeypatch):
    "A folder with one file in it."
    (tmp_path/'file').write_text('x')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wrong(argv, here, capsys):
    "What is not as it should be about the answer to a wrong line."
    code, out, err = answer(argv, capsys)
    found = [p.name for p in here.rglob('*') if p.name != 'file']
    if code != 2 or out: return f'code {code}, {out[:100]!r} {err[-200:]!r}'
    if len(err.splitlines()) != 1 or not err.startswith('degas: ') or not 30 < len(err) < 720: return f'{len(err.splitlines())} lines: {err[:300]!r}'
    if not err.strip().isprintable(): return f'control characters: {err!r}'
    if found: return f'wrote {found}'
    return ''


@pytest.mark.parametrize('command', LINES)
def test_a_wrong_line_is_one_sentence(command, here, capsys):
    found = {' '.join(argv)[:150]: what for argv in LINES[command] if (what := wrong(argv, here, capsys))}
    assert not found, '\n'.join(f'{argv}: {what}' for argv, what in found.items())


RANKED = dict(WORLD_SIZE='2', RANK='0', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='29500')
LAUNCHES = [dict(WORLD_SIZE=v) for v in ('x', '0', '-1', '', '1.5', '2')] + [RANKED | {k: v} for k, v in (('RANK', 'x'), ('RANK', '2'), ('RANK', ''), ('LOCAL_RANK', '-1'), ('MASTER_ADDR', ''), ('MASTER_PORT', 'x'), ('MASTER_PORT', '70000'))]


@pytest.mark.parametrize('env', LAUNCHES, ids=lambda env: '-'.join(env.values()))
def test_an_environment_that_no_launcher_leaves(env, here, capsys, monkeypatch):
    monkeypatch.setattr('degas_nb.app.main.exit_at_once', lambda code=0: None)   # one of several processes ends without Python's way out
    for name in RANKED: monkeypatch.delenv(name, raising=False)
    for name, value in env.items(): monkeypatch.setenv(name, value)
    assert not wrong(['search', '--data', 'emoji', '--out', 'X'], here, capsys)


@pytest.mark.parametrize('name', ['..', '.', '', '../../evil', '/etc', 'a\\b', '<script>alert(1)</script>', 'x\x1b[31m', 'x'*5000, '...', 'caf\udce9'])
def test_a_class_is_one_folder_and_not_the_one_above(name, tmp_path):
    out = tmp_path/'out'
    _write_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), out, [name])
    place, = out.iterdir()
    assert [p.name for p in place.iterdir()] == ['000000.png'] and place.name.isprintable() and [p.name for p in tmp_path.iterdir()] == ['out']

def test_there_are_three_hundred(): assert sum(map(len, LINES.values())) >= 300
