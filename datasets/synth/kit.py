"""A building kit: pieces put together from shapes in a local frame, then placed in a scene."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from harness.datasets.synth.geometry import CORNERS, Form, Shape
from harness.datasets.synth.paint import Floats, Material

Triple = Sequence[float] | Floats
"""Three numbers: a point, or extents."""


@dataclass
class Kit:
    """Collects the shapes of one thing.

    The frame of the thing: x to its right-hand side seen from behind, y to its front, z up; the origin lies
    on the ground below its middle. Metres.

    Attributes:
        label: Class of the shapes, unless said otherwise.
        shapes: What was built so far.
    """

    label: str
    shapes: list[Shape] = field(default_factory=list)

    def add(
        self,
        form: Form,
        material: Material,
        centre: Triple,
        size: Triple,
        *,
        axes: Floats | None = None,
        label: str = "",
        part: str = "",
        taper: float = 1.0,
        casts: bool = True,
    ) -> None:
        """Add a shape.

        Args:
            form: See `Shape`.
            material: What it looks like.
            centre: Its middle.
            size: Full extents along its axes.
            axes: Its axes as columns; those of the thing when None.
            label: Class when it differs from the thing's.
            part: Name of a body part.
            taper: See `Shape`.
            casts: Whether it throws a shadow.
        """
        shape = Shape(
            form=form,
            centre=np.asarray(centre, np.float32),
            axes=np.eye(3, dtype=np.float32) if axes is None else axes.astype(np.float32),
            half=np.asarray(size, np.float32) / 2,
            material=material,
            label=label or self.label,
            instance=0,
            part=part,
            taper=taper,
            casts=casts,
        )
        self.shapes.append(shape)

    def box(self, material: Material, foot: Triple, size: Triple, label: str = "") -> None:
        """Add a box that stands with the middle of its lower face on `foot`."""
        self.add("box", material, (foot[0], foot[1], foot[2] + size[2] / 2), size, label=label)

    def slab(self, material: Material, centre: Triple, size: Triple, tilt: float, label: str = "") -> None:
        """Add a box turned by `tilt` radians about its x axis."""
        c, s = np.cos(tilt), np.sin(tilt)
        axes = np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
        self.add("box", material, centre, size, axes=axes, label=label)

    def ball(self, material: Material, centre: Triple, size: Triple, label: str = "", part: str = "") -> None:
        """Add an ellipsoid."""
        self.add("ellipsoid", material, centre, size, label=label, part=part)

    def tube(
        self, material: Material, start: Triple, end: Triple, radius: float, taper: float = 1.0, label: str = ""
    ) -> None:
        """Add a cylinder, or a frustum that tapers from start to end."""
        # The z axis of a frustum runs from start to end.
        middle, length, axes = _along(start, end)
        self.add("frustum", material, middle, (2 * radius, 2 * radius, length), axes=axes, taper=taper, label=label)

    def limb(
        self, material: Material, start: Triple, end: Triple, radius: float, part: str = "", label: str = ""
    ) -> None:
        """Add a capsule whose round ends are centred on start and end."""
        middle, length, axes = _along(start, end)
        size = (2 * radius, 2 * radius, length + 2 * radius)
        self.add("capsule", material, middle, size, axes=axes, part=part, label=label)

    def legs(self, material: Material, width: float, depth: float, height: float, thickness: float) -> None:
        """Add four legs under the corners of a width x depth rectangle."""
        # Four corners, drawn in by the thickness.
        for x in (-width / 2 + thickness, width / 2 - thickness):
            for y in (-depth / 2 + thickness, depth / 2 - thickness):
                self.box(material, (x, y, 0), (thickness, thickness, height))

    def include(self, other: "Kit", at: Triple = (0, 0, 0), yaw: float = 0.0) -> None:
        """Add another thing, standing at `at` in this frame; it keeps its own labels."""
        self.shapes.extend(other.placed(at, yaw, 0))

    def placed(self, origin: Triple, yaw: float, instance: int, scale: float = 1.0) -> list[Shape]:
        """Return the shapes in the world.

        Args:
            origin: Where the thing's origin lands, [3].
            yaw: Turn about the vertical, radians, counter-clockwise from above.
            instance: Number of the thing.
            scale: Size factor.
        """
        turn = _about_z(yaw)
        start = np.asarray(origin, np.float32)
        return [
            replace(
                shape,
                centre=start + turn @ shape.centre * np.float32(scale),
                axes=turn @ shape.axes,
                half=shape.half * np.float32(scale),
                instance=instance,
            )
            for shape in self.shapes
        ]

    @cached_property
    def extent(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of the bounding box, [3] each; asked for when the thing is complete."""
        corners = np.concatenate([shape.corners() for shape in self.shapes])
        return corners.min(0), corners.max(0)

    def bounds(self, origin: Triple, yaw: float) -> tuple[Floats, Floats]:
        """Return lower and upper corner, [3] each, of a box in the world that holds the placed thing."""
        low, high = self.extent
        # Corners of the thing's box, turned and moved; the box around them is not the tightest, but quick. [8, 3]
        corners = (low + high) / 2 + CORNERS * (high - low) / 2
        turned = np.asarray(origin, np.float32) + corners @ _about_z(yaw).T
        return turned.min(0), turned.max(0)


def _about_z(yaw: float) -> Floats:
    """Return the rotation about the vertical, [3, 3]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _along(start: Triple, end: Triple) -> tuple[Floats, float, Floats]:
    """Return middle, length and a right-handed frame whose z axis runs from start to end."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    length = max(float(np.linalg.norm(b - a)), 1e-4)
    z = (b - a) / length
    # Any vector that is not parallel to z completes the frame.
    helper = np.array([1, 0, 0] if abs(z[2]) > 0.9 else [0, 0, 1], np.float32)
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return (a + b) / 2, length, np.stack([x, np.cross(z, x), z], 1).astype(np.float32)
