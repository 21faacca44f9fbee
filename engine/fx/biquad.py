"""Coefficients of second-order filters in plain numbers, cheap enough to be computed anew in every quantum.

Formulas: R. Bristow-Johnson, Audio EQ Cookbook. Every result is (b0, b1, b2, a1, a2) with a0 = 1. Between two stable
filters every mixture of the coefficients is stable, too: they may be interpolated.
"""

import math

Coefficients = tuple[float, float, float, float, float]

SIZE = 5
HIGHEST = 0.45


def peak(rate: float, hz: float, q: float, gain_db: float) -> Coefficients:
    """A bell of gain_db around hz; q is its width. rate and hz in Hz."""
    cosine, alpha = _angle(rate, hz, q)
    root = 10.0 ** (gain_db / 40.0)
    return _normal(
        1.0 + alpha * root, -2.0 * cosine, 1.0 - alpha * root, 1.0 + alpha / root, -2.0 * cosine, 1.0 - alpha / root
    )


def low_shelf(rate: float, hz: float, gain_db: float) -> Coefficients:
    """gain_db below hz, nothing above."""
    return _shelf(rate, hz, gain_db, 1.0)


def high_shelf(rate: float, hz: float, gain_db: float) -> Coefficients:
    """gain_db above hz, nothing below."""
    return _shelf(rate, hz, gain_db, -1.0)


def low_pass(rate: float, hz: float, q: float = math.sqrt(0.5)) -> Coefficients:
    """Passes what is below hz."""
    cosine, alpha = _angle(rate, hz, q)
    edge = 1.0 - cosine
    return _normal(0.5 * edge, edge, 0.5 * edge, 1.0 + alpha, -2.0 * cosine, 1.0 - alpha)


def high_pass(rate: float, hz: float, q: float = math.sqrt(0.5)) -> Coefficients:
    """Passes what is above hz."""
    cosine, alpha = _angle(rate, hz, q)
    edge = 1.0 + cosine
    return _normal(0.5 * edge, -edge, 0.5 * edge, 1.0 + alpha, -2.0 * cosine, 1.0 - alpha)


def band_pass(rate: float, hz: float, q: float, gain: float = 1.0) -> Coefficients:
    """Passes what is around hz, with a gain (a factor) at hz itself."""
    cosine, alpha = _angle(rate, hz, q)
    return _normal(gain * alpha, 0.0, -gain * alpha, 1.0 + alpha, -2.0 * cosine, 1.0 - alpha)


def all_pass(rate: float, hz: float) -> float:
    """Coefficient a of the first-order all-pass (a + 1/z) / (1 + a/z), a quarter turn at hz."""
    tangent = math.tan(math.pi * min(hz / rate, HIGHEST))
    return (tangent - 1.0) / (tangent + 1.0)


def _angle(rate: float, hz: float, q: float) -> tuple[float, float]:
    angle = 2.0 * math.pi * min(hz / rate, HIGHEST)
    return math.cos(angle), math.sin(angle) / (2.0 * q)


def _shelf(rate: float, hz: float, gain_db: float, side: float) -> Coefficients:
    cosine, alpha = _angle(rate, hz, math.sqrt(0.5))
    cosine *= side
    root = 10.0 ** (gain_db / 40.0)
    more, less, edge = root + 1.0, root - 1.0, 2.0 * math.sqrt(root) * alpha
    return _normal(
        root * (more - less * cosine + edge),
        side * 2.0 * root * (less - more * cosine),
        root * (more - less * cosine - edge),
        more + less * cosine + edge,
        side * -2.0 * (less + more * cosine),
        more + less * cosine - edge,
    )


def _normal(b0: float, b1: float, b2: float, a0: float, a1: float, a2: float) -> Coefficients:
    return b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0
