"""Furniture, built from the kit: front towards +y, back against the wall.

Labels are NYU-40 class names.
"""

from collections.abc import Callable

import numpy as np

from harness.datasets.synth.kit import Kit
from harness.datasets.synth.palette import stuff
from harness.datasets.synth.people import person

Rng = np.random.Generator
Maker = Callable[[Rng], Kit]


def bed(rng: Rng) -> Kit:
    """A made bed with pillows, sometimes with clothes thrown on it."""
    kit, width, length = Kit("bed"), rng.uniform(1.3, 1.8), rng.uniform(1.9, 2.1)
    frame, cover = stuff("bed frame", rng), stuff("bedding", rng)
    kit.box(frame, (0, -length / 2 + 0.04, 0), (width + 0.1, 0.08, rng.uniform(0.9, 1.15)))
    kit.box(frame, (0, 0, 0.08), (width, length, 0.22))
    kit.box(stuff("sheet", rng), (0, 0, 0.3), (width - 0.04, length - 0.04, 0.2))
    kit.box(cover, (0, 0.22, 0.22), (width + 0.04, length - 0.4, 0.32))
    pillow = stuff("pillow", rng)
    for x in (-width / 4, width / 4):
        kit.ball(pillow, (x, -length / 2 + 0.34, 0.58), (0.62, 0.42, 0.22), label="pillow")
    if rng.random() < 0.5:
        heap(kit, rng, (rng.uniform(-0.3, 0.3), rng.uniform(0.1, 0.6), 0.52))
    return kit


def heap(kit: Kit, rng: Rng, at: tuple[float, float, float]) -> None:
    """Add a heap of clothes."""
    for _ in range(3):
        x, y = at[0] + rng.normal(0, 0.12), at[1] + rng.normal(0, 0.12)
        size = (rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4), rng.uniform(0.14, 0.26))
        kit.ball(stuff("clothes", rng), (x, y, at[2] + 0.04), size, label="clothes")


def clothes(rng: Rng) -> Kit:
    """A heap of clothes on the floor."""
    kit = Kit("clothes")
    heap(kit, rng, (0.0, 0.0, 0.0))
    return kit


def sofa(rng: Rng) -> Kit:
    """A sofa with arm rests, seat cushions and one or two pillows."""
    kit, width, cloth = Kit("sofa"), rng.uniform(1.6, 2.2), stuff("sofa cloth", rng)
    kit.box(cloth, (0, 0, 0.08), (width, 0.9, 0.24))
    kit.slab(cloth, (0, -0.33, 0.56), (width - 0.1, 0.2, 0.62), 0.15)
    for sign in (-1, 1):
        kit.box(cloth, (sign * (width / 2 - 0.09), 0, 0.06), (0.2, 0.92, 0.56))
        kit.box(cloth, (sign * (width - 0.4) / 4, 0.08, 0.32), ((width - 0.42) / 2, 0.68, 0.14))
    for sign in rng.permutation([-1, 1])[: rng.integers(1, 3)]:
        turn = Kit("pillow")
        turn.slab(stuff("cushion", rng), (0, 0, 0.22), (0.44, 0.13, 0.42), 0.35)
        kit.include(turn, (sign * (width / 2 - 0.42), -0.1, 0.44), float(rng.normal(0, 0.2)))
    return kit


def chair(rng: Rng) -> Kit:
    """A chair with four legs or an office chair on a pedestal."""
    kit, cloth, leg = Kit("chair"), stuff("chair", rng), stuff("chair leg", rng)
    seat = rng.uniform(0.43, 0.48)
    kit.box(cloth, (0, 0, seat), (0.46, 0.46, 0.07))
    kit.slab(cloth, (0, -0.23, seat + 0.34), (0.44, 0.06, 0.44), 0.12)
    if rng.random() < 0.5:
        kit.legs(leg, 0.44, 0.44, seat, 0.045)
        for x in (-0.19, 0.19):
            kit.box(leg, (x, -0.2, seat), (0.03, 0.03, 0.2))
    else:
        kit.tube(leg, (0, 0, 0.08), (0, 0, seat), 0.035)
        kit.box(leg, (0, -0.2, seat), (0.06, 0.03, 0.2))
        for angle in np.linspace(0, 2 * np.pi, 5, endpoint=False):
            kit.limb(leg, (0, 0, 0.08), (0.26 * np.cos(angle), 0.26 * np.sin(angle), 0.04), 0.025)
    return kit


def _desk_like(label: str, rng: Rng, width: float, depth: float, height: float) -> Kit:
    kit, top = Kit(label), stuff(label, rng)
    kit.box(top, (0, 0, height - 0.05), (width, depth, 0.05))
    kit.legs(top, width, depth, height - 0.05, 0.07)
    return kit


def table(rng: Rng) -> Kit:
    """A table with a few things on it."""
    height = float(rng.choice([0.45, 0.74]))
    kit = _desk_like("table", rng, rng.uniform(1.0, 1.4), rng.uniform(0.65, 0.85), height)
    _books(kit, rng, (-0.25, 0.05, height))
    if rng.random() < 0.6:
        kit.box(stuff("paper", rng), (0.25, 0.1, height), (0.3, 0.22, 0.01), label="paper")
    return kit


def desk(rng: Rng) -> Kit:
    """A desk with a screen, paper and books."""
    kit = _desk_like("desk", rng, rng.uniform(1.3, 1.7), 0.75, 0.74)
    kit.box(stuff("desk", rng), (0.42, 0.0, 0.1), (0.4, 0.62, 0.59))
    _screen(kit, rng, (-0.1, -0.15, 0.74), 0.6)
    kit.box(stuff("paper", rng), (0.4, 0.12, 0.74), (0.34, 0.4, 0.012), label="paper")
    _books(kit, rng, (0.45, -0.22, 0.752))
    return kit


def _screen(kit: Kit, rng: Rng, at: tuple[float, float, float], width: float) -> None:
    black = stuff("television", rng)
    kit.box(black, (at[0], at[1], at[2] + 0.05), (width, 0.05, width * 0.6), label="television")
    kit.box(black, at, (width * 0.4, 0.18, 0.05), label="television")


def _books(kit: Kit, rng: Rng, at: tuple[float, float, float]) -> None:
    """Add a stack of lying books."""
    for k in range(3):
        size = (rng.uniform(0.2, 0.28), rng.uniform(0.15, 0.2), 0.05)
        kit.box(stuff("books", rng), (at[0], at[1], at[2] + 0.05 * k), size, label="books")


def _boards(kit: Kit, rng: Rng, wood: str, width: float, heights: np.ndarray, depth: float, fill: float) -> None:
    """Add boards with rows of books and the odd box on them."""
    board = stuff(wood, rng)
    gap = float(heights[1] - heights[0])
    for z in heights:
        kit.box(board, (0, 0, float(z)), (width, depth, 0.035))
        if z == heights[-1]:
            continue
        if rng.random() < fill:
            length = rng.uniform(0.6, 0.95) * (width - 0.1)
            left = rng.uniform(-1, 1) * (width - 0.1 - length) / 2
            size = (length, depth * 0.7, gap * rng.uniform(0.6, 0.8))
            kit.box(stuff("books", rng), (left, 0.0, float(z) + 0.035), size, label="books")
        elif rng.random() < 0.7:
            size = (min(0.4, width / 2), depth * 0.8, gap * 0.6)
            kit.box(stuff("cardboard", rng), (0.1, 0.02, float(z) + 0.035), size, label="box")


def bookshelf(rng: Rng) -> Kit:
    """A tall dark bookcase full of books."""
    kit, width, height = Kit("bookshelf"), rng.uniform(0.8, 1.3), rng.uniform(1.6, 2.1)
    wood = stuff("bookcase", rng)
    kit.box(wood, (0, -0.14, 0), (width, 0.03, height))
    for sign in (-1, 1):
        kit.box(wood, (sign * width / 2, 0, 0), (0.04, 0.32, height))
    _boards(kit, rng, "bookcase", width, np.linspace(0.05, height - 0.03, 6), 0.3, 0.9)
    return kit


def shelves(rng: Rng) -> Kit:
    """White open shelves with boxes and a few books."""
    kit, width, height = Kit("shelves"), rng.uniform(0.8, 1.2), rng.uniform(1.3, 1.8)
    board = stuff("shelf board", rng)
    for x in (-width / 2, width / 2):
        for y in (-0.16, 0.16):
            kit.box(board, (x, y, 0), (0.04, 0.04, height))
    _boards(kit, rng, "shelf board", width, np.linspace(0.1, height - 0.04, 5), 0.36, 0.35)
    return kit


def cabinet(rng: Rng) -> Kit:
    """A cabinet with doors."""
    kit, height = Kit("cabinet"), float(rng.choice([0.85, 1.3, 1.9]))
    kit.box(stuff("cabinet", rng), (0, 0, 0), (rng.uniform(0.9, 1.4), 0.5, height))
    return kit


def tv_stand(rng: Rng) -> Kit:
    """A television on a low cabinet."""
    kit, width = Kit("cabinet"), rng.uniform(1.2, 1.6)
    kit.box(stuff("cabinet", rng), (0, 0, 0), (width, 0.45, 0.5))
    _screen(kit, rng, (0, 0, 0.5), width * 0.75)
    return kit


def dresser(rng: Rng) -> Kit:
    """A chest of drawers."""
    kit, height = Kit("dresser"), rng.uniform(0.85, 1.1)
    kit.box(stuff("dresser", rng), (0, 0, 0), (rng.uniform(0.9, 1.3), 0.48, height))
    if rng.random() < 0.5:
        kit.box(stuff("cardboard", rng), (0.15, 0, height), (0.32, 0.26, 0.22), label="box")
    return kit


def night_stand(rng: Rng) -> Kit:
    """A night stand with a lamp."""
    kit = Kit("night stand")
    kit.box(stuff("night stand", rng), (0, 0, 0), (0.48, 0.42, 0.52))
    _lamp(kit, rng, 0.52, 0.24, 0.15)
    return kit


def _lamp(kit: Kit, rng: Rng, foot: float, stem: float, radius: float) -> None:
    metal, shade = stuff("lamp foot", rng), stuff("lamp shade", rng)
    kit.tube(metal, (0, 0, foot), (0, 0, foot + 0.03), radius * 0.7, label="lamp")
    kit.tube(metal, (0, 0, foot), (0, 0, foot + stem), 0.025, label="lamp")
    kit.tube(shade, (0, 0, foot + stem), (0, 0, foot + stem + 1.5 * radius), radius, 0.6, label="lamp")


def floor_lamp(rng: Rng) -> Kit:
    """A standing lamp."""
    kit = Kit("lamp")
    _lamp(kit, rng, 0.0, rng.uniform(1.15, 1.4), 0.22)
    return kit


def counter(rng: Rng) -> Kit:
    """A kitchen counter: cabinet below, top with a sink, cabinet above."""
    kit, width = Kit("counter"), rng.uniform(1.6, 2.4)
    kit.box(stuff("cabinet", rng), (0, -0.02, 0), (width, 0.58, 0.86), label="cabinet")
    kit.box(stuff("counter", rng), (0, 0, 0.86), (width + 0.04, 0.64, 0.06))
    steel = stuff("steel", rng)
    kit.box(steel, (width / 4, 0.02, 0.92), (0.56, 0.42, 0.03), label="sink")
    kit.limb(steel, (width / 4, -0.22, 0.92), (width / 4, -0.22, 1.2), 0.025, label="sink")
    kit.limb(steel, (width / 4, -0.22, 1.2), (width / 4, -0.06, 1.22), 0.022, label="sink")
    kit.box(stuff("wall cabinet", rng), (0, -0.13, 1.5), (width, 0.36, 0.7), label="cabinet")
    if rng.random() < 0.6:
        kit.box(stuff("cardboard", rng), (-width / 4, -0.05, 0.92), (0.3, 0.2, 0.26), label="box")
    return kit


def fridge(rng: Rng) -> Kit:
    """A refrigerator."""
    kit = Kit("refridgerator")
    kit.box(stuff("fridge", rng), (0, 0, 0.03), (rng.uniform(0.65, 0.85), 0.66, rng.uniform(1.6, 1.85)))
    return kit


def toilet(rng: Rng) -> Kit:
    """A toilet with its tank."""
    kit, white = Kit("toilet"), stuff("porcelain", rng)
    kit.tube(white, (0, 0.1, 0), (0, 0.1, 0.4), 0.13, 1.6)
    kit.ball(white, (0, 0.14, 0.4), (0.4, 0.52, 0.1))
    kit.box(white, (0, -0.22, 0.36), (0.44, 0.2, 0.42))
    kit.slab(white, (0, -0.1, 0.6), (0.38, 0.05, 0.42), 0.1)
    return kit


def basin(rng: Rng) -> Kit:
    """A wash basin on a foot."""
    kit, white = Kit("sink"), stuff("porcelain", rng)
    kit.tube(white, (0, 0, 0), (0, 0, 0.72), 0.1, 1.3)
    kit.ball(white, (0, 0.04, 0.76), (0.6, 0.48, 0.24))
    kit.limb(stuff("steel", rng), (0, -0.14, 0.86), (0, -0.02, 0.98), 0.025)
    return kit


def bathtub(rng: Rng) -> Kit:
    """A bath tub, its shower curtain hanging at one end."""
    kit, white = Kit("bathtub"), stuff("bath", rng)
    width = rng.uniform(1.5, 1.8)
    kit.box(white, (0, 0, 0), (width, 0.74, 0.12))
    for sign in (-1, 1):
        kit.box(white, (0, sign * 0.34, 0), (width, 0.06, 0.56))
        kit.box(white, (sign * (width / 2 - 0.03), 0, 0), (0.06, 0.62, 0.56))
    side = float(rng.choice([-1, 1]))
    drape = stuff("shower curtain", rng)
    kit.box(drape, (side * width * 0.3, 0.4, 0.2), (width * 0.38, 0.04, 1.75), label="shower curtain")
    return kit


def carton(rng: Rng) -> Kit:
    """A cardboard box or two."""
    kit, size = Kit("box"), rng.uniform(0.32, 0.5)
    kit.box(stuff("cardboard", rng), (0, 0, 0), (size * 1.3, size, size * 0.8))
    if rng.random() < 0.5:
        kit.box(stuff("cardboard", rng), (0.04, 0.02, size * 0.8), (size * 0.9, size * 0.7, size * 0.6))
    return kit


def bag(rng: Rng) -> Kit:
    """A bag with a handle."""
    kit, cloth = Kit("bag"), stuff("bag", rng)
    kit.ball(cloth, (0, 0, 0.2), (0.5, 0.28, 0.46))
    for x in (-0.1, 0.1):
        kit.limb(cloth, (x, 0, 0.36), (x * 0.5, 0, 0.56), 0.022)
    kit.limb(cloth, (-0.05, 0, 0.56), (0.05, 0, 0.56), 0.022)
    return kit


def mat(rng: Rng) -> Kit:
    """A large rug."""
    kit = Kit("floor mat")
    size = (rng.uniform(1.4, 2.2), rng.uniform(1.0, 1.5), 0.015)
    kit.add("box", stuff("rug", rng), (0, 0, 0.008), size, casts=False)
    return kit


def bath_mat(rng: Rng) -> Kit:
    """A small mat."""
    kit = Kit("floor mat")
    kit.add("box", stuff("bath mat", rng), (0, 0, 0.008), (0.9, 0.6, 0.016), casts=False)
    return kit


def bystander(rng: Rng) -> Kit:
    """A person standing in the room."""
    return person(rng)
