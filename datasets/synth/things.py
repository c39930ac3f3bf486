"""The things of the VOC classes other than person, built from the kit; long things lie along x.

Labels are VOC class names. The parts of animals carry names too, as in PASCAL-Part; only people's count.
"""

import itertools

import numpy as np

from harness.datasets.synth.kit import Kit, Triple
from harness.datasets.synth.paint import Floats, Material
from harness.datasets.synth.palette import stuff

Rng = np.random.Generator


def aeroplane(rng: Rng) -> Kit:
    """An airliner, 14 m long."""
    kit, body, wing = Kit("aeroplane"), stuff("fuselage", rng), stuff("wing", rng)
    kit.limb(body, (-5.5, 0, 2.2), (5.5, 0, 2.2), 1.0)
    kit.ball(body, (6.3, 0, 2.15), (2.6, 1.8, 1.8))
    for sign in (-1, 1):
        kit.add("box", wing, (-0.3 - 0.6, sign * 3.4, 1.9), (2.0, 5.6, 0.18), axes=_turn(sign * 0.35))
        kit.add("box", wing, (-5.9, sign * 1.4, 2.6), (1.0, 2.4, 0.14), axes=_turn(sign * 0.35))
        kit.tube(stuff("hub", rng), (-0.6, sign * 2.6, 1.4), (1.0, sign * 2.6, 1.4), 0.42)
        kit.tube(stuff("tyre", rng), (-0.8, sign * 1.2 - 0.15, 0.45), (-0.8, sign * 1.2 + 0.15, 0.45), 0.45)
    kit.slab(stuff("sail", rng), (-5.9, 0, 3.8), (1.5, 0.16, 2.4), 0.0)
    kit.box(stuff("car glass", rng), (6.5, 0, 2.45), (0.7, 1.1, 0.3))
    kit.tube(stuff("tyre", rng), (4.6, -0.12, 0.4), (4.6, 0.12, 0.4), 0.4)
    kit.limb(wing, (4.6, 0, 0.4), (4.6, 0, 1.4), 0.1)
    return kit


def _turn(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _wheel(kit: Kit, rng: Rng, centre: Triple, radius: float, width: float) -> None:
    x, y, z = centre
    kit.tube(stuff("tyre", rng), (x, y - width / 2, z), (x, y + width / 2, z), radius)
    kit.tube(stuff("hub", rng), (x, y - width / 2 - 0.01, z), (x, y + width / 2 + 0.01, z), radius * 0.55)


def _spoked_wheel(kit: Kit, tyre: Material, spoke: Material, x: float, radius: float, thick: float) -> None:
    """Add a rim of capsules with spokes: one sees through it."""
    angles = np.linspace(0, 2 * np.pi, 13)
    rim = np.stack([x + radius * np.cos(angles), 0 * angles, radius + thick + radius * np.sin(angles)], 1)
    for a, b in itertools.pairwise(rim):
        kit.limb(tyre, a, b, thick)
    for k in (0, 2, 4):
        kit.limb(spoke, rim[k], rim[k + 6], thick * 0.35)


def bicycle(rng: Rng) -> Kit:
    """A bicycle."""
    kit, frame, tyre, spoke = Kit("bicycle"), stuff("bike frame", rng), stuff("tyre", rng), stuff("hub", rng)
    for x in (-0.52, 0.52):
        _spoked_wheel(kit, tyre, spoke, x, 0.31, 0.032)
    crank, saddle, head = (-0.05, 0, 0.32), (-0.2, 0, 0.86), (0.38, 0, 0.84)
    bars = [(crank, saddle), (crank, head), ((-0.18, 0, 0.78), head), ((-0.52, 0, 0.34), crank)]
    bars += [((-0.52, 0, 0.34), (-0.18, 0, 0.78)), ((0.52, 0, 0.34), (0.36, 0, 0.96))]
    for start, end in bars:
        kit.limb(frame, start, end, 0.032)
    kit.ball(tyre, (-0.22, 0, 0.92), (0.3, 0.16, 0.09))
    kit.limb(tyre, (0.36, -0.24, 0.98), (0.36, 0.24, 0.98), 0.025)
    return kit


def motorbike(rng: Rng) -> Kit:
    """A motorcycle."""
    kit, paint, dark = Kit("motorbike"), stuff("car body", rng), stuff("plastic", rng)
    for x in (-0.68, 0.68):
        _wheel(kit, rng, (x, 0, 0.32), 0.32, 0.16)
    kit.ball(paint, (0.12, 0, 0.82), (0.62, 0.32, 0.32))
    kit.ball(paint, (0.62, 0, 0.68), (0.36, 0.2, 0.14))
    kit.ball(dark, (-0.35, 0, 0.8), (0.78, 0.3, 0.18))
    kit.box(stuff("hub", rng), (0, 0, 0.25), (0.52, 0.3, 0.38))
    kit.limb(stuff("hub", rng), (0.68, 0, 0.32), (0.42, 0, 1.0), 0.045)
    kit.limb(dark, (0.4, -0.32, 1.04), (0.4, 0.32, 1.04), 0.03)
    kit.limb(stuff("hub", rng), (-0.1, 0.15, 0.28), (-0.85, 0.15, 0.36), 0.055)
    kit.ball(stuff("headlight", rng), (0.54, 0, 0.92), (0.14, 0.2, 0.2))
    return kit


def bird(rng: Rng) -> Kit:
    """A bird on its feet."""
    kit, coat, beak = Kit("bird"), stuff("feathers", rng), stuff("beak", rng)
    kit.ball(coat, (0, 0, 0.2), (0.34, 0.18, 0.2), part="torso")
    kit.ball(coat, (0.15, 0, 0.33), (0.14, 0.13, 0.13), part="head")
    kit.tube(beak, (0.2, 0, 0.33), (0.31, 0, 0.31), 0.03, 0.1)
    kit.ball(stuff("plastic", rng), (0.19, -0.05, 0.35), (0.025, 0.025, 0.025))
    for sign in (-1, 1):
        kit.ball(coat, (-0.06, sign * 0.09, 0.22), (0.3, 0.05, 0.12))
        kit.limb(beak, (0, sign * 0.04, 0.1), (0.02, sign * 0.05, 0.0), 0.01)
    kit.slab(coat, (-0.24, 0, 0.19), (0.22, 0.1, 0.03), 0.0)
    return kit


def boat(rng: Rng) -> Kit:
    """A sailing boat."""
    kit, hull = Kit("boat"), stuff("hull", rng)
    kit.ball(hull, (0, 0, 0.3), (6.2, 2.0, 1.7))
    kit.box(stuff("mast", rng), (0, 0, 0.8), (4.6, 1.5, 0.12))
    kit.box(stuff("sail", rng), (-0.9, 0, 0.9), (1.7, 1.1, 0.7))
    kit.tube(stuff("mast", rng), (0.5, 0, 0.8), (0.5, 0, 6.2), 0.09)
    # A tall thin cone reads as a triangular sail.
    kit.add("frustum", stuff("sail", rng), (-0.55, 0, 3.6), (2.2, 0.14, 4.4), taper=0.06)
    kit.add("frustum", stuff("sail", rng), (1.3, 0, 3.0), (1.5, 0.12, 3.4), taper=0.06)
    return kit


def bottle(rng: Rng) -> Kit:
    """A wine bottle."""
    kit, glass = Kit("bottle"), stuff("glass", rng)
    kit.tube(glass, (0, 0, 0), (0, 0, 0.2), 0.045)
    kit.tube(glass, (0, 0, 0.2), (0, 0, 0.25), 0.045, 0.35)
    kit.tube(glass, (0, 0, 0.25), (0, 0, 0.33), 0.016)
    kit.tube(stuff("sticker", rng), (0, 0, 0.06), (0, 0, 0.15), 0.0465)
    return kit


def bus(rng: Rng) -> Kit:
    """A bus, 9 m long."""
    kit, body, glass = Kit("bus"), stuff("bus body", rng), stuff("car glass", rng)
    kit.box(body, (0, 0, 0.4), (9.0, 2.5, 2.7))
    kit.box(glass, (4.48, 0, 1.5), (0.1, 2.2, 1.2))
    for x in (-2.8, 2.8):
        for y in (-1.15, 1.15):
            _wheel(kit, rng, (x, y, 0.5), 0.5, 0.3)
    for y in (-0.9, 0.9):
        kit.ball(stuff("headlight", rng), (4.5, y, 0.9), (0.15, 0.35, 0.3))
    return kit


def car(rng: Rng) -> Kit:
    """A saloon car."""
    kit, paint, glass = Kit("car"), stuff("car body", rng), stuff("car glass", rng)
    kit.box(paint, (0, 0, 0.35), (4.2, 1.72, 0.5))
    kit.ball(paint, (0, 0, 0.72), (4.3, 1.7, 0.62))
    kit.add("frustum", glass, (-0.25, 0, 1.1), (2.7, 1.75, 0.6), taper=0.68)
    kit.add("ellipsoid", paint, (-0.25, 0, 1.38), (1.75, 1.1, 0.16))
    kit.box(paint, (-0.2, 0, 0.85), (0.12, 1.5, 0.45))
    for x in (-1.3, 1.35):
        for y in (-0.78, 0.78):
            _wheel(kit, rng, (x, y, 0.34), 0.34, 0.22)
    for y in (-0.6, 0.6):
        kit.ball(stuff("headlight", rng), (2.08, y, 0.66), (0.16, 0.34, 0.2))
    return kit


def _animal(label: str, coat: Material, skin: Material, body: Triple, leg: float, thick: float, head: Triple) -> Kit:
    """Build a four-legged animal that looks towards +x; `body` and `head` are extents, `leg` the height."""
    kit = Kit(label)
    length, width, height = body
    middle = leg + height * 0.42
    kit.ball(coat, (0, 0, middle), body, part="torso")
    kit.ball(coat, (length * 0.28, 0, middle + 0.03 * height), (length * 0.5, width, height * 1.02), part="torso")
    for x in (-0.32, 0.33):
        for y in (-0.28, 0.28):
            kit.limb(coat, (x * length, y * width, middle), (x * length, y * width, leg / 2), thick)
            kit.limb(skin, (x * length, y * width, leg / 2), (x * length, y * width, thick), thick * 0.8)
    return kit


def cat(rng: Rng) -> Kit:
    """A cat with pointed ears and its tail up."""
    fur = stuff("cat fur", rng)
    kit = _animal("cat", fur, fur, (0.46, 0.17, 0.19), 0.17, 0.032, (0.15, 0.14, 0.13))
    kit.ball(fur, (0.27, 0, 0.34), (0.17, 0.16, 0.15), part="head")
    for y in (-0.05, 0.05):
        kit.tube(fur, (0.27, y, 0.39), (0.27, y * 1.2, 0.47), 0.035, 0.1)
        kit.ball(stuff("headlight", rng), (0.34, y * 0.7, 0.36), (0.025, 0.03, 0.03), part="head")
    kit.limb(fur, (-0.22, 0, 0.28), (-0.34, 0, 0.46), 0.022)
    kit.limb(fur, (-0.34, 0, 0.46), (-0.3, 0, 0.56), 0.02)
    return kit


def dog(rng: Rng) -> Kit:
    """A dog with hanging ears."""
    fur = stuff("dog fur", rng)
    kit = _animal("dog", fur, fur, (0.72, 0.26, 0.3), 0.34, 0.05, (0.2, 0.2, 0.2))
    kit.limb(fur, (0.3, 0, 0.52), (0.42, 0, 0.66), 0.085, part="torso")
    kit.ball(fur, (0.45, 0, 0.72), (0.24, 0.19, 0.2), part="head")
    kit.limb(fur, (0.5, 0, 0.69), (0.62, 0, 0.67), 0.05, part="head")
    dark = stuff("mane", rng)
    kit.ball(dark, (0.67, 0, 0.68), (0.05, 0.06, 0.05), part="head")
    for y in (-0.1, 0.1):
        kit.ball(dark, (0.41, y, 0.68), (0.1, 0.05, 0.2), part="head")
    kit.limb(fur, (-0.32, 0, 0.5), (-0.52, 0, 0.72), 0.03)
    return kit


def horse(rng: Rng) -> Kit:
    """A horse."""
    coat, mane = stuff("horse coat", rng), stuff("mane", rng)
    kit = _animal("horse", coat, coat, (1.7, 0.56, 0.68), 0.82, 0.085, (0.5, 0.25, 0.3))
    kit.limb(coat, (0.68, 0, 1.2), (1.05, 0, 1.72), 0.17, part="torso")
    kit.limb(coat, (1.08, 0, 1.78), (1.42, 0, 1.52), 0.115, part="head")
    kit.limb(mane, (0.52, 0, 1.42), (0.94, 0, 1.86), 0.08, part="head")
    for y in (-0.07, 0.07):
        kit.tube(coat, (1.02, y, 1.86), (1.03, y, 2.0), 0.045, 0.2)
    kit.limb(mane, (-0.85, 0, 1.18), (-1.0, 0, 0.6), 0.07)
    return kit


def cow(rng: Rng) -> Kit:
    """A black-and-white or brown-and-white cow."""
    coat = stuff("cowhide", rng)
    kit = _animal("cow", coat, coat, (1.75, 0.68, 0.82), 0.66, 0.1, (0.5, 0.3, 0.3))
    kit.limb(coat, (0.78, 0, 1.12), (1.02, 0, 1.24), 0.18, part="torso")
    kit.limb(coat, (1.08, 0, 1.28), (1.36, 0, 1.1), 0.14, part="head")
    skin = stuff("cushion", rng)
    kit.ball(skin, (1.46, 0, 1.05), (0.16, 0.22, 0.2), part="head")
    kit.ball(skin, (-0.45, 0, 0.66), (0.4, 0.32, 0.26))
    for y in (-1, 1):
        kit.tube(stuff("beak", rng), (1.02, y * 0.1, 1.4), (1.0, y * 0.22, 1.55), 0.04, 0.2)
    kit.limb(coat, (-0.86, 0, 1.15), (-0.95, 0, 0.6), 0.035)
    return kit


def sheep(rng: Rng) -> Kit:
    """A woolly sheep."""
    wool, skin = stuff("wool", rng), stuff("sheep skin", rng)
    kit = _animal("sheep", wool, skin, (1.0, 0.56, 0.62), 0.4, 0.06, (0.3, 0.2, 0.2))
    for _ in range(5):
        at = (rng.uniform(-0.35, 0.35), rng.uniform(-0.15, 0.15), 0.72 + rng.uniform(0, 0.1))
        kit.ball(wool, at, (0.42, 0.38, 0.34), part="torso")
    kit.limb(skin, (0.52, 0, 0.82), (0.7, 0, 0.74), 0.1, part="head")
    kit.ball(wool, (0.5, 0, 0.9), (0.24, 0.24, 0.2), part="head")
    for y in (-0.12, 0.12):
        kit.ball(skin, (0.52, y, 0.84), (0.08, 0.14, 0.06), part="head")
    return kit


def chair(rng: Rng) -> Kit:
    """A wooden chair."""
    kit, wood = Kit("chair"), stuff("chair wood", rng)
    kit.box(wood, (0, 0, 0.43), (0.46, 0.46, 0.05))
    kit.legs(wood, 0.46, 0.46, 0.43, 0.045)
    for x in (-0.2, -0.07, 0.07, 0.2):
        kit.box(wood, (x, -0.21, 0.46), (0.04, 0.035, 0.5))
    kit.box(wood, (0, -0.21, 0.86), (0.46, 0.05, 0.12))
    return kit


def diningtable(rng: Rng) -> Kit:
    """A laid dining table."""
    kit, wood, plate = Kit("diningtable"), stuff("dining wood", rng), stuff("plate", rng)
    kit.box(wood, (0, 0, 0.7), (1.5, 0.9, 0.05))
    kit.legs(wood, 1.5, 0.9, 0.7, 0.08)
    for x, y in ((-0.45, 0.2), (0.0, -0.2), (0.45, 0.2)):
        kit.tube(plate, (x, y, 0.75), (x, y, 0.77), 0.13)
    return kit


def sofa(rng: Rng) -> Kit:
    """A sofa."""
    kit, cloth, width = Kit("sofa"), stuff("sofa blue", rng), rng.uniform(1.5, 2.0)
    kit.box(cloth, (0, 0, 0.08), (width, 0.85, 0.34))
    kit.slab(cloth, (0, -0.32, 0.58), (width - 0.1, 0.2, 0.6), 0.15)
    for sign in (-1, 1):
        kit.box(cloth, (sign * (width / 2 - 0.08), 0, 0.06), (0.2, 0.88, 0.56))
        kit.slab(stuff("cushion", rng), (sign * width * 0.28, -0.12, 0.6), (0.4, 0.13, 0.36), 0.3)
    return kit


def pottedplant(rng: Rng) -> Kit:
    """A plant in a pot."""
    kit, leaf = Kit("pottedplant"), stuff("plant", rng)
    kit.tube(stuff("pot", rng), (0, 0, 0), (0, 0, 0.28), 0.12, 1.4)
    for angle in rng.uniform(0, 2 * np.pi, 9):
        lean, height = rng.uniform(0.08, 0.32), rng.uniform(0.35, 0.75)
        tip = (lean * np.cos(angle), lean * np.sin(angle), 0.25 + height)
        kit.limb(leaf, (0, 0, 0.26), tip, 0.018)
        kit.ball(leaf, tip, (0.24, 0.2, 0.18))
    return kit


def train(rng: Rng) -> Kit:
    """A locomotive with a carriage."""
    kit, body = Kit("train"), stuff("train body", rng)
    for x in (-5.2, 5.2):
        kit.box(body, (x, 0, 0.7), (9.8, 2.8, 2.9))
        kit.box(stuff("plastic", rng), (x, 0, 0.25), (8.6, 2.2, 0.5))
        for wheel in (-3.2, -2.0, 2.0, 3.2):
            _wheel(kit, rng, (x + wheel, 1.05, 0.45), 0.45, 0.2)
            _wheel(kit, rng, (x + wheel, -1.05, 0.45), 0.45, 0.2)
    kit.box(stuff("car glass", rng), (10.08, 0, 2.0), (0.1, 2.2, 1.0))
    kit.box(stuff("plastic", rng), (0, 0, 0.9), (0.7, 1.6, 2.2))
    for y in (-0.9, 0.9):
        kit.ball(stuff("headlight", rng), (10.1, y, 1.3), (0.2, 0.4, 0.4))
    return kit


def tvmonitor(rng: Rng) -> Kit:
    """A screen on its foot."""
    kit, black = Kit("tvmonitor"), stuff("plastic", rng)
    kit.box(black, (0, -0.03, 0.08), (0.74, 0.05, 0.46))
    kit.add("box", stuff("monitor", rng), (0, 0.0, 0.31), (0.7, 0.03, 0.42))
    kit.box(black, (0, -0.03, 0.0), (0.08, 0.06, 0.1))
    kit.box(black, (0, -0.02, 0.0), (0.34, 0.2, 0.02))
    return kit


def tree(rng: Rng) -> Kit:
    """A tree; no VOC class."""
    kit, leaf = Kit("tree"), stuff("leaves", rng)
    height = rng.uniform(1.6, 2.6)
    kit.tube(stuff("trunk", rng), (0, 0, 0), (0, 0, height), 0.2, 0.6)
    for _ in range(4):
        at = (rng.normal(0, 0.7), rng.normal(0, 0.7), height + rng.uniform(0.1, 1.6))
        size = rng.uniform(1.6, 2.6)
        kit.ball(leaf, at, (size, size, size * 0.85))
    return kit


def building(rng: Rng) -> Kit:
    """A house front; no VOC class."""
    kit, width = Kit("building"), rng.uniform(6, 12)
    kit.box(stuff(str(rng.choice(["building", "building", "brick"])), rng), (0, 0, 0), (width, 6, rng.uniform(5, 11)))
    return kit
