"""Everything about the package is in settings.ini; this file only hands it to setuptools."""
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

LICENSES = dict(apache2='Apache-2.0', mit='MIT')
STATUSES = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable', '6 - Mature', '7 - Inactive']

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
extras = {k.removesuffix('_requirements'): shlex.split(v) for k, v in cfg.items() if k.endswith('_requirements')}

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    license=LICENSES[cfg['license']],
    url=cfg['git_url'],
    classifiers=[
        'Development Status :: ' + STATUSES[int(cfg['status']) - 1],
        'Intended Audience :: ' + cfg['audience'],
        'Natural Language :: ' + cfg['language'],
        'Programming Language :: Python :: 3',
    ],
    packages=find_packages(include=[cfg['lib_name'], cfg['lib_name'] + '.*']),
    package_data={cfg['lib_name']: cfg['package_data'].split()},
    include_package_data=True,
    python_requires='>=' + cfg['min_python'],
    install_requires=shlex.split(cfg['requirements']),
    extras_require=extras,
    entry_points=dict(console_scripts=cfg['console_scripts'].split(), nbdev=[f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]),
    zip_safe=False,
)
