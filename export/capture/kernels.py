"""The loops of a WaveNet forward and backward, compiled: sums of shifted rows, tile by tile, without the interpreter.

A signal is [channels, samples] and every layer keeps the time of the whole stretch, so that a dilated tap is the same
row read earlier. Time runs innermost and eight rows are added at once, which compilers turn into vector code. The
compiled functions let go of the interpreter's lock: two stretches on two threads take no longer than one.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

KERNEL = 3
TILE = 1024
"""Samples that are taken through a layer at a time, so that they stay in the processor's cache."""

# Columns of the tables: layers, and arrays of layers. The places are those of the matrices in the flat weights.
TAPS, ONWARDS, DILATION, BEGIN = range(4)
INTO, WIDE, HEAD, HEAD_WIDE, FIRST, LAYERS = range(6)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, made at the first call and kept beside the module or in the user's cache, if there is room."""
    try:
        return numba.njit(fastmath=True, nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return numba.njit(fastmath=True, nogil=True, error_model="numpy")(function)


@_compiled
def _add(out: Float32, w: Float32, x: Float32, start: int, stop: int, shift: int) -> None:
    """out[o, t] += sum over k of w[o, k] x[k, t - shift], start <= t < stop."""
    rows, columns = w.shape
    size = stop - start
    if size <= 0:
        return
    first, last = start - shift, stop - shift
    k = 0
    while columns - k >= 8:
        a, b, c, d = x[k, first:last], x[k + 1, first:last], x[k + 2, first:last], x[k + 3, first:last]
        e, f, g, h = x[k + 4, first:last], x[k + 5, first:last], x[k + 6, first:last], x[k + 7, first:last]
        for o in range(rows):
            y = out[o, start:stop]
            wa, wb, wc, wd = w[o, k], w[o, k + 1], w[o, k + 2], w[o, k + 3]
            we, wf, wg, wh = w[o, k + 4], w[o, k + 5], w[o, k + 6], w[o, k + 7]
            for t in range(size):
                y[t] += (wa * a[t] + wb * b[t] + wc * c[t] + wd * d[t]) + (
                    we * e[t] + wf * f[t] + wg * g[t] + wh * h[t]
                )
        k += 8
    while columns - k >= 4:
        a, b, c, d = x[k, first:last], x[k + 1, first:last], x[k + 2, first:last], x[k + 3, first:last]
        for o in range(rows):
            y = out[o, start:stop]
            wa, wb, wc, wd = w[o, k], w[o, k + 1], w[o, k + 2], w[o, k + 3]
            for t in range(size):
                y[t] += wa * a[t] + wb * b[t] + wc * c[t] + wd * d[t]
        k += 4
    while k < columns:
        a = x[k, first:last]
        for o in range(rows):
            y = out[o, start:stop]
            wa = w[o, k]
            for t in range(size):
                y[t] += wa * a[t]
        k += 1


@_compiled
def _correlate(slope: Float32, y: Float32, x: Float32, start: int, stop: int, shift: int) -> None:
    """slope[o, k] += sum of y[o, t] x[k, t - shift] over start <= t < stop."""
    rows, columns = slope.shape
    size = stop - start
    if size <= 0:
        return
    zero = slope.dtype.type(0.0)
    first, last = start - shift, stop - shift
    k = 0
    while columns - k >= 4:
        a, b, c, d = x[k, first:last], x[k + 1, first:last], x[k + 2, first:last], x[k + 3, first:last]
        o = 0
        while rows - o >= 4:
            p, q, r, s = y[o, start:stop], y[o + 1, start:stop], y[o + 2, start:stop], y[o + 3, start:stop]
            pa = pb = pc = pd = qa = qb = qc = qd = ra = rb = rc = rd = sa = sb = sc = sd = zero
            for t in range(size):
                pa += p[t] * a[t]
                pb += p[t] * b[t]
                pc += p[t] * c[t]
                pd += p[t] * d[t]
                qa += q[t] * a[t]
                qb += q[t] * b[t]
                qc += q[t] * c[t]
                qd += q[t] * d[t]
                ra += r[t] * a[t]
                rb += r[t] * b[t]
                rc += r[t] * c[t]
                rd += r[t] * d[t]
                sa += s[t] * a[t]
                sb += s[t] * b[t]
                sc += s[t] * c[t]
                sd += s[t] * d[t]
            slope[o, k] += pa
            slope[o, k + 1] += pb
            slope[o, k + 2] += pc
            slope[o, k + 3] += pd
            slope[o + 1, k] += qa
            slope[o + 1, k + 1] += qb
            slope[o + 1, k + 2] += qc
            slope[o + 1, k + 3] += qd
            slope[o + 2, k] += ra
            slope[o + 2, k + 1] += rb
            slope[o + 2, k + 2] += rc
            slope[o + 2, k + 3] += rd
            slope[o + 3, k] += sa
            slope[o + 3, k + 1] += sb
            slope[o + 3, k + 2] += sc
            slope[o + 3, k + 3] += sd
            o += 4
        while o < rows:
            p = y[o, start:stop]
            pa = pb = pc = pd = zero
            for t in range(size):
                pa += p[t] * a[t]
                pb += p[t] * b[t]
                pc += p[t] * c[t]
                pd += p[t] * d[t]
            slope[o, k] += pa
            slope[o, k + 1] += pb
            slope[o, k + 2] += pc
            slope[o, k + 3] += pd
            o += 1
        k += 4
    while k < columns:
        a = x[k, first:last]
        for o in range(rows):
            p = y[o, start:stop]
            pa = zero
            for t in range(size):
                pa += p[t] * a[t]
            slope[o, k] += pa
        k += 1


@_compiled
def _fill(out: Float32, rows: int, start: int, stop: int, value: float) -> None:
    for o in range(rows):
        y = out[o, start:stop]
        for t in range(len(y)):
            y[t] = value


@_compiled
def _copy(out: Float32, x: Float32, rows: int, start: int, stop: int) -> None:
    for o in range(rows):
        y, z = out[o, start:stop], x[o, start:stop]
        for t in range(len(y)):
            y[t] = z[t]


@_compiled
def _sums(y: Float32, rows: int, start: int, stop: int, slope: Float32) -> None:
    """slope[o] += the sum of y[o, t] over start <= t < stop."""
    for o in range(rows):
        p = y[o, start:stop]
        total = slope.dtype.type(0.0)
        for t in range(stop - start):
            total += p[t]
        slope[o] += total


@_compiled
def _tanh(y: Float32) -> None:
    """Hyperbolic tangent in place, to 4e-7: a rational function (13th over 6th degree), flat beyond +-7.9."""
    f = y.dtype.type
    for t in range(len(y)):
        x = min(f(7.9), max(f(-7.9), y[t]))
        s = x * x
        p = f(2.00018790482477e-13) + s * f(-2.76076847742355e-16)
        p = f(-8.60467152213735e-11) + s * p
        p = f(5.12229709037114e-08) + s * p
        p = f(1.48572235717979e-05) + s * p
        p = f(6.37261928875436e-04) + s * p
        p = f(4.89352455891786e-03) + s * p
        q = f(1.18534705686654e-04) + s * f(1.19825839466702e-06)
        q = f(2.26843463243900e-03) + s * q
        q = f(4.89352518554385e-03) + s * q
        y[t] = x * p / q


@_compiled
def _matrix(flat: Float32, place: int, rows: int, columns: int) -> Float32:
    return flat[place : place + rows * columns].reshape(rows, columns)


@_compiled
def forward(
    flat: Float32,
    arrays: Int64,
    layers: Int64,
    kept: int,
    audio: Float32,
    streams: Float32,
    inner: Float32,
    heads: Float32,
) -> None:
    """The output, heads[arrays, 0, kept:samples], for audio [1, samples].

    arrays, layers: tables of places, sizes and dilations; BEGIN is the first sample a layer has all it needs for.
    streams: [layers + arrays, channels, samples], inner: [layers, channels, samples], heads: [arrays + 1, ...]: room;
    what lies in it afterwards is what `backward` needs.
    """
    samples = audio.shape[1]
    last_array = len(arrays) - 1
    stream, begin, zero = 0, 0, flat.dtype.type(0.0)
    _fill(heads[0], arrays[0, WIDE], kept, samples, zero)
    for number in range(len(arrays)):
        array = arrays[number]
        wide, count = array[WIDE], array[LAYERS]
        into = _matrix(flat, array[INTO], wide, 1 if number == 0 else arrays[number - 1, WIDE])
        here = streams[stream]
        for start in range(begin, samples, TILE):
            stop = min(samples, start + TILE)
            _fill(here, wide, start, stop, zero)
            _add(here, into, streams[stream - 1] if number else audio, start, stop, 0)
        summed = heads[number]
        for place in range(array[FIRST], array[FIRST] + count):
            layer = layers[place]
            dilation, begin = layer[DILATION], layer[BEGIN]
            taps = _matrix(flat, layer[TAPS], wide, KERNEL * wide + 2)
            onwards = _matrix(flat, layer[ONWARDS], wide, wide + 1)
            here, following, inside = streams[stream], streams[stream + 1], inner[place]
            idle = number == last_array and place == array[FIRST] + count - 1
            for start in range(begin, samples, TILE):
                stop = min(samples, start + TILE)
                for o in range(wide):
                    y, x = inside[o, start:stop], audio[0, start:stop]
                    mixed, bias = taps[o, KERNEL * wide], taps[o, KERNEL * wide + 1]
                    for t in range(len(y)):
                        y[t] = mixed * x[t] + bias
                for tap in range(KERNEL):
                    shift = (KERNEL - 1 - tap) * dilation
                    _add(inside, taps[:, tap * wide : (tap + 1) * wide], here, start, stop, shift)
                for o in range(wide):
                    _tanh(inside[o, start:stop])
                heard = max(start, kept)
                if heard < stop:
                    for o in range(wide):
                        y, z = summed[o, heard:stop], inside[o, heard:stop]
                        for t in range(stop - heard):
                            y[t] += z[t]
                if idle:
                    continue
                for o in range(wide):
                    y, z, bias = following[o, start:stop], here[o, start:stop], onwards[o, wide]
                    for t in range(stop - start):
                        y[t] = z[t] + bias
                _add(following, onwards[:, :wide], inside, start, stop, 0)
            stream += 1
        stream += 1
        head = _matrix(flat, array[HEAD], array[HEAD_WIDE], wide + (1 if number == last_array else 0))
        out = heads[number + 1]
        for start in range(kept, samples, TILE):
            stop = min(samples, start + TILE)
            for o in range(array[HEAD_WIDE]):
                _fill(out[o : o + 1], 1, start, stop, head[o, wide] if number == last_array else zero)
            _add(out, head[:, :wide], summed, start, stop, 0)


@_compiled
def backward(
    flat: Float32,
    arrays: Int64,
    layers: Int64,
    kept: int,
    audio: Float32,
    streams: Float32,
    inner: Float32,
    heads: Float32,
    slopes: Float32,
    back: Float32,
    gradient: Float32,
) -> None:
    """Adds to the gradient of the flat weights, from `slopes[arrays, 0, kept:]`, that of the output.

    After `forward` of the same audio. slopes: [arrays + 1, channels, samples], back: [3, channels, samples]: room.
    """
    samples = audio.shape[1]
    zero, one = flat.dtype.type(0.0), flat.dtype.type(1.0)
    last_array = len(arrays) - 1
    stream = len(layers) + len(arrays) - 1
    turn, empty = 0, True
    for number in range(last_array, -1, -1):
        array = arrays[number]
        wide, count = array[WIDE], array[LAYERS]
        head_width = wide + (1 if number == last_array else 0)
        head = _matrix(flat, array[HEAD], array[HEAD_WIDE], head_width)
        head_slope = _matrix(gradient, array[HEAD], array[HEAD_WIDE], head_width)
        above, slope = slopes[number + 1], slopes[number]
        for start in range(kept, samples, TILE):
            stop = min(samples, start + TILE)
            _correlate(head_slope[:, :wide], above, heads[number], start, stop, 0)
            if number == last_array:
                _sums(above, array[HEAD_WIDE], start, stop, head_slope[:, wide])
            _fill(slope, wide, start, stop, zero)
            _add(slope, head[:, :wide].T, above, start, stop, 0)
        for place in range(array[FIRST] + count - 1, array[FIRST] - 1, -1):
            layer = layers[place]
            dilation, begin = layer[DILATION], layer[BEGIN]
            before = begin - (KERNEL - 1) * dilation
            taps = _matrix(flat, layer[TAPS], wide, KERNEL * wide + 2)
            onwards = _matrix(flat, layer[ONWARDS], wide, wide + 1)
            taps_slope = _matrix(gradient, layer[TAPS], wide, KERNEL * wide + 2)
            onwards_slope = _matrix(gradient, layer[ONWARDS], wide, wide + 1)
            stream -= 1
            source, inside = streams[stream], inner[place]
            here, later, earlier = back[2], back[turn], back[1 - turn]
            turn = 1 - turn
            for start in range(begin, samples, TILE):
                stop = min(samples, start + TILE)
                heard = min(stop, max(start, kept))
                _fill(here, wide, start, heard, zero)
                _copy(here, slope, wide, heard, stop)
                if not empty:
                    _correlate(onwards_slope[:, :wide], later, inside, start, stop, 0)
                    _sums(later, wide, start, stop, onwards_slope[:, wide])
                    _add(here, onwards[:, :wide].T, later, start, stop, 0)
                for o in range(wide):
                    y, z, x = here[o, start:stop], inside[o, start:stop], audio[0, start:stop]
                    mixed = bias = zero
                    for t in range(stop - start):
                        y[t] *= one - z[t] * z[t]
                    for t in range(stop - start):
                        mixed += y[t] * x[t]
                        bias += y[t]
                    taps_slope[o, KERNEL * wide] += mixed
                    taps_slope[o, KERNEL * wide + 1] += bias
                for tap in range(KERNEL):
                    shift = (KERNEL - 1 - tap) * dilation
                    _correlate(taps_slope[:, tap * wide : (tap + 1) * wide], here, source, start, stop, shift)
            for start in range(before, samples, TILE):
                stop = min(samples, start + TILE)
                heard = min(stop, max(start, begin))
                if empty:
                    heard = stop
                _fill(earlier, wide, start, heard, zero)
                _copy(earlier, later, wide, heard, stop)
                for tap in range(KERNEL):
                    shift = (KERNEL - 1 - tap) * dilation
                    # What came `shift` samples before a sample of `here` has a share in it.
                    first, end = max(start, begin - shift), min(stop, samples - shift)
                    _add(earlier, taps[:, tap * wide : (tap + 1) * wide].T, here, first, end, -shift)
            empty = False
        later = back[turn]
        begin = layers[array[FIRST], BEGIN] - (KERNEL - 1) * layers[array[FIRST], DILATION]
        before_wide = arrays[number - 1, WIDE] if number else 1
        into = _matrix(flat, array[INTO], wide, before_wide)
        into_slope = _matrix(gradient, array[INTO], wide, before_wide)
        stream -= 1
        source, earlier = streams[stream] if number else audio, back[1 - turn]
        turn = 1 - turn
        for start in range(begin, samples, TILE):
            stop = min(samples, start + TILE)
            _correlate(into_slope, later, source, start, stop, 0)
            if number:
                _fill(earlier, before_wide, start, stop, zero)
                _add(earlier, into.T, later, start, stop, 0)
