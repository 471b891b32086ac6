"""Image files as people have them, read by `data=folder`: depth, color, transparency, orientation, and damage."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan.data.decode import Unreadable, decode_image
from gan.data.folder import Folder
from gan.errors import InputError

SIZE = 32
RGB = {"channels": 3, "image_size": SIZE, "batch_size": 1}


def quadrants(*values, dtype=np.uint8) -> np.ndarray:
    """Return a picture (S, S) or (S, S, 3) of four flat squares, each a whole number of JPEG's blocks."""
    corners = np.array(values, dtype=dtype).reshape(2, 2, *np.shape(values[0]))
    return corners.repeat(SIZE // 2, axis=0).repeat(SIZE // 2, axis=1)


LEVELS = (0, 90, 160, 250)
RED, GREEN, BLUE, YELLOW = (200, 30, 40), (20, 180, 60), (30, 60, 210), (240, 220, 20)
WHITE, ORANGE = (255, 255, 255), (255, 136, 0)
GRAY, COLOR = quadrants(*LEVELS), quadrants(RED, GREEN, BLUE, YELLOW)
LUMA = quadrants(*(round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (RED, GREEN, BLUE, YELLOW)))
FADED = quadrants(*(np.add(color, 255) // 2 for color in (RED, GREEN, BLUE, YELLOW)))
UNIT = (GRAY / 255).astype(np.float32)
WIDE = np.pad(COLOR, [(0, 0), (SIZE, SIZE), (0, 0)], constant_values=99)  # three times as wide as high
SHOWN_BY = {  # the picture as stored, for each EXIF orientation that shows it upright
    2: WIDE[:, ::-1],
    3: WIDE[::-1, ::-1],
    4: WIDE[::-1],
    5: WIDE.swapaxes(0, 1),
    6: np.rot90(WIDE),
    7: WIDE[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(WIDE, -1),
}


def encode(picture: np.ndarray | Image.Image, kind: str, orientation: int = 0, **options) -> bytes:
    """Return a picture as an image file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.ascontiguousarray(picture))
    if orientation:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def jpeg(picture: np.ndarray | Image.Image, **options) -> bytes:
    return encode(picture, "JPEG", quality=95, subsampling=0, **options)


def with_alpha(picture: np.ndarray, alpha: int) -> np.ndarray:
    """Return a picture (H, W, C) with one more channel, its opacity."""
    return np.dstack([picture, np.full(picture.shape[:2], alpha, np.uint8)])


def animation(kind: str, **options) -> bytes:
    frames = [Image.fromarray(COLOR[::-1]), Image.fromarray(COLOR[:, ::-1])]
    return encode(COLOR, kind, save_all=True, append_images=frames, **options)


PALETTE = Image.fromarray(COLOR).quantize(4)
ONE_CLEAR = quadrants(WHITE, GREEN, BLUE, YELLOW)  # where red is transparent
LINE = np.zeros((1, 1000), np.uint8)
LINE[0, 499] = 77

# A file, the picture that is to be seen, and the options that differ from RGB's.
FILES: dict[str, tuple[bytes, np.ndarray, dict]] = {
    **{f"JPEG shown by {i}": (jpeg(stored, orientation=i), COLOR, {}) for i, stored in SHOWN_BY.items()},
    **{f"PNG shown by {i}": (encode(stored, "PNG", i), COLOR, {}) for i, stored in SHOWN_BY.items()},
    **{f"TIFF shown by {i}": (encode(stored, "TIFF", i), COLOR, {}) for i, stored in SHOWN_BY.items()},
    "WebP shown by 6": (encode(SHOWN_BY[6], "WEBP", 6, lossless=True), COLOR, {}),
    "16-bit gray PNG": (encode(GRAY.astype(np.uint16) * 257, "PNG"), GRAY, {}),
    "16-bit gray PNG to gray": (encode(GRAY.astype(np.uint16) * 257, "PNG"), GRAY, {"channels": 1}),
    "dark 16-bit gray PNG": (encode(GRAY.astype(np.uint16), "PNG"), GRAY * 0, {}),
    "16-bit gray TIFF": (encode(GRAY.astype(np.uint16) * 257, "TIFF"), GRAY, {}),
    "16-bit big-endian TIFF": (encode(GRAY.astype(">u2") * 257, "TIFF"), GRAY, {}),
    "16-bit PGM": (b"P5 32 32 65535\n" + (GRAY.astype(">u2") * 257).tobytes(), GRAY, {}),
    "32-bit integers to 255": (encode(GRAY.astype(np.int32), "TIFF"), GRAY, {}),
    "32-bit integers to 65535": (encode(GRAY.astype(np.int32) * 257, "TIFF"), GRAY, {}),
    "32-bit integers to 2^31": (encode(GRAY.astype(np.int32) * (2**31 // 255), "TIFF"), GRAY, {}),
    "floats to 1": (encode(UNIT, "TIFF"), GRAY, {}),
    "floats to 255": (encode(UNIT * 255, "TIFF"), GRAY, {}),
    "floats to 65535": (encode(UNIT * 65535, "TIFF"), GRAY, {}),
    "floats from -1 to 1": (encode(UNIT * 2 - 1, "TIFF"), GRAY, {"channels": 1}),
    "transparent": (encode(with_alpha(COLOR, 0), "PNG"), quadrants(*4 * [WHITE]), {}),
    "transparent on black": (encode(with_alpha(COLOR, 0), "PNG"), COLOR * 0, {"background": "black"}),
    "transparent on a hex color": (
        encode(with_alpha(COLOR, 0), "PNG"),
        quadrants(*4 * [ORANGE]),
        {"background": "#ff8800"},
    ),
    "transparent to gray": (encode(with_alpha(COLOR, 0), "PNG"), GRAY * 0 + 255, {"channels": 1}),
    "half transparent": (encode(with_alpha(COLOR, 128), "PNG"), FADED, {}),
    "half transparent WebP": (encode(with_alpha(COLOR, 128), "WEBP", lossless=True), FADED, {}),
    "opaque RGBA": (encode(with_alpha(COLOR, 255), "PNG"), COLOR, {"background": "black"}),
    "transparent gray": (encode(with_alpha(GRAY, 0), "PNG"), GRAY * 0 + 255, {}),
    "half transparent gray": (encode(with_alpha(GRAY, 128), "PNG"), GRAY // 2 + 127, {"channels": 1}),
    "palette": (encode(PALETTE, "PNG"), COLOR, {}),
    "palette to gray": (encode(PALETTE, "PNG"), LUMA, {"channels": 1}),
    "palette with a transparent color": (encode(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0))), ONE_CLEAR, {}),
    "RGB with a transparent color": (encode(COLOR, "PNG", transparency=RED), ONE_CLEAR, {}),
    "gray with a transparent level": (encode(GRAY, "PNG", transparency=0), quadrants(255, *LEVELS[1:]), {}),
    "CMYK JPEG": (jpeg(Image.fromarray(COLOR).convert("CMYK")), COLOR, {}),
    "1-bit PNG": (encode(Image.fromarray(GRAY > 127), "PNG"), quadrants(0, 0, 255, 255), {}),
    "1-bit TIFF": (encode(Image.fromarray(GRAY > 127), "TIFF", compression="group4"), quadrants(0, 0, 255, 255), {}),
    "animated GIF": (animation("GIF"), COLOR, {}),
    "animated WebP": (animation("WEBP", lossless=True), COLOR, {}),
    "gray to RGB": (encode(GRAY, "PNG"), GRAY, {}),
    "color to luma": (encode(COLOR, "PNG"), LUMA, {"channels": 1}),
    "one pixel high": (encode(LINE, "PNG"), GRAY * 0 + 77, {}),
    "one pixel": (encode(GRAY[:1, :1] + 7, "PNG"), GRAY * 0 + 7, {}),
    "EXIF of zeros": (jpeg(COLOR, exif=b"Exif\0\0" + bytes(40)), COLOR, {}),
    "EXIF that points outside": (jpeg(COLOR, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), COLOR, {}),
    "EXIF with a damaged tag beside the orientation": (
        jpeg(
            SHOWN_BY[6],
            exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\x01\x1a\0\x02\0\0\0\x04ab\0\0\0\0\0\0",
        ),
        COLOR,
        {},
    ),
    "EXIF of a PNG cut short": (encode(COLOR, "PNG", exif=b"Exif\0\0MM\0*\0\0"), COLOR, {}),
    "EXIF of a WebP that is no TIFF": (
        encode(COLOR, "WEBP", lossless=True, exif=b"Exif\0\0MX\0*\0\0\0\x08"),
        COLOR,
        {},
    ),
    "EXIF cut short": (jpeg(COLOR, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x63\x01\x12\0\x03"), COLOR, {}),
}


def read(folder: Path, *files: bytes, **options) -> torch.Tensor:
    """Return the pixels of files through a `Folder`."""
    for i, content in enumerate(files):
        (folder / f"{i:02}.png").write_bytes(content)
    data = Folder(root=str(folder), **RGB | options)
    data.setup()
    return data.splits["train"].images


@pytest.mark.parametrize(("content", "wanted", "options"), FILES.values(), ids=FILES)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning", "ignore:Truncated File Read:UserWarning")
def test_a_file_is_read_as_a_person_sees_it(tmp_path, content, wanted, options):
    (image,) = read(tmp_path, content, **options)
    wanted = torch.from_numpy(np.array(wanted, dtype=np.int64))
    assert (image - (wanted.permute(2, 0, 1) if wanted.ndim == 3 else wanted)).abs().max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_large_scan_is_read(tmp_path, kind):
    scan = Image.fromarray(np.rot90(quadrants(*LEVELS))).resize((14000, 14000), Image.Resampling.NEAREST)
    content = encode(scan, kind, 6, **{"PNG": {"compress_level": 1}, "TIFF": {"compression": "packbits"}}.get(kind, {}))
    (image,) = read(tmp_path, content)
    assert (image[:, 8::16, 8::16].flatten(1) - torch.tensor(LEVELS)).abs().max() <= 2


@pytest.mark.parametrize("name", ["no-such-color", "#ff880", "ff8800", "", "255,0,0", "[0,0,0]", None, 0])
def test_a_background_that_is_no_color_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(InputError, match=r"data\.background=") as error:
        Folder(root=str(tmp_path), background=name, **RGB)
    assert "\n" not in str(error.value)


NAN, INFINITE, NEGATIVE = UNIT.copy(), UNIT.copy(), -UNIT * 300
NAN[3, 3], INFINITE[3, 3] = np.nan, np.inf
GOOD, NOISE = encode(COLOR, "PNG"), random.Random(0).randbytes(3 * 64 * 64)
NOISY = Image.frombytes("RGB", (64, 64), NOISE)
DAMAGED = {  # files, by what is wrong
    "truncated PNG": encode(NOISY, "PNG")[:-3000],
    "truncated JPEG": jpeg(NOISY)[:-3000],
    "truncated GIF": encode(NOISY, "GIF")[:-3000],
    "truncated BMP": encode(NOISY, "BMP")[:-3000],
    "truncated TIFF": encode(NOISY, "TIFF")[:-3000],
    "truncated WebP": encode(NOISY, "WEBP")[:-1000],
    "header of a PNG": GOOD[:40],
    "text": b"<html>404 Not Found</html>",
    "empty": b"",
    "float NaN": encode(NAN, "TIFF"),
    "infinite float": encode(INFINITE, "TIFF"),
    "negative float": encode(NEGATIVE, "TIFF"),
    "negative integers": encode(-GRAY.astype(np.int32), "TIFF"),
    "2^30 pixels": b"P5 32768 32768 255\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(tmp_path, content):
    with pytest.raises(InputError, match=r"1 of 2 files can't be read as images; .*/01\.png \(.+\)$") as error:
        read(tmp_path, GOOD, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "span"),
    [(NAN, "nan to nan"), (INFINITE, "0 to inf"), (NEGATIVE, "-294.1 to"), (UNIT * 1e6, "0 to 9.8")],
)
def test_values_without_a_known_scale_are_named_with_their_span(tmp_path, values, span):
    with pytest.raises(InputError, match=rf"/00\.png \(its values span {span}.*; floats must"):
        read(tmp_path, encode(values, "TIFF"))


def test_all_damaged_files_are_named_up_to_ten(tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path, GOOD, *DAMAGED.values(), GOOD)
    message = str(error.value)
    named = [i for i in range(len(DAMAGED) + 2) if f"/{i:02}.png (" in message]
    assert len(named) == 10
    assert set(named) < set(range(1, len(DAMAGED) + 1))
    assert f"{len(DAMAGED)} of {len(DAMAGED) + 2} files" in message
    assert message.endswith(f" and {len(DAMAGED) - 10} more")
    for path in tmp_path.glob("*.png"):
        path.write_bytes(GOOD)
    assert len(read(tmp_path)) == len(DAMAGED) + 2 - 1  # every tenth is held out


KINDS = {"PNG": {}, "JPEG": {"orientation": 6}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {}, "PPM": {}}


def mutate(content: bytes, source: random.Random) -> bytes:
    """Return a file with a few bytes flipped, inserted or deleted, or with its end cut off."""
    changed = bytearray(content)
    for _ in range(source.randint(1, 5)):
        start = source.randrange(source.choice([64, len(changed)]))  # headers matter most
        change = source.choice(["flip", "insert", "delete", "cut"])
        if change == "flip":
            changed[start : start + 1] = source.randbytes(1)
        elif change == "insert":
            changed[start:start] = source.randbytes(source.randint(1, 8))
        elif change == "delete":
            del changed[start : start + source.randint(1, 8)]
        elif source.random() < 0.3:
            del changed[max(start, 65) :]
    return bytes(changed)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mutated_file_is_read_or_unreadable_and_nothing_else(tmp_path):
    source, path, n_read, n_unreadable = random.Random(0), tmp_path / "mutated", 0, 0
    files = [encode(NOISY.resize((24, 20)), kind, **options) for kind, options in KINDS.items()]
    for i in range(210):
        path.write_bytes(mutate(files[i % len(files)], source))
        channels = source.choice([1, 3])
        try:
            pixels, _ = decode_image(path, image_size=SIZE, channels=channels, background=(255, 255, 255))
        except Unreadable:
            n_unreadable += 1
        else:
            n_read += 1
            assert (pixels.dtype, pixels.shape) == (torch.uint8, (channels, SIZE, SIZE))
    assert min(n_read, n_unreadable) > 30
