"""The convex hull of a mask, and whether it is a rectangle."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

ANGLES = np.deg2rad(np.arange(0, 90, 3))
CORNER = 0.12  # share of a rectangle's sides that counts as its corner
LEAST_SHARE = 0.82  # of the smallest rectangle around it, covered by a rectangle in a photograph
LEAST_CORNERS = 0.3  # of the corners, likewise; those around an ellipse or a printed 0 are empty


@dataclass(frozen=True)
class Hull:
    """The convex hull of a mask.

    Attributes:
        mask: True inside.
        share: Share of the smallest rectangle around it, at any angle, that the mask covers.
        corners: Share of the four corners of that rectangle that the hull covers.
    """

    mask: Mask
    share: float
    corners: float

    @property
    def is_rectangle(self) -> bool:
        """Whether the mask is a rectangle, perhaps seen at an angle."""
        return self.share >= LEAST_SHARE and self.corners >= LEAST_CORNERS


def convex_hull(mask: Mask) -> Hull:
    """Return the convex hull of a mask, from its extent in directions three degrees apart."""
    turn = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
    rows, columns = np.nonzero(mask & ~ndimage.binary_erosion(mask))
    along, across = np.stack([columns, rows], -1) @ turn, np.stack([rows, -columns], -1) @ turn
    areas = (np.ptp(along, axis=0) + 1) * (np.ptp(across, axis=0) + 1)
    every_row, every_column = np.indices(mask.shape)
    hull, in_corner = np.ones_like(mask), np.ones_like(mask)
    for reach, plane in (
        (along, np.stack([every_column, every_row], -1) @ turn),
        (across, np.stack([every_row, -every_column], -1) @ turn),
    ):
        low, high = reach.min(axis=0), reach.max(axis=0)
        hull &= ((plane >= low) & (plane <= high)).all(axis=-1)
        best = areas.argmin()
        middle = np.abs(plane[..., best] - (low + high)[best] / 2)
        in_corner &= middle > (0.5 - CORNER) * (high - low)[best]
    corners = np.count_nonzero(hull & in_corner) / (4 * CORNER**2 * areas.min())
    return Hull(hull, float(np.count_nonzero(mask) / areas.min()), float(corners))
