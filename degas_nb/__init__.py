"""Search a GAN generator by gradient descent (DEGAS). The names that everybody needs; each is imported when it is first touched."""
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING
from warnings import warn

__version__ = "0.1.0"

_HOME = dict(
    load='ground.data', Images='ground.data',
    Search='search.alternating', SearchConfig='search.alternating', prune='search.prune', decide='search.decide',
    Genotype='space.genotype', Generator='space.generator',
    GANTraining='gan.training', GANConfig='gan.training', load_generator='gan.shipped',
    score_images='judge.metrics',
    live='views.live', replay='views.replay')  # name -> the module that it lives in
__all__ = [*_HOME]

if TYPE_CHECKING:
    from .gan.shipped import load_generator as load_generator
    from .gan.training import GANConfig as GANConfig, GANTraining as GANTraining
    from .ground.data import Images as Images, load as load
    from .judge.metrics import score_images as score_images
    from .search.alternating import Search as Search, SearchConfig as SearchConfig
    from .search.decide import decide as decide
    from .search.prune import prune as prune
    from .space.generator import Generator as Generator
    from .space.genotype import Genotype as Genotype
    from .views.live import live as live
    from .views.replay import replay as replay


def __getattr__(name:str)->object:
    "Fetch a name from its module, once."
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_HOME[name]}', __name__), name)
    return value


def command_line()->None:
    "What `degas` is in a shell: Ctrl-C is a line, also in the seconds in which torch is imported."
    import os
    import signal
    def stopped(*_:object)->None:
        try: os.write(2, b'degas: stopped\n')
        finally: os._exit(130)
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN: signal.signal(signal.SIGINT, stopped)
    from .app.main import main
    signal.signal(signal.SIGINT, before)
    main()


def __dir__()->list[str]: return sorted({*globals(), *__all__})


# ---- for one version: what modules were called before there were rooms (`from degas_nb.data import load`)

_WERE = dict(
    cli='app.main app.commands app.driving app.page', critic='gan.critic', dashboard='views.dashboard', data='ground.data',
    explore='views.explore', features='judge.features judge.extractors ground.sizes', frameworks='gan.frameworks', generator='space.generator space.baselines',
    genotype='space.genotype', glo='search.glo', graphs='ground.graphs', live='views.live', merged='search.merged', metrics='judge.metrics',
    mixed='search.mixed', ops='space.ops space.baselines gan.critic', planes='views.planes', prune='search.prune', pyramid='search.pyramid', ranks='ground.ranks',
    replay='views.replay', report='app.report', runs='ground.runs ground.folders', show='ground.show ground.errors',
    supernet='search.supernet', widgets='views.widgets')
_ROOMS = dict(  # modules then, rooms now: where their names are
    search=('search.alternating search.steps', {'AMP', 'OPTIMISERS', 'Search', 'SearchConfig', 'SearchStep', 'plain_settings', 'search_settings'}),
    gan=('gan.training gan.steps', {'GANConfig', 'GANStep', 'GANTraining', 'OPTIMISERS', 'average_', 'draw_images', 'drawing_generator',
                                    'generator_from', 'trained_generator', 'with_statistics'}))


def _moved(old:str, homes:str, names:set[str]|None=None):
    "The `__getattr__` of a module that is no more: it finds the old names (all, or these) in their new homes."
    def __getattr__(name:str)->object:
        for home in homes.split() if not name.startswith('__') and name in (names or {name}) else ():
            module = import_module(f'.{home}', __name__)
            if not hasattr(module, name): continue
            warn(f"{__name__}.{old}.{name} is now {module.__name__}.{name}", DeprecationWarning, stacklevel=2)
            return getattr(module, name)
        raise AttributeError(f"module '{__name__}.{old}' has no attribute {name!r}")
    return __getattr__


class _Moved:
    "Finds modules by their old paths, when nobody else has found any."
    def find_spec(self, name:str, path:object=None, target:object=None)->ModuleSpec|None:
        package, _, old = name.rpartition('.')
        return ModuleSpec(name, self) if package == __name__ and old in _WERE else None

    def create_module(self, spec:ModuleSpec)->None: "As usual."

    def exec_module(self, module:ModuleType)->None:
        old = module.__name__.rpartition('.')[2]
        module.__getattr__ = _moved(old, _WERE[old])

    def get_code(self, name:str)->object:  # python -m degas_nb.cli
        return compile('from degas_nb import command_line; command_line()', name, 'exec')


class _Door(ModuleType):
    "`import degas_nb.prune` must not hide the function `degas_nb.prune`; a room that comes in is told its old names."
    def __setattr__(self, name:str, value:object)->None:
        if name in _ROOMS and isinstance(value, ModuleType): value.__getattr__ = _moved(name, *_ROOMS[name])
        if not (name in _HOME and isinstance(value, ModuleType)): super().__setattr__(name, value)


sys.meta_path.append(_Moved())
sys.modules[__name__].__class__ = _Door
