"""Sample images: pictures of every size and colour, which nets that ship recognise."""

import numpy as np
import pytest

from cnet_tf import continuous_net, manifest, pretrained
from cnet_tf.any_depth import members_of
from cnet_tf.member_name import manifestation_of
from cnet_tf.samples import sample_images


@pytest.mark.parametrize("shape", [(32, 32, 3), (8, 6, 1), (100, 80, 3)])
def test_pictures_have_the_shape_asked_for(shape):
    images = sample_images(shape)
    assert {"cat", "horse"} < images.keys()
    for image in images.values():
        assert image.shape == shape and image.dtype == np.uint8 and image.std() > 5


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="shape: expected 1 or 3 channels. Received 2"):
        sample_images((8, 8, 2))


@pytest.mark.slow
@pytest.mark.parametrize("preset", pretrained.shipped())
def test_nets_that_ship_recognise_them(preset):
    net, data = continuous_net(preset, weights="cifar10"), pretrained.data_of(preset)
    images = sample_images(tuple(data["image_shape"]))
    pixels = np.stack([images["cat"], images["horse"]]) / 255
    pixels = (pixels - data["mean"]) / data["std"]
    members = [manifest(net, *manifestation_of(name)) for name in members_of(net)]
    for one in (net, *members):
        found = np.argmax(one(pixels), axis=-1)
        assert [data["class_names"][i] for i in found] == ["cat", "horse"]
