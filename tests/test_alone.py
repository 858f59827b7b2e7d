"""`degas reconstruct`: one network alone is a run like the others."""
import json

import pytest

from degas_nb.app.driving import command_lines
from degas_nb.app.page import dashboard_page
from degas_nb.ground.data import load
from degas_nb.ground.folders import RunFolder
from degas_nb.search.reconstruct import Reconstruction, ReconstructionConfig
from degas_nb.space.genotype import Genotype
from commands import BATCH, IMAGES, alone_argv, as_undisturbed, copy, degas, same, signalled, state, trace

pytestmark = pytest.mark.usefixtures('quiet_machine')


def test_the_command_does_what_the_iterator_does(alone, tmp_path, capsys):
    assert degas(*alone_argv(tmp_path/'again')) == 0
    printed = json.loads(capsys.readouterr().out)
    run = Reconstruction.from_config(load('emoji', limit=IMAGES), ReconstructionConfig(epochs=3, width=4, z_dim=16, batch_size=BATCH), Genotype.named('cifar10_found'))
    rows = [step.record() for step in run]
    assert trace(alone) == json.loads(json.dumps(rows)) and same(run.net.state_dict(), state(alone)['net'])
    assert printed == dict(loss=round(run.final_loss(), 5), psnr=round(run.psnr().mean().item(), 2))
    folder = RunFolder.open(alone)
    assert folder.kind == 'reconstruction' and folder.meta['end']['loss'] == printed['loss'] and Genotype.load(alone) == Genotype.named('cifar10_found')
    loaded = Reconstruction.load(alone, load('emoji', limit=IMAGES))
    assert loaded.finished and same(loaded.net.state_dict(), run.net.state_dict())


@pytest.mark.parametrize('signals', [[9], [2], [15]])
def test_killed_and_taken_up_it_is_the_same_run(alone, tmp_path, signals):
    out = tmp_path/'run'
    code = signalled(4, signals, *alone_argv(out, '--save-every', 0)).returncode
    assert code == (-9 if signals == [9] else 128 + signals[0])
    assert degas('reconstruct', '--resume', '--out', out) == 0
    as_undisturbed(out, alone)


def test_longer_and_the_command_that_makes_it_again(alone, tmp_path):
    out = copy(alone, tmp_path)
    assert degas('reconstruct', '--resume', '--epochs', 4, '--out', out) == 0
    assert len(trace(out)) == 12 and trace(out)[:9] == trace(alone)
    first, then = command_lines(RunFolder.open(out))
    assert first.startswith('degas reconstruct --genotype') and '--epochs 3' in first and '--resume --epochs 4' in then
    page = (out/'report.html').read_text()
    assert 'One network alone' in page and 'Better than' in page and 'decided by' not in page and 'degas reconstruct' in page


def test_it_can_be_watched(alone):
    cells = dashboard_page(alone)['cells']
    assert 'A reconstruction of' in cells[1]['source'] and 'watch(' in cells[2]['source'] and len(cells) == 3


def test_what_does_not_fit_is_said(alone, found, tmp_path, capsys):
    out = copy(alone, tmp_path)
    for wrong, words in {('--genotype', 'cifar10_paper'): 'genotype', ('--width', 8): 'width', ('--limit', 90): 'other images', ('--lr', .5): 'add --epochs'}.items():
        assert degas('reconstruct', '--resume', '--out', out, *wrong) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in said, said
    for wrong, words in {('reconstruct', '--resume', '--out', found): 'reconstruction run is needed', ('search', '--resume', '--out', out): 'search run is needed',
                         ('prune', out): 'search run is needed', ('sample', out, '--out', tmp_path/'x.png'): 'gan run is needed',
                         ('reconstruct', '--genotype', 'resnet', '--data', 'emoji', '--out', tmp_path/'new'): 'resnet'}.items():
        assert degas(*wrong) == 2
        assert words in capsys.readouterr().err, wrong
    config = json.loads((out/'config.json').read_text())
    for genotype in (None, {}, 'cifar10_paper', config['config']['genotype'] | dict(edges=[])):
        (out/'config.json').write_text(json.dumps(config | dict(config=config['config'] | dict(genotype=genotype))))
        assert degas('reconstruct', '--resume', '--out', out) == 2
        assert 'damaged' in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path/'new').exists()
