"""Snapshots of the VOC classes: one main thing, company, and the place they are in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.datasets.synth import fittings, things
from harness.datasets.synth.geometry import Shape
from harness.datasets.synth.kit import Kit
from harness.datasets.synth.paint import Floats
from harness.datasets.synth.palette import stuff
from harness.datasets.synth.people import person
from harness.datasets.synth.render import Camera, Lamp, Scene

Rng = np.random.Generator

FOCAL = 1.0
"""Focal length in longest sides of the picture."""


@dataclass(frozen=True)
class Subject:
    """Photographs of a class: the thing, the places, the camera.

    Attributes:
        build: Makes the thing.
        places: Where it is found.
        eye: Lowest and highest camera, metres.
        lift: Height it hovers or stands above the ground, lowest and highest.
        company: Classes that may stand next to it.
    """

    build: Callable[[Rng], Kit]
    places: tuple[str, ...]
    eye: tuple[float, float] = (1.2, 1.8)
    lift: tuple[float, float] = (0.0, 0.0)
    company: tuple[str, ...] = ()


SUBJECTS: dict[str, Subject] = {
    "aeroplane": Subject(things.aeroplane, ("field", "road"), (1.5, 3.0), (0.0, 7.0)),
    "bicycle": Subject(things.bicycle, ("field", "street", "yard"), (0.9, 1.6), company=("car", "dog")),
    "bird": Subject(things.bird, ("field", "beach", "yard"), (0.2, 0.4), company=("bird",)),
    "boat": Subject(things.boat, ("water",), (1.5, 3.0), (-0.3, -0.2), company=("boat",)),
    "bottle": Subject(things.bottle, ("room",), (1.0, 1.3), (0.75, 0.75), company=("bottle",)),
    "bus": Subject(things.bus, ("street",), (1.5, 2.2), company=("car", "bicycle")),
    "car": Subject(things.car, ("street", "road", "field"), (1.1, 1.8), company=("bicycle", "car", "dog")),
    "cat": Subject(things.cat, ("room", "yard"), (0.4, 0.8), company=("sofa", "pottedplant")),
    "chair": Subject(things.chair, ("room",), (0.9, 1.5), company=("diningtable", "pottedplant", "tvmonitor")),
    "cow": Subject(things.cow, ("field",), (1.2, 1.7), company=("cow", "dog", "sheep")),
    "diningtable": Subject(things.diningtable, ("room",), (1.2, 1.7), company=("chair", "chair", "pottedplant")),
    "dog": Subject(things.dog, ("field", "yard", "beach", "room"), (0.5, 1.0), company=("bicycle", "cat")),
    "horse": Subject(things.horse, ("field", "yard"), (1.2, 1.8), company=("horse", "dog")),
    "motorbike": Subject(things.motorbike, ("street", "road", "yard"), (0.9, 1.5), company=("car",)),
    "person": Subject(person, ("field", "street", "room", "beach"), (1.1, 1.6), company=("dog", "bicycle", "chair")),
    "pottedplant": Subject(things.pottedplant, ("room", "yard"), (0.7, 1.2), company=("chair", "sofa", "cat")),
    "sheep": Subject(things.sheep, ("field",), (0.8, 1.4), company=("sheep", "sheep", "dog")),
    "sofa": Subject(things.sofa, ("room",), (1.0, 1.5), company=("cat", "pottedplant", "tvmonitor")),
    "train": Subject(things.train, ("rails",), (1.5, 3.0)),
    "tvmonitor": Subject(things.tvmonitor, ("room",), (1.0, 1.4), (0.5, 0.5), company=("pottedplant", "chair")),
}
"""The VOC classes in their order."""

_ROW = tuple(SUBJECTS)
TURNS = tuple(name for k in range(0, 20, 4) for name in (*(_ROW[(k + j) * 7 % 20] for j in range(4)), "person"))
"""Main classes, which take turns: each comes once, shuffled by the factor 7; every fifth picture is of a person."""

_GROUNDS = {
    "field": "grass",
    "beach": "sand",
    "yard": "ground",
    "street": "road",
    "road": "road",
    "rails": "ground",
    "water": "water",
}
_LABEL_OF_GROUND = {"sand": "ground"}

NO_PEOPLE = ("bird", "boat", "bottle")
"""Subjects that nobody stands next to."""


def snapshot_scene(index: int, shape: tuple[int, int], rng: Rng) -> Scene:
    """Return one snapshot; the main classes take turns.

    Args:
        index: Number of the scene.
        shape: (height, width) of the picture, which decides the framing.
        rng: Draws everything else.
    """
    name = TURNS[index % len(TURNS)]
    subject = SUBJECTS[name]
    place = str(rng.choice(subject.places))
    shapes = _main(name, subject, rng)
    camera, ahead = _frame(name, shapes, subject, shape, rng)
    shapes += _company(name, subject, place, shapes, ahead, rng)
    shapes += _indoors(rng, ahead) if place == "room" else _outdoors(place, rng, ahead)
    return Scene(
        shapes=shapes,
        camera=camera,
        lamps=_lights(place, rng),
        ambient=rng.uniform(0.35, 0.5),
        noise=rng.uniform(1.5, 3),
        # Bluish grey at the horizon, blue overhead. [2, 3]
        sky=np.stack(
            [
                np.array([0.70, 0.80, 0.90]) * rng.uniform(0.85, 1.1),
                np.array([0.16, 0.36, 0.80]) * rng.uniform(0.8, 1.2),
            ]
        ).astype(np.float32),
        exposure=rng.uniform(0.46, 0.58),
    )


def _main(name: str, subject: Subject, rng: Rng) -> list[Shape]:
    """Return the main thing, its middle above the world's origin, turned somewhat towards the camera."""
    # Animals and vehicles show either flank, things with a front show it.
    flank = 0.0 if name in ("diningtable", "sofa", "chair", "tvmonitor", "person") else float(rng.choice([0, np.pi]))
    yaw = np.pi + flank + float(rng.normal(0, 0.45))
    lift = float(rng.uniform(*subject.lift))
    if name == "aeroplane" and rng.random() < 0.5:
        lift = 0.0
    shapes = subject.build(rng).placed((0, 0, lift), yaw, 1)
    # What stands on something brings it along.
    if name == "bottle":
        shapes += things.diningtable(rng).placed((rng.uniform(-0.3, 0.3), 0.1, 0), np.pi, 2)
    if name == "tvmonitor":
        stand = Kit("cabinet")
        stand.box(stuff("cabinet", rng), (0, 0, 0), (1.3, 0.5, 0.5))
        shapes += stand.placed((rng.uniform(-0.2, 0.2), 0.05, 0), np.pi, 2)
    return shapes


def _frame(name: str, shapes: list[Shape], subject: Subject, shape: tuple[int, int], rng: Rng) -> tuple[Camera, float]:
    """Return a camera that shows the main thing at a good size, and its distance."""
    # Extents of the main thing. [8 k, 3]
    corners = np.concatenate([s.corners() for s in shapes if s.instance == 1])
    low, high = corners.min(0), corners.max(0)
    longest = max(shape)
    share = rng.uniform(0.65, 1.05) if name != "bottle" else rng.uniform(0.4, 0.7)
    # Far enough that the larger side of the thing takes the wanted part of the picture.
    across = (high[0] - low[0]) * longest / shape[1]
    up = (high[2] - low[2]) * longest / shape[0]
    distance = float(FOCAL * max(across, up) / share + (high[1] - low[1]) / 4)
    eye = float(rng.uniform(*subject.eye))
    middle = (low + high) / 2
    side = rng.normal(0, 0.1) * distance * shape[1] / longest / FOCAL / 2
    target = np.array([middle[0] + side, middle[1], middle[2] + rng.normal(0, 0.05) * distance])
    position = np.array([target[0], middle[1] - distance, eye], np.float32)
    pitch = np.arctan2(target[2] - eye, distance)
    return Camera.looking(position, 0.0, float(pitch), FOCAL * longest / shape[1]), distance


def _company(name: str, subject: Subject, place: str, shapes: list[Shape], ahead: float, rng: Rng) -> list[Shape]:
    """Return up to two more things and up to two people that stand clear of the rest."""
    # Who is asked: one or two of the classes that go along, where they go along with the place, and people.
    guests: list[Kit] = []
    if subject.company and rng.random() < 0.6:
        for choice in rng.permutation(subject.company)[: rng.integers(1, 3)]:
            other = SUBJECTS[str(choice)]
            if place in other.places:
                guests.append(other.build(rng))
    if name not in NO_PEOPLE and rng.random() < 0.92:
        guests += [person(rng) for _ in range(rng.integers(1, 3))]
    taken = [_floor_plan(shapes)]
    added: list[Shape] = []
    # Thirty tries for each to stand clear of all others, then it stays away.
    for number, kit in enumerate(guests, start=3):
        for _ in range(30):
            at = (rng.uniform(-0.42, 0.42) * ahead, rng.uniform(-0.35, 0.25) * ahead, 0.0)
            placed = kit.placed(at, np.pi + float(rng.normal(0, 0.7)), number)
            plan = _floor_plan(placed)
            if all(np.any(plan[0] > high) or np.any(plan[1] < low) for low, high in taken):
                taken.append(plan)
                added += placed
                break
    return added


def _floor_plan(shapes: list[Shape]) -> tuple[Floats, Floats]:
    corners = np.concatenate([shape.corners() for shape in shapes])[:, :2]
    return corners.min(0), corners.max(0)


def _ground(label: str, name: str, rng: Rng, centre: tuple[float, float], size: tuple[float, float]) -> Kit:
    kit = Kit(label)
    kit.add("box", stuff(name, rng), (*centre, -0.5), (*size, 1.0), casts=False)
    return kit


def _outdoors(place: str, rng: Rng, ahead: float) -> list[Shape]:
    """Return the ground and what closes the view: trees, houses or the open sky."""
    name = _GROUNDS[place]
    kits: list[tuple[Kit, tuple[float, float, float]]] = []
    # Ground first, then what closes the view by place.
    far = ahead + 12 + rng.uniform(0, 15)
    kits.append((_ground(_LABEL_OF_GROUND.get(name, name), name, rng, (0, 0), (600, 600)), (0, 0, 0)))
    if place == "street":
        kits += _street(rng, ahead, far)
    elif place == "rails":
        track = Kit("ground")
        for y in (-1.0, 1.0):
            track.box(stuff("rail", rng), (0, y, 0), (300, 0.12, 0.14))
        for x in np.arange(-24, 24, 1.2):  # sleepers
            track.add("box", stuff("trunk", rng), (x, 0, 0.03), (0.35, 3.0, 0.06), casts=False)
        kits += [(track, (0, 0, 0)), (_hills(rng), (0, 120, 0))]
    elif place == "water" or (place == "beach" and rng.random() < 0.6):
        shore = _ground("water", "water", rng, (0, 0), (600, 400)) if place == "beach" else _hills(rng)
        kits.append((shore, (0, 200 + ahead * 0.6, 0.01) if place == "beach" else (0, 160, 0)))
    else:
        kits.append((_hills(rng), (0, 160, 0)))
    if place not in ("water", "beach"):
        for _ in range(rng.integers(1, 6)):
            spread = far * 0.6
            kits.append((things.tree(rng), (rng.uniform(-spread, spread), far * rng.uniform(0.7, 1.3), 0)))
    shapes: list[Shape] = []
    for number, (kit, at) in enumerate(kits, start=20):
        shapes += kit.placed(at, 0.0, number)
    return shapes


def _hills(rng: Rng) -> Kit:
    kit = Kit("tree")
    for _ in range(4):
        kit.ball(stuff("leaves", rng), (rng.uniform(-90, 90), 0, -2), (rng.uniform(50, 120), 20, rng.uniform(14, 34)))
    return kit


def _street(rng: Rng, ahead: float, far: float) -> list[tuple[Kit, tuple[float, float, float]]]:
    kits: list[tuple[Kit, tuple[float, float, float]]] = []
    pavement = Kit("ground")
    pavement.box(stuff("floor tiles", rng), (0, 0, -0.02), (400, 4.0, 0.16))
    kits.append((pavement, (0, far - 5, 0)))
    line = Kit("road")
    # Dashes of the middle line.
    for x in np.arange(-30, 30, 4.0):
        line.add("box", stuff("road line", rng), (x, 0, 0.005), (1.8, 0.14, 0.012), casts=False)
    kits.append((line, (0, -0.3 * ahead, 0)))
    # Houses side by side over the whole view, with gaps here and there.
    x = -2.0 * far
    while x < 2.0 * far:
        house = things.building(rng)
        low, high = house.extent
        width = float(high[0] - low[0])
        kits.append((house, (x + width / 2, far, 0)))
        x += width + float(rng.choice([0.0, 2.5]))
    return kits


def _indoors(rng: Rng, ahead: float) -> list[Shape]:
    """Return a room corner with a window, a door or a picture on the wall."""
    depth, width, height = max(0.35 * ahead, 1.4) + 0.8, max(3.2, 1.6 * ahead), 2.7
    shapes: list[Shape] = []
    paint = stuff(str(rng.choice(["wall", "wallpaper"])), rng)
    # Three planes and a ceiling, large enough that no edge is seen but the corner.
    slabs = (
        ("floor", stuff(str(rng.choice(["parquet", "carpet", "floor tiles"])), rng), (0, 0, -0.05), (30, 30, 0.1)),
        ("wall", paint, (0, depth + 0.05, height / 2), (30, 0.1, height)),
        ("wall", paint, (width * rng.choice([-0.5, 0.5]), 0, height / 2), (0.1, 30, height)),
        ("ceiling", stuff("ceiling", rng), (0, 0, height + 0.05), (30, 30, 0.1)),
    )
    for number, (label, material, centre, size) in enumerate(slabs, start=20):
        kit = Kit(label)
        kit.add("box", material, centre, size, casts=False)
        shapes += kit.placed((0, 0, 0), 0, number)
    for number, side in enumerate((-1, 1), start=30):
        maker = (fittings.window, fittings.door, fittings.picture, fittings.draped_window)[rng.integers(4)]
        fitting = maker(rng)
        if rng.random() < 0.75:
            shapes += fitting.placed((side * width * rng.uniform(0.15, 0.35), depth, 0), np.pi, number)
    return shapes


def _lights(place: str, rng: Rng) -> tuple[Lamp, ...]:
    if place == "room":
        at = np.array([rng.uniform(-1, 1), rng.uniform(-1.2, 0.2), 2.4], np.float32)
        return (Lamp(at, rng.uniform(0.9, 1.2), 4.0),)
    # The sun stands 30 to 60 degrees high behind the camera.
    height, side = np.deg2rad(rng.uniform(30, 60)), rng.uniform(-1.2, 1.2)
    towards = np.array([np.sin(side) * np.cos(height), -np.cos(side) * np.cos(height), np.sin(height)])
    return (Lamp((towards * 500).astype(np.float32), rng.uniform(0.8, 1.1), np.inf),)
