"""Furnished rooms: which things, where they stand, what the camera sees."""

from dataclasses import dataclass, field

import numpy as np

from harness.datasets.synth import fittings as w
from harness.datasets.synth import furniture as f
from harness.datasets.synth.furniture import Maker
from harness.datasets.synth.geometry import Shape
from harness.datasets.synth.kit import Kit
from harness.datasets.synth.paint import Floats
from harness.datasets.synth.palette import stuff
from harness.datasets.synth.render import Camera, Lamp, Scene

FOCAL = 0.93
"""Focal length in widths of the picture (protocol: f = 0.93 w, 57 degrees across)."""

MAX_PITCH = np.deg2rad(15)


@dataclass(frozen=True)
class Kind:
    """One kind of room.

    Attributes:
        walls: Stuffs the walls may be made of.
        floors: Stuffs the floor may be made of.
        fittings: What hangs on the walls, most important first.
        furniture: What stands along the walls, most important first.
        loose: What stands free in the room.
        mat: Maker of its rug.
    """

    walls: tuple[str, ...]
    floors: tuple[str, ...]
    fittings: tuple[Maker, ...]
    furniture: tuple[Maker, ...]
    loose: tuple[Maker, ...]
    mat: Maker


KINDS = (
    Kind(
        ("wall", "wallpaper"),
        ("parquet", "carpet"),
        (w.draped_window, w.picture, w.door, w.mirror, w.picture),
        (f.bed, f.night_stand, f.dresser, f.bookshelf, f.cabinet, f.night_stand),
        (f.bag, f.chair, f.clothes),
        f.mat,
    ),
    Kind(
        ("wall", "wallpaper"),
        ("parquet", "carpet"),
        (w.picture, w.draped_window, w.door, w.picture, w.picture),
        (f.sofa, f.tv_stand, f.bookshelf, f.floor_lamp, f.sofa, f.cabinet),
        (f.table, f.chair, f.bystander),
        f.mat,
    ),
    Kind(
        ("wall",),
        ("carpet", "floor tiles"),
        (w.whiteboard, w.blind, w.door, w.picture, w.blind),
        (f.desk, f.shelves, f.bookshelf, f.desk, f.cabinet, f.shelves),
        (f.chair, f.carton, f.chair, f.bag, f.bystander),
        f.mat,
    ),
    Kind(
        ("wall", "wall tiles"),
        ("floor tiles", "parquet"),
        (w.blind, w.window, w.door, w.towel, w.picture),
        (f.counter, f.fridge, f.shelves, f.counter, f.cabinet),
        (f.table, f.chair, f.chair, f.carton),
        f.bath_mat,
    ),
    Kind(
        ("wall tiles",),
        ("floor tiles",),
        (w.mirror, w.towel, w.window, w.door, w.towel),
        (f.bathtub, f.toilet, f.basin, f.shelves, f.dresser),
        (f.bag,),
        f.bath_mat,
    ),
)
"""Bedroom, living room, office, kitchen and bathroom."""


@dataclass
class Room:
    """A box room being furnished; x in [-width/2, width/2], y in [-depth/2, depth/2].

    Attributes:
        width: Extent along x, metres.
        depth: Extent along y.
        height: Of the ceiling.
        camera: Position of the camera, which things keep clear of.
        shapes: What stands in it so far.
        taken: Occupied boxes, each as (lower corner, upper corner).
        things: Number of things placed.
        heart: Point of the floor that the camera likes to look at, [2].
    """

    width: float
    depth: float
    height: float
    camera: Floats
    shapes: list[Shape] = field(default_factory=list)
    taken: list[tuple[Floats, Floats]] = field(default_factory=list)
    things: int = 0
    heart: Floats = field(default_factory=lambda: np.zeros(2, np.float32))

    def against_wall(self, kit: Kit, rng: np.random.Generator) -> bool:
        """Try to stand the thing with its back to one of the three walls in view; return whether it fitted."""
        low, high = kit.extent
        for _ in range(12):
            # The far wall is in view longest, so half of the things stand there.
            side = int(rng.choice(3, p=[0.5, 0.25, 0.25]))
            yaw = (np.pi, -np.pi / 2, np.pi / 2)[side]
            length = self.width if side == 0 else self.depth
            # Room left along this wall once the thing is as wide as it is.
            free = length / 2 - max(-low[0], high[0]) - 0.05
            if free <= 0:
                continue
            along, back = rng.uniform(-free, free), float(low[1]) - 0.005
            at = (
                (along, self.depth / 2 + back),
                (-self.width / 2 - back, along),
                (self.width / 2 + back, along),
            )[side]
            if self.stand(kit, at, yaw):
                return True
        return False

    def loose(self, kit: Kit, rng: np.random.Generator) -> bool:
        """Try to stand the thing somewhere in the room; return whether it fitted."""
        for _ in range(12):
            at = (
                rng.uniform(-0.38, 0.38) * self.width,
                rng.uniform(-0.15, 0.38) * self.depth,
            )
            if self.stand(kit, at, float(rng.uniform(-np.pi, np.pi))):
                return True
        return False

    def stand(self, kit: Kit, at: tuple[float, float], yaw: float) -> bool:
        """Stand the thing at a point of the floor unless it meets another; return whether it fitted."""
        low, high = kit.bounds((at[0], at[1], 0), yaw)
        # Nothing taller than 30 cm within 90 cm of the camera: it would fill the picture.
        clear = 0.9 if high[2] > 0.3 else -1.0
        if np.all(low[:2] - clear < self.camera[:2]) and np.all(high[:2] + clear > self.camera[:2]):
            return False
        # Two boxes overlap unless an axis separates them; a centimetre of overlap is allowed.
        if any(np.all(low < h - 0.01) and np.all(high > g + 0.01) for g, h in self.taken):
            return False
        self.things += 1
        self.taken.append((low, high))
        self.shapes.extend(kit.placed((at[0], at[1], 0), yaw, self.things))
        return True

    def shell(self, kind: Kind, rng: np.random.Generator) -> None:
        """Add floor, ceiling and walls."""
        thick = 0.1
        w, d, h = self.width, self.depth, self.height
        paint = stuff(str(rng.choice(kind.walls)), rng)
        slabs = (
            ("floor", stuff(str(rng.choice(kind.floors)), rng), (0, 0, -thick / 2), (w, d, thick)),
            ("ceiling", stuff("ceiling", rng), (0, 0, h + thick / 2), (w, d, thick)),
            ("wall", paint, (0, d / 2 + thick / 2, h / 2), (w, thick, h)),
            ("wall", paint, (0, -d / 2 - thick / 2, h / 2), (w, thick, h)),
            ("wall", paint, (w / 2 + thick / 2, 0, h / 2), (thick, d, h)),
            ("wall", paint, (-w / 2 - thick / 2, 0, h / 2), (thick, d, h)),
        )
        for label, material, centre, size in slabs:
            kit = Kit(label)
            kit.add("box", material, centre, size, casts=False)
            self.things += 1
            self.shapes.extend(kit.placed((0, 0, 0), 0, self.things))


def room_scene(index: int, rng: np.random.Generator) -> Scene:
    """Return a furnished room seen by a camera.

    Args:
        index: Number of the scene; kinds of rooms take turns.
        rng: Draws everything else.
    """
    # Kinds of rooms take turns; bathrooms, the last kind, are smaller.
    kind = KINDS[index % len(KINDS)]
    cosy = 0.75 if index % len(KINDS) == 4 else 1.0
    width, depth = rng.uniform(3.2, 4.8) * cosy, rng.uniform(3.8, 6.0) * cosy
    height = rng.uniform(2.4, 3.0)
    # The camera stands near the wall behind it, at a person's eye level.
    position = np.array(
        [rng.uniform(-0.25, 0.25) * width, -depth / 2 + rng.uniform(0.15, 0.5), rng.uniform(1.2, 1.7)], np.float32
    )
    room = Room(width, depth, height, position)
    room.shell(kind, rng)
    _furnish(room, kind, rng)
    camera = _camera(room, rng)
    # The ceiling lamp, and a weaker light near the camera.
    overhead = np.array([rng.uniform(-0.3, 0.3) * width, rng.uniform(-0.3, 0.3) * depth, height - 0.25], np.float32)
    side = np.array([rng.choice([-0.4, 0.4]) * width, -0.4 * depth, rng.uniform(1.4, 2.2)], np.float32)
    return Scene(
        shapes=room.shapes,
        camera=camera,
        lamps=(
            Lamp(overhead, rng.uniform(0.9, 1.2), rng.uniform(3, 5)),
            Lamp(side, rng.uniform(0.3, 0.6), rng.uniform(3, 5)),
        ),
        ambient=rng.uniform(0.32, 0.48),
        noise=rng.uniform(2, 4),
        exposure=rng.uniform(0.54, 0.66),
    )


def _furnish(room: Room, kind: Kind, rng: np.random.Generator) -> None:
    """Place two must-haves of every sort first, then what else fits."""
    # The main piece and two fittings always come, and first, while there is room.
    room.against_wall(kind.furniture[0](rng), rng)
    room.heart = (room.taken[0][0] + room.taken[0][1])[:2] / 2 if room.taken else room.heart
    for maker in kind.fittings[:2]:
        room.against_wall(maker(rng), rng)
    for maker in kind.furniture[1:]:
        if rng.random() < 0.9:
            room.against_wall(maker(rng), rng)
    for maker in kind.fittings[2:]:
        if rng.random() < 0.9:
            room.against_wall(maker(rng), rng)
    for maker in kind.loose:
        if rng.random() < 0.75:
            room.loose(maker(rng), rng)
    if rng.random() < 0.7:
        mat = kind.mat(rng)
        at = (rng.uniform(-0.15, 0.15) * room.width, rng.uniform(-0.1, 0.2) * room.depth)
        # A rug lies under the furniture, so it is not kept apart from it.
        room.things += 1
        room.shapes.extend(mat.placed((*at, 0), float(rng.normal(0, 0.15)), room.things))


def _camera(room: Room, rng: np.random.Generator) -> Camera:
    """Aim the camera below eye level at the far part of the room, often towards its main piece."""
    # A point in the far half, drawn two thirds of the way to the main piece.
    target = np.array([rng.uniform(-0.4, 0.4) * room.width, 0.3 * room.depth])
    if rng.random() < 0.6:
        target = (target + 2 * room.heart) / 3
    way = target - room.camera[:2]
    yaw = float(np.arctan2(way[0], way[1]))
    drop = rng.uniform(0.7, 1.3) - float(room.camera[2])
    pitch = np.arctan2(drop, np.linalg.norm(way))
    return Camera.looking(room.camera, yaw, float(np.clip(pitch, -MAX_PITCH, MAX_PITCH)), FOCAL)
