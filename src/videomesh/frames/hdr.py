"""HDR video to 8-bit sRGB.

In numpy rather than by ffmpeg's zscale and tonemap: not every build has those, and so all builds give one result.
"""

from typing import Optional

import numpy as np
from PIL import Image

PEAK = 1000.0  # cd/m2: nominal peak of HLG (ITU-R BT.2100) and usual mastering peak of PQ
WHITE = 203.0  # cd/m2: diffuse white in HDR (ITU-R BT.2408); becomes a bright, not a clipped, tone
KNEE = 0.5  # of WHITE: below it brightness is kept as it is, above it highlights are compressed
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # ITU-R BT.2020
BT2020_TO_BT709 = np.array(  # linear light, ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def to_image(picture: np.ndarray, hdr: Optional[str]) -> Image.Image:
    """The 8-bit sRGB image of a decoded picture: (height, width, 3) uint8 sRGB, or uint16 HDR signal."""
    return Image.fromarray(tone_map(picture, hdr) if hdr else picture)


def tone_map(signal: np.ndarray, transfer: str) -> np.ndarray:
    """HLG or PQ signal with BT.2020 primaries, (height, width, 3) uint16 -> sRGB, uint8, same shape."""
    codes = np.linspace(0, 1, 65536)
    if transfer == "arib-std-b67":
        scene = hlg_to_linear(codes).astype(np.float32)[signal]
        # The display's system gamma of 1.2 (BT.2100) acts on luminance, so that hues stay.
        gain = np.maximum(scene @ BT2020_LUMINANCE, 1e-6) ** np.float32(0.2)
        light = scene * (gain * np.float32(PEAK / WHITE))[..., None]
    else:
        light = (pq_to_nits(codes) / WHITE).astype(np.float32)[signal]
    light = np.maximum(light @ BT2020_TO_BT709.T, 0)
    brightest = light.max(axis=2, keepdims=True)
    light *= compress(brightest) / np.maximum(brightest, 1e-6)
    return srgb_encode(codes)[(light * 65535 + 0.5).astype(np.uint16)]


def hlg_to_linear(signal: np.ndarray) -> np.ndarray:
    """HLG signal 0..1 -> scene light 0..1 (BT.2100, inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """PQ signal 0..1 -> cd/m2, 0..10000 (BT.2100, EOTF of SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def compress(light: np.ndarray) -> np.ndarray:
    """Light in units of WHITE, from 0 -> 0..1: straight up to KNEE, then a smooth shoulder that reaches 1 at PEAK.

    The shoulder is the extended curve of Reinhard et al., "Photographic tone reproduction", SIGGRAPH 2002.
    """
    peak = (PEAK / WHITE - KNEE) / (1 - KNEE)
    above = np.clip((light - KNEE) / (1 - KNEE), 0, peak)
    return np.minimum(light, KNEE) + (1 - KNEE) * above * (1 + above / peak**2) / (1 + above)


def srgb_encode(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 -> sRGB, uint8 (IEC 61966-2-1)."""
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
