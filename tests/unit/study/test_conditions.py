"""The conditions of the study, and the sheet that shows them: with a tiny model, on real digits."""

import io
import itertools

import pytest
import torch
from PIL import Image
from torch import Tensor

from study.conditions import Condition, Foreign, Outputs, every_condition, knock_out
from study.contact_sheet import contact_sheet

N = 300
CORRUPTED = ("Gaussian noise", "Impulse noise", "Brightness", "Contrast", "Rotation", "Translation")


def by_quarter(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs of a model that knows four classes, by the quarter of the image that is brightest."""
    height, width = images.shape[-2] // 2, images.shape[-1] // 2
    features = images.float().mean(dim=1).unfold(1, height, height).unfold(2, width, width).mean(dim=(3, 4))
    return features.flatten(1).softmax(dim=1), features.flatten(1)


@pytest.fixture(scope="module")
def images(held_out) -> Tensor:
    return held_out.images[:N].unsqueeze(1)  # (N, 1, 28, 28)


@pytest.fixture(scope="module")
def labels(held_out) -> Tensor:
    return held_out.labels[:N]


@pytest.fixture(scope="module")
def foreign(images) -> list[Foreign]:
    return [Foreign("negatives", 255 - images[:50]), Foreign("upside down", images[:7].flip(2))]


@pytest.fixture(scope="module")
def conditions(images, labels, foreign) -> list[Condition]:
    return every_condition(by_quarter, images, labels, foreign, seed=0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def named(conditions: list[Condition], name: str) -> Condition:
    (found,) = (condition for condition in conditions if condition.name == name)
    return found


def of_family(conditions: list[Condition], family: str) -> list[Condition]:
    return [condition for condition in conditions if condition.family == family]


def test_the_first_condition_is_the_images_as_they_are(conditions, images):
    assert conditions[0].name == "no drift"
    assert conditions[0].images.equal(images)
    assert conditions[0].level is conditions[0].axis is None


def test_every_family_has_its_strengths_under_a_name_of_their_own(conditions):
    names = [condition.name for condition in conditions]

    assert len(set(names)) == len(names)
    assert [condition.level for condition in of_family(conditions, "Gaussian blur")] == [0.5, 1, 1.5, 2, 3]
    for family in (*CORRUPTED, "Class knock-out"):
        assert len(of_family(conditions, family)) == 2
    assert names[-2:] == ["negatives", "upside down"]


def test_a_level_lies_on_an_axis_that_all_of_its_family_share(conditions):
    for condition in conditions:
        assert (condition.level is None) == (condition.axis is None)
        assert {one.axis for one in of_family(conditions, condition.family)} == {condition.axis}


def test_the_outputs_are_what_the_model_says_of_the_pool(conditions):
    for condition in conditions:
        probabilities, features = by_quarter(condition.images)
        assert condition.outputs.probabilities.equal(probabilities)
        assert condition.outputs.features.equal(features)


@pytest.mark.parametrize("family", ["Gaussian blur", *CORRUPTED])
def test_a_stronger_corruption_changes_the_images_more(conditions, images, family):
    changes = [
        (condition.images.float() - images.float()).abs().mean().item()
        for condition in of_family(conditions, family)
    ]

    assert changes[0] > 0
    assert changes == sorted(changes)


def test_a_corruption_makes_uint8_images_of_the_same_shape(conditions, images):
    for condition in conditions[:-2]:
        assert condition.images.dtype == torch.uint8
        assert condition.images.shape == images.shape


def test_the_same_seed_makes_the_same_conditions_and_another_makes_others(images, labels, conditions):
    again, other = (every_condition(by_quarter, images, labels, [], seed=seed) for seed in (0, 1))

    for condition, same in zip(conditions, again, strict=False):
        assert same.images.equal(condition.images)
    differing = {
        one.family for one, two in zip(again, other, strict=True) if not one.images.equal(two.images)
    }
    assert differing == {"Gaussian noise", "Impulse noise", "Rotation", "Translation"}


def test_blur_is_as_strong_in_a_larger_image_for_its_size(images):
    larger = images[:5].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).expand(-1, 3, -1, -1)

    blurs = of_family(every_condition(by_quarter, larger, None, [], seed=0), "Gaussian blur")

    assert [blur.level for blur in blurs] == [1, 2, 3, 4, 6]
    assert blurs[0].name == "Gaussian blur, σ = 1"


def test_no_batch_of_held_out_images_has_a_row_of_the_reference(conditions, generator):
    order = torch.randperm(N, generator=generator)
    reference, rest = order[:100], order[100:]

    for condition in conditions[:-2]:
        drawn = condition.draw(rest, generator)
        assert not torch.isin(drawn, reference).any()
        assert len(drawn.unique()) == len(drawn)
        if condition.family != "Class knock-out":
            assert drawn.equal(rest)


def test_foreign_images_are_drawn_from_all_of_them_in_random_order(conditions, generator):
    rest = torch.randperm(N, generator=generator)[100:]

    first, second = (named(conditions, "negatives").draw(rest, generator) for _ in range(2))

    assert first.sort().values.equal(torch.arange(50))
    assert not first.equal(second)


def test_the_class_that_is_knocked_out_is_the_most_frequent_one(conditions, images, labels, generator):
    rest = torch.randperm(N, generator=generator)
    label = int(labels.bincount().argmax())
    of_class = int((labels == label).sum())

    half, everything = (
        condition.draw(rest, generator) for condition in of_family(conditions, "Class knock-out")
    )

    assert (labels[half] == label).sum() == of_class - round(of_class / 2)
    assert (labels[everything] == label).sum() == 0
    assert (labels[everything] != label).sum() == (labels != label).sum()
    assert named(conditions, f"Class knock-out, all of class {label}").level == 1


def test_without_labels_a_predicted_class_is_knocked_out(images, generator):
    predicted = by_quarter(images)[0].argmax(dim=1)
    label = int(predicted.bincount().argmax())

    conditions = every_condition(by_quarter, images, None, [], seed=0)

    left = named(conditions, f"Class knock-out, all of class {label}").draw(torch.arange(N), generator)
    assert left.tolist() == (predicted != label).nonzero().flatten().tolist()


@pytest.mark.parametrize(("share", "left"), [(0.1, 90), (0.5, 50), (1.0, 0)])
def test_a_knock_out_leaves_out_its_share_of_the_class_wherever_it_stands(share, left):
    classes = torch.arange(1000) % 10
    rest = torch.randperm(1000, generator=torch.Generator().manual_seed(0))

    kept = knock_out(classes, 3, share, rest, torch.Generator().manual_seed(0))

    assert (classes[kept] == 3).sum() == left
    assert (classes[kept] != 3).sum() == 900
    places = (classes[kept] == 3).nonzero().flatten().float()
    if left:
        assert places.mean().item() == pytest.approx(len(kept) / 2, rel=0.2)


def test_outputs_can_be_taken_row_by_row(images):
    outputs = Outputs.of(by_quarter, images)

    taken = outputs.take(torch.tensor([5, 2]))

    assert taken.features.equal(outputs.features[[5, 2]])
    assert taken.probabilities.equal(outputs.probabilities[[5, 2]])


def test_progress_is_shown_only_when_asked_for(images, capsys, monkeypatch):
    monkeypatch.setattr("drift.progress.LOG_SECONDS", 0)
    every_condition(by_quarter, images[:3], None, [], seed=0)
    silent = capsys.readouterr().err
    every_condition(by_quarter, images[:3], None, [], seed=0, progress=True)

    assert silent == ""
    assert "conditions: 1 of " in capsys.readouterr().err


def test_the_sheet_has_a_row_for_each_condition_with_its_name(conditions):
    figure = contact_sheet(conditions, seed=0)

    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.name for one in conditions]
    assert 900 <= figure.get_figwidth() * figure.dpi <= 1200


def test_no_name_on_the_sheet_is_cut_off_or_overlaps_another_or_the_images(conditions, images, labels):
    long_name = "images for $5 of a folder whose name ($^$) takes more than one line of the sheet"
    more = every_condition(by_quarter, images, labels, [Foreign(long_name, images[:3])], seed=0)
    figure = contact_sheet(more, seed=0)

    figure.draw_without_rendering()

    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(box.x0 >= 0 and box.x1 <= axes.get_window_extent().x0 for box in boxes)
    assert all(upper.y0 > lower.y1 for upper, lower in itertools.pairwise(boxes))


def test_a_column_of_the_sheet_is_one_image_in_all_its_states(conditions, images):
    chosen = [conditions[0], named(conditions, "Brightness, × 0.5")]

    shown = contact_sheet(chosen, columns=4, seed=0).axes[0].images[0].get_array()

    strips = torch.as_tensor(shown.data).view(2, -1, shown.shape[1], 3)[:, :28]  # (2, 28, width, 3)
    step = strips.shape[2] // 4
    sharp, dark = (strips[row].unfold(1, step, step)[..., :28].float() for row in range(2))
    assert (dark - sharp / 2).abs().max() <= 1
    tiles = {sharp[:, column, 0].to(torch.uint8).numpy().tobytes() for column in range(4)}
    assert tiles <= {image.numpy().tobytes() for image in images}
    assert len(tiles) == 4


def test_the_sheet_shows_other_images_for_another_seed_and_the_same_for_the_same(conditions):
    first, same, other = (contact_sheet(conditions, seed=seed).axes[0].images[0] for seed in (0, 0, 1))

    assert (first.get_array() == same.get_array()).all()
    assert (first.get_array() != other.get_array()).any()


def test_a_colour_image_is_shown_in_its_colours():
    red = torch.tensor([200, 10, 10], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 28, 28).contiguous()
    stream = io.BytesIO()

    contact_sheet(every_condition(by_quarter, red, None, [], seed=0)[:1], columns=2, seed=0).savefig(stream)

    with Image.open(stream) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(100_000)}
    assert (200, 10, 10) in colours
