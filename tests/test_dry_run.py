"""`--dry-run`: what a run would take; the paper's presets take their first steps at full width."""
import json
from dataclasses import replace

import pytest

from degas_nb.app import driving
from degas_nb.app.driving import foresee
from degas_nb.gan.training import GANConfig, GANTraining
from degas_nb.ground.data import load
from degas_nb.ground.ranks import Ranks
from degas_nb.search.alternating import Search, SearchConfig
from degas_nb.space.genotype import Genotype
from commands import TINY, degas

pytestmark = pytest.mark.usefixtures('quiet_machine')


@pytest.mark.long
@pytest.mark.parametrize('data, size, z_dim', [('cifar10', 32, 128), ('stl10', 48, 192)])
def test_the_first_steps_of_a_search_at_the_papers_width(data, size, z_dim):
    config = replace(SearchConfig.paper(data), batch_size=2, epochs=2)
    assert (config.width, config.img_size, config.z_dim, config.optimiser) == (128, size, z_dim, 'sgd')
    told = foresee(Search.from_config(load('emoji', size, limit=4), config), seconds=0)
    assert told['steps'] == 4 and told['measured'] == 2 and told['parameters'] > 9_000_000


@pytest.mark.long
@pytest.mark.parametrize('size', [32, 48])
def test_the_first_steps_of_a_training_at_the_papers_width(size):
    config = replace(GANConfig.paper('ctgan'), batch_size=2)
    training = GANTraining.from_config(load('emoji', size, limit=8), config, Genotype.named('cifar10_paper'))
    told = foresee(training, seconds=0)
    assert config.width == 128 and told['steps'] == config.steps == 100_000 and told['hours'] > 0 and training.n == 3


WORDS = dict(search=[], train=['--genotype', 'cifar10_found', '--steps', 3], reconstruct=['--genotype', 'cifar10_found', '--epochs', 1])


@pytest.mark.parametrize('command', WORDS)
def test_it_says_what_a_run_would_take_and_writes_nothing(command, tmp_path, capsys):
    words = [command, '--data', 'emoji', *(TINY if command != 'train' else [*TINY[:4], '--width', 4]), *WORDS[command], '--dry-run']
    assert degas(*words, '--out', tmp_path/'run') == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told['steps'] >= 3 and told['measured'] and told['parameters'] > 1000 and told['checkpoint_mib'] > 0
    assert 'nothing was written' in printed.err and not list(tmp_path.iterdir())
    for more in (['--overwrite'], ['--resume']):
        assert degas(*words, *more, '--out', tmp_path/'run') == 2
        assert capsys.readouterr().err.count('\n') == 1 and not list(tmp_path.iterdir())


def test_all_ranks_stop_to_measure_at_the_same_step_and_one_tells(capsys, monkeypatch):
    "What one of them asks for, all do; else one would wait in a step for another that is done."
    asked = []
    class Together(Ranks):
        def most(self, value): return asked.append(value) or len(asked) == 5  # another rank's clock says so
    run = Search.from_config(load('emoji', limit=16), SearchConfig(width=4, z_dim=16, batch_size=8))
    run.ranks = Together()
    told = foresee(run, seconds=1e9)
    assert run.n == 5 == len(asked) and not any(asked)
    monkeypatch.setattr(driving, 'talks', lambda: False)
    driving.tell(told)
    assert capsys.readouterr() == ('', '')


def test_presets_of_a_training(capsys):
    from degas_nb.app.main import parse
    for preset, size in ('paper', 32), ('paper-cifar10', 32), ('paper-stl10', 48):
        command = parse('train', ['--genotype', 'cifar10_found', '--data', 'emoji', '--out', 'x', '--preset', preset])
        assert command.img_size == size and command.config == GANConfig.paper('ctgan')
