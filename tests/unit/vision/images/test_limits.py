"""Limits on images: the service's settings set them all, and have the same defaults."""

from serving.settings import Settings
from vision.images.limits import ImageLimits


def test_each_limit_on_images_is_a_setting():
    settings = Settings(max_images=2, max_body_bytes=3, max_pixels=4, max_side=5, max_archive_ratio=6)

    assert settings.image_limits == ImageLimits(2, 3, 4, 5, 6)


def test_the_defaults_of_the_settings_are_those_of_the_limits():
    assert Settings().image_limits == ImageLimits()
