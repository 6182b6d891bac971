"""HFGD's options: every own row's combination trains and predicts; what does not go together is refused with a reason."""

from __future__ import annotations

import pytest
import torch

from harness.errors import UserError
from methods import registry
from methods.hfgd.options import CHOICES
from methods.segmentor import IGNORE, GivenFeatures

K = 5
SMALL = {"channels": 8, "inner": 8, "wide": 12, "attention_channels": 4}
CHANNELS = (4, 6, 8, 10)


def build(strides=(4, 8, 16, 32), widths=CHANNELS, **options):
    torch.manual_seed(0)
    return registry.build("hfgd", GivenFeatures(widths, strides), K, **{**SMALL, **options})


def features(size=(65, 97), strides=(4, 8, 16, 32)):
    return [torch.randn(2, c, *(-(-n // s) for n in size)) for c, s in zip(CHANNELS, strides)]


def total(model, targets):
    losses = model.losses(features(), targets)
    return losses, sum(losses.values())


@pytest.mark.slow
@pytest.mark.parametrize("encoding", CHOICES["encoding"])
@pytest.mark.parametrize("decoder", CHOICES["decoder"])
def test_every_encoding_under_every_decoder(decoder, encoding):
    model = build(decoder=decoder, encoding=encoding, hfgm="none" if decoder == "none" else "full").train()
    losses, loss = total(model, torch.randint(K, (2, 65, 97)))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert ("teacher" in losses) == (decoder != "none")
    assert ({"car_intra", "car_centres", "car_pixels"} <= set(losses)) == (encoding in ("sa_car", "cae"))
    logits = model.eval()(features())
    assert logits.shape == (2, K, *((3, 4) if decoder == "none" else (17, 25)))


@pytest.mark.slow
@pytest.mark.parametrize("label", [IGNORE, 3])
@pytest.mark.parametrize("encoding", CHOICES["encoding"])
@pytest.mark.parametrize("mean", ["valid", "all"])
def test_labels_of_one_kind_only(encoding, label, mean):
    model = build(encoding=encoding, car_mean=mean, coarse_weight=0.4).train()
    losses, loss = total(model, torch.full((2, 65, 97), label))
    loss.backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert (loss == 0) == (label == IGNORE)


def test_ocrs_coarse_classifier_is_supervised_where_it_has_a_weight():
    plain = build(encoding="ocr", decoder="sfpn")
    weighted = build(encoding="ocr", decoder="sfpn", coarse_weight=0.4)
    targets = torch.randint(K, (2, 65, 97))
    torch.manual_seed(1)
    without, _ = total(plain.eval(), targets)
    torch.manual_seed(1)
    with_loss, _ = total(weighted.eval(), targets)
    assert set(with_loss) - set(without) == {"coarse"}
    torch.testing.assert_close(with_loss["main"], without["main"])


def test_cars_weight_scales_its_losses():
    once, thrice = build().eval(), build(car_weight=3.0).eval()
    targets = torch.randint(K, (2, 65, 97))
    torch.manual_seed(1)
    once, _ = total(once, targets)
    torch.manual_seed(1)
    thrice, _ = total(thrice, targets)
    for name in ("car_intra", "car_centres", "car_pixels"):
        torch.testing.assert_close(thrice[name], 3 * once[name])


def test_widths_of_the_paper():
    """Table 8's tokens: 512 for UPerNet, 256 elsewhere; no bias under guidance only."""
    for decoder, width in (("usfpn", 256), ("fapn", 256), ("deeplabv3plus", 256), ("upernet", 512)):
        with torch.device("meta"):
            model = registry.build("hfgd", GivenFeatures((256, 512, 1024, 2048)), 59, decoder=decoder)
        assert model.classifier.weight.shape == (59, width, 1, 1)
        assert model.classifier.bias is None
    assert build(hfgm="none").classifier.bias is not None
    assert build(hfgm="full", token_bias=True).classifier.bias is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "ufpn"}, "option 'decoder' cannot be 'ufpn'.*Did you mean"),
        ({"encoding": "car"}, "option 'encoding' cannot be 'car'"),
        ({"hfgm": "guidence"}, "option 'hfgm' cannot be 'guidence'.*'guidance'"),
        ({"hfgm": True}, "option 'hfgm' cannot be True"),
        ({"cae_attention": "qkv"}, "option 'cae_attention' cannot be 'qkv'"),
        ({"car_mean": "some"}, "option 'car_mean' cannot be 'some'"),
        ({"decoder": "sfpn", "stride": 2}, "decoder 'sfpn' has output stride 4, not 2"),
        ({"stride": 3}, "decoder 'usfpn' has output stride 4 or 2, not 3"),
        ({"decoder": "fapn", "stride": 2}, "decoder 'fapn' has output stride 4, not 2"),
        ({"decoder": "none"}, "hfgm 'full' needs a decoder"),
        ({"hfgm": "aa", "stop_gradients": False}, "no stop-gradients to leave out"),
        ({"axial_heads": 3}, "8 channels do not divide into 3 heads"),
        ({"axial_heads": 0}, "option 'axial_heads' must be a positive"),
        ({"channels": 0}, "option 'channels' must be a positive whole number"),
        ({"inner": 0}, "option 'inner' must be a positive whole number"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


@pytest.mark.parametrize("stride", [64, 12, 5])
def test_an_encoding_at_an_impossible_stride(stride):
    with pytest.raises(UserError, match=f"'aspp' has no dilations for output stride {stride}"):
        build(encoding="aspp", strides=(4, 8, 16, stride))


def test_a_backbone_of_one_map_has_nothing_to_decode():
    with pytest.raises(UserError, match="joins feature maps of several resolutions"):
        build(widths=(10,), strides=(4,))
    assert build(widths=(10,), strides=(4,), decoder="none", hfgm="none")([torch.randn(1, 10, 8, 8)]).shape[1] == K


def test_an_option_of_no_method_is_named():
    entry = registry.find("hfgd")
    ((option, message),) = registry.check_options(entry, {"guidance": "full"})
    assert option == "guidance"
    assert "hfgd" in message
