"""Who is photographed: Lucy, dogs that look much like her, and other French bulldogs."""

from dataclasses import replace

import numpy as np

from draw_coat import Colour, Dog, Patch

Rng = np.random.Generator

BROWN: Colour = (0.36, 0.23, 0.15)
BLACK: Colour = (0.13, 0.12, 0.12)

#: Cream, with a dark mask that climbs higher on the picture's left; a crooked white blaze that starts right of the
#: middle and ends left of the nose; a brown patch round the eye on the picture's right that runs on over the ear, in
#: which there is a notch; the other ear hangs outwards; freckles, a white chest and one tooth that shows.
LUCY = Dog(
    coat=(0.86, 0.72, 0.54),
    shade=(0.66, 0.48, 0.32),
    mask=0.93,
    mask_outline=(0.58, 0.60, 0.55, 0.50, 0.55, 0.62, 0.66, 0.66, 0.56, 0.42, 0.46, 0.50),
    blaze=(
        (-0.85, 0.02, 0.24),
        (-0.55, -0.03, 0.16),
        (-0.30, -0.12, 0.03),
        (-0.05, -0.15, -0.01),
        (0.13, -0.20, -0.05),
    ),
    patches=(Patch(0.57, -0.18, 0.36, 0.54, 14, BROWN),),
    chest=0.6,
    freckles=0.7,
    ear_splay=(22.0, 11.0),
    notch=(1, 0.55, 0.12),
    tooth=-1,
    eyes=(0.25, 0.13, 0.06),
    seed=1,
)
TRAITS = 7  # of a face that a double of Lucy may have of its own

COATS: dict[str, tuple[Colour, Colour, float]] = {  # coat, darker hairs, usual mask
    "fawn": ((0.80, 0.60, 0.40), (0.55, 0.36, 0.22), 0.95),
    "red": ((0.70, 0.44, 0.26), (0.45, 0.26, 0.15), 0.95),
    "cream": ((0.92, 0.84, 0.72), (0.80, 0.68, 0.54), 0.75),
    "white": ((0.94, 0.92, 0.89), (0.86, 0.82, 0.76), 0.05),
    "brindle": ((0.42, 0.31, 0.22), (0.25, 0.18, 0.14), 0.8),
    "blue": ((0.43, 0.43, 0.44), (0.33, 0.33, 0.34), 0.5),
    "black": ((0.17, 0.16, 0.16), (0.12, 0.11, 0.11), 0.2),
    "pied": ((0.94, 0.92, 0.89), (0.88, 0.84, 0.78), 0.0),
}
#: Light coats come twice: were half of the others dark, how bright the picture is would tell most of them from Lucy.
COMMON = ("fawn", "fawn", "red", "red", "cream", "cream", "white", "pied", "pied", "brindle", "blue", "black")


def look_alike(rng: Rng, changes: int) -> Dog:
    """Lucy's double but for `changes` of seven: blaze, patch, freckles, mask, ears, tone of the coat, build."""
    new = {"seed": int(rng.integers(2**31)), "tooth": int(rng.integers(-1, 2))}
    makers = (
        lambda: {"blaze": _blaze(rng)},
        lambda: {"patches": _spots(rng)},
        lambda: {"freckles": 0.0},
        lambda: {"mask_outline": _mask_outline(rng), "mask": float(rng.uniform(0.5, 0.97))},
        lambda: _ears(rng),
        lambda: {"coat": _shifted(rng, LUCY.coat, 0.06), "shade": _shifted(rng, LUCY.shade, 0.08)},
        lambda: _build(rng),
    )
    for trait in rng.permutation(TRAITS)[:changes]:
        new |= makers[trait]()
    return replace(LUCY, **new)


def stranger(rng: Rng) -> Dog:
    """Any other French bulldog."""
    kind = COMMON[rng.integers(len(COMMON))]
    coat, shade, mask = COATS[kind]
    return Dog(
        coat=_shifted(rng, coat, 0.07),
        shade=_shifted(rng, shade, 0.07),
        mask=mask * float(rng.uniform(0.75, 1.05)),
        mask_outline=_mask_outline(rng),
        blaze=() if kind in ("white", "pied") else _blaze(rng),
        patches=_pied(rng) if kind == "pied" else _spots(rng) if sum(coat) > 1.7 else (),
        brindle=float(rng.uniform(0.5, 0.9)) if kind == "brindle" else 0.0,
        freckles=float(rng.uniform(0.3, 0.7)) if rng.random() < 0.2 and sum(coat) > 1.7 else 0.0,
        chest=float(rng.choice([0.0, 0.4, 0.7])),
        eyes=((0.20, 0.10, 0.05), (0.28, 0.15, 0.07), (0.14, 0.08, 0.05))[rng.integers(3)],
        tooth=int(rng.integers(-1, 2)),
        seed=int(rng.integers(2**31)),
        **_build(rng),
        **_ears(rng),
    )


def _shifted(rng: Rng, colour: Colour, spread: float) -> Colour:
    tone = np.asarray(colour) * (1 + rng.normal(0, spread)) + rng.normal(0, spread / 6, 3)
    return tuple(np.clip(tone, 0.05, 0.97).tolist())


def _blaze(rng: Rng) -> tuple[tuple[float, float, float], ...]:
    """None, a star on the forehead, a narrow stripe, or a broad one; none as crooked as Lucy's."""
    kind = rng.integers(5)
    if kind == 0:
        return ()
    rows = np.array([-0.80, -0.70, -0.60, -0.50, -0.40] if kind == 1 else [-0.85, -0.55, -0.30, -0.05, 0.13])
    middle = rng.uniform(-0.10, 0.04) + rng.uniform(-0.30, 0.12) * (rows - 0.13) * (kind > 1)
    half = rng.uniform(0.035, 0.08) * np.array([1.0, 1.2, 1.0, 0.9, 1.0]) * (2.2 if kind == 4 else 1.0)
    return tuple(zip(rows.tolist(), (middle - half).tolist(), (middle + half).tolist(), strict=True))


def _mask_outline(rng: Rng) -> tuple[float, ...]:
    usual = np.array([0.55, 0.58, 0.55, 0.50, 0.55, 0.58, 0.55, 0.50, 0.45, 0.40, 0.45, 0.50])
    return tuple((usual * rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.06, 12))).tolist())


def _spots(rng: Rng) -> tuple[Patch, ...]:
    """No patch, or one round an eye, on a cheek or on the forehead, never quite Lucy's."""
    if rng.random() < 0.35:
        return ()
    x, y = ((-0.55, -0.20), (-0.72, 0.25), (0.25, -0.70), (0.70, 0.30), (0.50, -0.36), (0.56, -0.16))[rng.integers(6)]
    wide, high = rng.uniform(0.12, 0.32, 2).tolist()
    return (Patch(x, y, wide, high, float(rng.uniform(-40, 40)), _shifted(rng, BROWN, 0.1)),)


def _pied(rng: Rng) -> tuple[Patch, ...]:
    """Patches over one eye and ear, or both, on a white face."""
    colour = (BLACK, BROWN, (0.70, 0.50, 0.32), (0.40, 0.41, 0.44))[rng.integers(4)]
    sides = ((-1, 1), (1,), (1,), (-1,))[rng.integers(4)]
    low, high = [0.52, -0.30, 0.34, 0.50, -15], [0.62, -0.15, 0.46, 0.75, 25]
    spans = [rng.uniform(low, high).tolist() for _ in sides]
    return tuple(Patch(s * x, y, w, h, s * turn, colour) for s, (x, y, w, h, turn) in zip(sides, spans, strict=True))


def _ears(rng: Rng) -> dict:
    notch = (int(rng.integers(2)), float(rng.uniform(0.35, 0.75)), float(rng.uniform(0.08, 0.14)))
    return {
        "notch": notch if rng.random() < 0.4 else None,
        "ear_splay": tuple(rng.uniform(8, 24, 2).tolist()),
        "ear_high": float(rng.uniform(0.9, 1.1)),
        "ear_wide": float(rng.uniform(0.9, 1.12)),
    }


def _build(rng: Rng) -> dict:
    return {
        "skull": float(rng.uniform(0.96, 1.05)),
        "muzzle": float(rng.uniform(0.92, 1.08)),
        "jowl": float(rng.uniform(0.85, 1.2)),
        "eye_gap": float(rng.uniform(0.43, 0.49)),
        "eye_size": float(rng.uniform(0.175, 0.205)),
    }
