"""Makes ICC profiles for the codes of colours that HEIC and AVIF files carry in place of one ("nclx").

The codes, their primaries and their curves are those of ITU-T H.273 (tables 2 and 3), the profile's form is that of
ICC.1:2001-04 (a display with matrix and curves).
"""

import struct
from functools import cache

_PRIMARIES = {9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))}
"""Of BT.2020 and Display P3 as (x, y) of red, green and blue. White is D65 in both."""
_SRGB_PRIMARIES = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_D65 = (0.3127, 0.3290)
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_SRGB_CURVES = {1, 2, 6, 13, 14, 15}
"""The curve of BT.709 is that of a camera; pictures with its code are shown with sRGB's."""
_LINEAR = 8
_PQ = 16
_HLG = 18
_GAMMAS = {4: 2.2, 5: 2.8}
_STEPS = 1024
# What is white on paper has 203 of PQ's 10,000 nits (ITU-R BT.2408, section 2.1); what is brighter becomes white.
_PQ_WHITE = 10_000 / 203
_HLG_WHITE = 1 / 0.265  # 75 % of HLG's signal, by the same source

Matrix = tuple[tuple[float, float, float], ...]


@cache
def profile_of_codes(primaries: int, transfer: int) -> bytes | None:
    """Return an ICC profile for these codes, None if they mean sRGB or are not known."""
    if transfer not in _SRGB_CURVES | _GAMMAS.keys() | {_LINEAR, _PQ, _HLG}:
        return None
    if primaries not in _PRIMARIES and transfer in _SRGB_CURVES:
        return None
    columns = _columns(_PRIMARIES.get(primaries, _SRGB_PRIMARIES))
    curve = b"curv" + bytes(4) + struct.pack(">I", _STEPS)
    curve += b"".join(struct.pack(">H", round(65535 * _light(step / (_STEPS - 1), transfer))) for step in range(_STEPS))
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"nclx\0" + bytes(78), b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(tags)


def _light(signal: float, transfer: int) -> float:
    """Return the light from 0 to 1 of a signal from 0 to 1."""
    if transfer in _GAMMAS:
        return float(signal ** _GAMMAS[transfer])
    if transfer == _LINEAR:
        return signal
    if transfer == _PQ:
        root = signal ** (1 / 78.84375)
        light = (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return float(min(1.0, light * _PQ_WHITE))
    if transfer == _HLG:
        light = (
            signal**2 / 3
            if signal <= 0.5
            else (2.718281828459045 ** ((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        )
        return float(min(1.0, light * _HLG_WHITE))
    return signal / 12.92 if signal <= 0.04045 else float(((signal + 0.055) / 1.055) ** 2.4)


def _columns(primaries: tuple[tuple[float, float], ...]) -> Matrix:
    """Return the colours of red, green and blue in XYZ, adapted from D65 to D50, in which profiles are written."""
    shares = tuple(zip(*(_from_xy(*one) for one in primaries), strict=True))
    scales = _times(_inverse(shares), _from_xy(*_D65))
    scaled: Matrix = tuple((row[0] * scales[0], row[1] * scales[1], row[2] * scales[2]) for row in shares)
    cones = [new / old for new, old in zip(_times(_BRADFORD, _D50), _times(_BRADFORD, _from_xy(*_D65)), strict=True)]
    back = _inverse(_BRADFORD)
    return tuple(
        _times(back, tuple(cone * one for cone, one in zip(cones, _times(_BRADFORD, colour), strict=True)))
        for colour in zip(*scaled, strict=True)
    )


def _from_xy(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _times(matrix: Matrix, vector: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = (sum(one * other for one, other in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return tuple((row[0] / determinant, row[1] / determinant, row[2] / determinant) for row in adjugate)


def _xyz(colour: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(one * 65536) for one in colour))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    place = 132 + 12 * len(tags)
    table: list[bytes] = []
    data: list[bytes] = []
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table.append(struct.pack(">4sII", name, place, len(tag)))
        data.append(padded)
        place += len(padded)
    head = struct.pack(">I4sI4s4s4s", place, bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", *(round(one * 65536) for one in _D50)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + b"".join(table) + b"".join(data)
