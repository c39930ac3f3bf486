"""Analytic solids and their intersections with rays.

World frame: x and y horizontal, z up, metres. Every solid is a unit form in its own frame, scaled by its
half extents and turned by its axes, so that one ray transform serves all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.datasets.synth.paint import Floats, Material

Form = Literal["box", "ellipsoid", "frustum", "capsule"]

NEAR = np.float32(0.05)
"""Nothing closer than this along a ray is seen."""

CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float32)
"""Corners of the unit box, [8, 3]."""


@dataclass(frozen=True)
class Shape:
    """One solid with its material and its meaning.

    Attributes:
        form: ``box``, ``ellipsoid``, ``frustum`` (a cylinder along its z axis, tapering towards +z) or
            ``capsule`` (along its z axis; its first half extent is the radius).
        centre: World position, [3].
        axes: Local axes in world coordinates as columns, [3, 3], orthonormal.
        half: Half extents along the local axes, [3].
        material: What it looks like.
        label: Class name.
        instance: Number of the thing it belongs to; shapes of one thing share it.
        part: Name of a body part, or empty.
        taper: Radius at the top of a frustum over the radius at its foot.
        casts: Whether it throws a shadow.
    """

    form: Form
    centre: Floats
    axes: Floats
    half: Floats
    material: Material
    label: str
    instance: int
    part: str = ""
    taper: float = 1.0
    casts: bool = True

    @property
    def scale(self) -> Floats:
        """Length of the local unit along each axis; a capsule is measured in radii."""
        return np.repeat(self.half[:1], 3) if self.form == "capsule" else self.half

    def to_local(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Return rays in the unit frame; the ray parameter keeps its meaning.

        Args:
            origin: Common origin, [3], or one per ray, [N, 3].
            directions: [N, 3], of any length.
        """
        # A point p of the world is R^T (p - c) / scale in the unit frame; both rays and origin take the same map.
        turn = (self.axes / self.scale).astype(np.float32)
        return (origin - self.centre) @ turn, directions @ turn

    def intersect(self, origin: Floats, directions: Floats) -> Floats:
        """Return the ray parameter of the first hit beyond `NEAR`, [N]; infinity where there is none."""
        o, d = self.to_local(origin, directions)
        if o.ndim == 1:
            o = np.broadcast_to(o, d.shape)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            hit: Floats = _INTERSECT[self.form](self, o, d).astype(np.float32)
        return hit

    def normal(self, local: Floats) -> Floats:
        """Return the outward unit normals in the world at surface points of the unit frame, [N, 3]."""
        # The face of the largest local coordinate is the one that was hit.
        if self.form == "box":
            axis = _widest(local)
            sign = np.sign(np.take_along_axis(local, axis[:, None], 1))
            return self.axes.T[axis] * sign
        # Normals transform by the inverse transpose: divided by the scale, then turned into the world.
        n = _NORMAL[self.form](self, local) / self.scale @ self.axes.T
        return n / np.sqrt(dot(n, n))[:, None]

    def surface(self, local: Floats) -> tuple[Floats, Floats]:
        """Return surface coordinates in metres.

        Args:
            local: Surface points of the unit frame, [N, 3].

        Returns:
            Coordinates (across, up) from the middle of the face, [N, 2], and the half size of that
            face, [N, 2]. On round forms "across" is the arc length.
        """
        if self.form != "box":
            # Round forms unroll: the arc length around the axis, and the height along it.
            radius = float(self.half[:2].mean())
            across = np.arctan2(local[:, 1], local[:, 0]) * np.float32(radius)
            up = local[:, 2] * self.scale[2]
            face = np.array([np.pi * radius, self.half[2]], np.float32)
            return np.stack([across, up], 1), np.broadcast_to(face, (len(local), 2))
        axis = _widest(local)
        x, y, z = self.half
        # Half sizes of the face across and up, by the axis that it faces. [N, 2]
        faces = np.array([[y, z], [x, z], [x, y]], np.float32)[axis]
        across = np.where(axis == 0, local[:, 1], local[:, 0])
        up = np.where(axis == 2, local[:, 1], local[:, 2])
        return np.stack([across, up], 1) * faces, faces

    def corners(self) -> Floats:
        """Return the corners of the bounding box in the world, [8, 3]."""
        reach = self.half
        # A frustum that widens upwards leaves its half extents.
        if self.taper > 1:
            reach = reach * np.array([self.taper, self.taper, 1], np.float32)
        return self.centre + (CORNERS * reach) @ self.axes.T


def _first(*candidates: Floats) -> Floats:
    """Return the smallest parameter beyond `NEAR`; NaN and what lies before count as no hit."""
    best = np.full(candidates[0].shape, np.inf, np.float32)
    for t in candidates:
        best = np.where((t > NEAR) & (t < best), t, best)
    return best


def _roots(a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Return both roots of a t^2 + 2 b t + c; NaN where there is none."""
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def dot(a: Floats, b: Floats) -> Floats:
    """Return the dot products of the rows, [N]."""
    product: Floats = np.einsum("ij,ij->i", a, b)
    return product


def _widest(p: Floats) -> NDArray[np.intp]:
    """Return the axis of the largest coordinate of every point, [N]."""
    x, y, z = np.abs(p).T
    return np.where(x >= np.maximum(y, z), 0, np.where(y >= z, 1, 2))


def hit_box(_: Shape, o: Floats, d: Floats) -> Floats:
    """Return where rays enter the box [-1, 1]^3; infinity where they miss, [N]."""
    # Slabs (Kay and Kajiya, SIGGRAPH 1986): a ray is inside where it is between all three pairs of planes.
    enter, leave = np.full(len(d), -np.inf, np.float32), np.full(len(d), np.inf, np.float32)
    for k in range(3):  # column by column: reductions over an axis of three are slow in NumPy
        inverse = 1 / d[:, k]
        low, high = (-1 - o[:, k]) * inverse, (1 - o[:, k]) * inverse
        enter = np.maximum(enter, np.minimum(low, high))
        leave = np.minimum(leave, np.maximum(low, high))
    return np.where((enter <= leave) & (enter > NEAR), enter, np.inf)


def hit_ellipsoid(_: Shape, o: Floats, d: Floats) -> Floats:
    """Return where rays enter the unit ball, [N]."""
    return _first(*_roots(dot(d, d), dot(o, d), dot(o, o) - 1))


def hit_frustum(shape: Shape, o: Floats, d: Floats) -> Floats:
    """Return where rays enter the frustum: radius 1 at z = -1, the taper at z = 1, [N]."""
    # x^2 + y^2 = (mid + slope z)^2 between the two caps.
    mid, slope = (1 + shape.taper) / 2, (shape.taper - 1) / 2
    reach, grow = mid + slope * o[:, 2], slope * d[:, 2]
    # Quadratic a t^2 + 2 b t + c = 0 of the mantle.
    a = d[:, 0] ** 2 + d[:, 1] ** 2 - grow**2
    b = o[:, 0] * d[:, 0] + o[:, 1] * d[:, 1] - reach * grow
    c = o[:, 0] ** 2 + o[:, 1] ** 2 - reach**2
    # Of the endless mantle only the part between the caps counts, and of their planes only the discs.
    sides = [np.where(np.abs(o[:, 2] + t * d[:, 2]) <= 1, t, np.inf) for t in _roots(a, b, c)]
    caps = []
    for z in (-1.0, 1.0):
        t = (z - o[:, 2]) / d[:, 2]
        radius2 = (o[:, 0] + t * d[:, 0]) ** 2 + (o[:, 1] + t * d[:, 1]) ** 2
        caps.append(np.where(radius2 <= (mid + slope * z) ** 2, t, np.inf))
    return _first(*sides, *caps)


def hit_capsule(shape: Shape, o: Floats, d: Floats) -> Floats:
    """Return where rays enter the capsule, in radii, [N]."""
    reach = _capsule_reach(shape)
    # A cylinder of radius 1 with half a ball on each end, all in radii.
    a = d[:, 0] ** 2 + d[:, 1] ** 2
    b = o[:, 0] * d[:, 0] + o[:, 1] * d[:, 1]
    c = o[:, 0] ** 2 + o[:, 1] ** 2 - 1
    side = _roots(a, b, c)[0]
    hits = [np.where(np.abs(o[:, 2] + side * d[:, 2]) <= reach, side, np.inf)]
    # The two balls.
    for z in (-reach, reach):
        p = o - np.array([0, 0, z], np.float32)
        hits.append(_roots(dot(d, d), dot(p, d), dot(p, p) - 1)[0])
    return _first(*hits)


def _capsule_reach(shape: Shape) -> float:
    """Return half the length of the capsule's core, in radii."""
    return float(max(shape.half[2] / shape.half[0] - 1, 0))


def normal_frustum(shape: Shape, p: Floats) -> Floats:
    """Return outward vectors of the frustum, [N, 3]."""
    mid, slope = (1 + shape.taper) / 2, (shape.taper - 1) / 2
    radius = mid + slope * p[:, 2]
    # The gradient of x^2 + y^2 - (mid + slope z)^2, halved.
    side = np.stack([p[:, 0], p[:, 1], -slope * radius], 1)
    cap = (np.abs(p[:, 2]) > 0.999) & (p[:, 0] ** 2 + p[:, 1] ** 2 < (0.999 * radius) ** 2)
    side[cap] = np.array([0, 0, 1], np.float32) * np.sign(p[cap, 2:])
    return side


def normal_capsule(shape: Shape, p: Floats) -> Floats:
    """Return outward vectors of the capsule, [N, 3]."""
    reach = _capsule_reach(shape)
    n = p.copy()
    # From the nearest point of the core outwards.
    n[:, 2] -= np.clip(p[:, 2], -reach, reach)
    return n


_INTERSECT: dict[Form, Callable[[Shape, Floats, Floats], Floats]] = {
    "box": hit_box,
    "ellipsoid": hit_ellipsoid,
    "frustum": hit_frustum,
    "capsule": hit_capsule,
}
_NORMAL: dict[Form, Callable[[Shape, Floats], Floats]] = {
    "ellipsoid": lambda _, p: p,
    "frustum": normal_frustum,
    "capsule": normal_capsule,
}
