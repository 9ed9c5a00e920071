"""Writes the pictures that crates/features/tests/photos.rs decodes, into photos/.

    python -m pip install pillow==13.0.0 numpy==2.4.6
    python photos.py

Each shows the same 24 x 16 pixels: the left half (200, 40, 40), the right half (40, 60, 200), and
a top left corner of 8 x 8 in (40, 200, 60), so that no rotation or reflection shows the same picture.
"""

from pathlib import Path

import numpy
from PIL import Image

FOLDER = Path(__file__).parent / "photos"
ORIENTATION = 0x0112


def picture():
    pixels = numpy.zeros((16, 24, 3), numpy.uint8)
    pixels[:, :12] = (200, 40, 40)
    pixels[:, 12:] = (40, 60, 200)
    pixels[:8, :8] = (40, 200, 60)
    return pixels


def main():
    FOLDER.mkdir(exist_ok=True)
    pixels = picture()
    image = Image.fromarray(pixels)
    lossy = {"quality": 95, "subsampling": 0}
    image.save(FOLDER / "rgb.jpg", **lossy)
    image.save(FOLDER / "progressive.jpg", progressive=True, **lossy)
    image.save(FOLDER / "restarts.jpg", restart_marker_blocks=1, quality=95, subsampling=2)
    image.save(FOLDER / "lossy.webp", quality=95)
    image.convert("CMYK").save(FOLDER / "cmyk.jpg", **lossy)
    image.convert("L").save(FOLDER / "grey.jpg", **lossy)
    image.save(FOLDER / "lossless.webp", lossless=True)
    image.save(FOLDER / "rgb.gif")
    deep = pixels[:, :, 0].astype(numpy.uint16) * 257
    Image.fromarray(deep).save(FOLDER / "grey16.png")
    alpha = numpy.full((16, 24), 255, numpy.uint8)
    alpha[8:] = 0
    Image.fromarray(numpy.dstack([pixels, alpha])).save(FOLDER / "alpha.png")
    for orientation in range(1, 9):
        # The pixels as a camera stores them with this orientation; turned upright they are `image`.
        undone = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }.get(orientation)
        stored = image if undone is None else image.transpose(undone)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored.save(FOLDER / f"orientation{orientation}.jpg", exif=exif, **lossy)


if __name__ == "__main__":
    main()
