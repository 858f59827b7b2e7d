"""GANs: the generator that was found, against a critic."""
from .. import _moved

__getattr__ = _moved('gan', 'gan.training gan.steps', {  # for one version: names of the time when this was a module
    'GANConfig', 'GANStep', 'GANTraining', 'OPTIMISERS', 'average_', 'draw_images', 'drawing_generator', 'generator_from',
    'trained_generator', 'with_statistics'})
