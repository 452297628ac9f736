"""Each way of storing an image comes out as the pixels that it shows."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.data.decode import decode, shape_of

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (7, 5, 3), dtype=np.uint8)
GRAY = RANDOM.integers(0, 256, (7, 5), dtype=np.uint8)


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def planes(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("format_", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_come_back_exactly(format_: str, options: dict[str, object]) -> None:
    pixels = decode(saved(Image.fromarray(COLOUR), format_, **options), None, None)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, planes(COLOUR))


def test_jpeg_is_read_in_colour_and_in_gray() -> None:
    smooth = np.add.outer(np.arange(16) * 8, np.arange(24) * 4).astype(np.uint8)
    colour = np.stack([smooth, 255 - smooth, smooth // 2], axis=-1)
    pixels = decode(saved(Image.fromarray(colour), "JPEG", quality=98, subsampling=0), None, None)
    assert np.abs(pixels.astype(int) - planes(colour)).max() <= 6
    assert decode(saved(Image.fromarray(smooth), "JPEG"), None, None).shape == (1, 16, 24)


def test_a_file_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    data = saved(Image.fromarray(COLOUR), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", None, None), decode(data, None, None))


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_: str) -> None:
    deep = np.array([[0, 128, 129, 257], [256, 30000, 65278, 65535]], dtype=np.uint16)
    pixels = decode(saved(Image.fromarray(deep), format_), None, None)
    np.testing.assert_array_equal(pixels, np.rint(deep / 257)[None])
    assert pixels[0, 0, 2] == 1 and pixels[0, 0, 1] == 0 and pixels[0, 1, 3] == 255


def tiff(bits: int, values: list[int], inverted: bool = False, sample_format: int = 1) -> bytes:
    """A gray TIFF, one row of values of so many bits, the highest first; of whole bytes the lowest first."""
    if bits % 8:
        row = "".join(format(value, f"0{bits}b") for value in values)
        row += "0" * (-len(row) % 8)
        pixels = bytes(int(row[i : i + 8], 2) for i in range(0, len(row), 8))
    else:
        pixels = b"".join(value.to_bytes(bits // 8, "little") for value in values)
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: int(not inverted), 273: 0, 277: 1, 278: 1}
    tags |= {279: len(pixels), 339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("inverted", [False, True])
def test_every_depth_of_tiff_is_scaled_or_refused(bits: int, inverted: bool) -> None:
    top = 2**bits - 1
    values = [0, top, top // 3, top - top // 3]
    expected = np.rint(np.array(values) * 255 / top)
    if bits == 12 and inverted:  # which Pillow does not read
        with pytest.raises(OSError):
            decode(tiff(bits, values, inverted), None, None)
        return
    np.testing.assert_array_equal(
        decode(tiff(bits, values, inverted), None, None), [[255 - expected if inverted else expected]]
    )


@pytest.mark.parametrize("values", [[0, 100, 60_000], [0, 1, 2**31]])
def test_thirty_two_bits_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="more than 16 bits"):
        decode(tiff(32, values), None, None)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_pixels_with_signs_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="signs"):
        decode(tiff(bits, [0, 1, 100], sample_format=2), None, None)


def png(depth: int, colour: int, row: bytes, clear: bytes) -> bytes:
    """A PNG of one row, four pixels wide, in which this gray or colour is transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, depth, colour, 0, 0, 0))
    content = chunk(b"tRNS", clear) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + content


@pytest.mark.parametrize("clear", [0, 500, 65535])
def test_sixteen_bit_gray_with_a_transparent_shade_lies_on_white(clear: int) -> None:
    values = np.array([0, 500, 501, 65535])
    data = png(16, 0, values.astype(">u2").tobytes(), struct.pack(">H", clear))
    gray = np.rint(values / 257)
    np.testing.assert_array_equal(decode(data, None, None), [[np.where(values == clear, 255, gray)]])
    np.testing.assert_array_equal(decode(data, None, 4)[0], [np.where(values == clear, 255, gray)])
    np.testing.assert_array_equal(decode(data, None, 4)[3], [np.where(values == clear, 0, 255)])


@pytest.mark.parametrize("clear", range(5))
def test_sixteen_bit_colour_with_a_transparent_one_lies_on_white(clear: int) -> None:
    values = np.array([[0, 0, 0], [1000, 2000, 3000], [65535, 0, 0], [65535, 65535, 30000], [200, 100, 255]])
    # Nothing but a colour's upper bytes is compared: those of the last are the first's.
    values = values[[4, 1, 2, 3]] if clear == 4 else values[:4]
    clear %= 4
    data = png(16, 2, values.astype(">u2").tobytes(), values[clear].astype(">u2").tobytes())
    expected = values >> 8
    expected[clear] = 255
    np.testing.assert_array_equal(decode(data, None, None)[:, 0].T, expected)


def test_the_upper_bytes_of_deep_colour_are_no_colour_of_eight_bits() -> None:
    values = np.array([[100 << 8, 50 << 8, 20 << 8], [100, 50, 20], [300, 50, 20], [5, 6, 7]])
    data = png(16, 2, values.astype(">u2").tobytes(), values[1].astype(">u2").tobytes())
    assert decode(data, None, None)[:, 0].T.tolist() == [[100, 50, 20], [255] * 3, [1, 0, 0], [255] * 3]


@pytest.mark.parametrize("clear", [(100, 50, 20), (0, 255, 0)])
def test_eight_bit_colour_with_a_transparent_one_lies_on_white(clear: tuple[int, int, int]) -> None:
    values = np.array([[100, 50, 20], [0, 255, 0], [0, 0, 0], [1, 2, 3]])
    data = png(8, 2, values.astype(np.uint8).tobytes(), np.array(clear).astype(">u2").tobytes())
    expected = np.where((values == clear).all(1, keepdims=True), 255, values)
    np.testing.assert_array_equal(decode(data, None, None)[:, 0].T, expected)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="floating"):
        decode(saved(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF"), None, None)


def test_one_bit_is_black_and_white() -> None:
    pixels = decode(
        saved(Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1"), "PNG"), None, None
    )
    np.testing.assert_array_equal(pixels, [[[0, 255], [255, 0]]])


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_palette_is_looked_up(format_: str) -> None:
    palette = np.array([[255, 0, 0], [0, 200, 10], [7, 8, 250]], np.uint8)
    entries = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)
    image = Image.frombytes("P", (3, 2), entries.tobytes())
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode(saved(image, format_), None, None), planes(palette[entries]))


def test_of_a_film_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    pixels = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), None, None)
    np.testing.assert_array_equal(pixels, planes(np.full((3, 4, 3), [255, 0, 0])))


def test_alpha_is_laid_over_white_unless_kept() -> None:
    alpha = RANDOM.integers(0, 256, (7, 5, 1), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    whole = np.concatenate([COLOUR, alpha], axis=-1)
    data = saved(Image.fromarray(whole), "PNG")
    over_white = 255 + (COLOUR.astype(float) - 255) * alpha / 255
    pixels = decode(data, None, None)
    assert np.abs(pixels - planes(over_white)).max() <= 1
    assert (pixels[:, 0] == 255).all()
    np.testing.assert_array_equal(pixels[:, 1], planes(COLOUR)[:, 1])
    kept = np.where(alpha == 0, [255, 255, 255, 0], whole)
    np.testing.assert_array_equal(decode(data, None, 4), planes(kept))
    np.testing.assert_array_equal(decode(planes(whole), None, 4), planes(kept))  # of an array too


@pytest.mark.parametrize(("ground", "colour"), [("black", (0, 0, 0)), ("#ff8000", (255, 128, 0))])
def test_another_ground_is_seen_through_transparent_pixels(ground: str, colour: tuple[int, ...]) -> None:
    alpha = RANDOM.integers(0, 256, (7, 5, 1), dtype=np.uint8)
    data = saved(Image.fromarray(np.concatenate([COLOUR, alpha], axis=-1)), "PNG")
    over = colour + (COLOUR.astype(float) - colour) * alpha / 255
    assert np.abs(decode(data, None, 3, ground=ground) - planes(over)).max() <= 1
    gray = decode(saved(Image.new("LA", (2, 2), (200, 0)), "PNG"), None, None, ground=ground)
    assert gray.shape == (1, 2, 2) and np.abs(gray - np.dot(colour, [0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_the_squares_of_a_checkerboard_are_of_pixels_that_the_network_sees(mode: str) -> None:
    image = Image.new(mode, (80, 80))
    image.paste(Image.new(mode, (80, 40), "black"), (0, 40))
    pixels = decode(saved(image, "PNG"), (40, 40), None, ground="checker")
    y, x = np.ogrid[:20, :40]
    np.testing.assert_array_equal(
        pixels[:, :19], np.broadcast_to(np.where((y // 8 + x // 8) % 2, 204, 255)[:19], (len(pixels), 19, 40))
    )
    assert (pixels[:, 21:] == 0).all()


@pytest.mark.parametrize("size", [None, (4, 4), (20, 20)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("ground", "colour"), [("white", 255), ("#0a0a0a", 10)])
def test_colours_that_transparency_hides_do_not_come_through(
    size: tuple[int, int] | None, fit: str, ground: str, colour: int
) -> None:
    pixels = RANDOM.integers(0, 256, (7, 9, 4), dtype=np.uint8)
    pixels[:, :5, 3] = 0
    other = pixels.copy()
    other[:, :5, :3] = 255 - other[:, :5, :3]
    one, two = (decode(saved(Image.fromarray(p), "PNG"), size, 4, fit, ground) for p in (pixels, other))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one, two)
    clear = one[3] == 0
    assert clear.any() and not clear.all() and (one[:3, clear] == colour).all()


def test_gray_with_alpha_stays_gray_over_white() -> None:
    alpha = np.repeat(np.array([0, 255, 0, 255, 0, 255, 255], np.uint8)[:, None], 5, axis=1)
    data = saved(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha)]), "PNG")
    np.testing.assert_array_equal(decode(data, None, None), np.where(alpha == 255, GRAY, 255)[None])


def test_a_transparent_palette_entry_shows_white() -> None:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette(bytes([10, 20, 30, 40, 50, 60]))
    pixels = decode(saved(image, "PNG", transparency=0), None, None)
    np.testing.assert_array_equal(pixels[:, 0], [[255, 40], [255, 50], [255, 60]])


def test_channels_convert_as_told() -> None:
    gray = saved(Image.fromarray(GRAY), "PNG")
    np.testing.assert_array_equal(decode(gray, None, 3), np.stack([GRAY] * 3))
    np.testing.assert_array_equal(decode(gray, None, 4)[3], np.full((7, 5), 255))
    luma = COLOUR @ [0.299, 0.587, 0.114]
    assert np.abs(decode(saved(Image.fromarray(COLOUR), "PNG"), None, 1)[0] - luma).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_undone(orientation: int, upright: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(saved(Image.fromarray(COLOUR), "PNG", exif=exif), None, None)
    np.testing.assert_array_equal(pixels, planes(upright(COLOUR)))  # type: ignore[operator]
    deep = GRAY.astype(np.uint16) * 257
    pixels = decode(saved(Image.fromarray(deep), "PNG", exif=exif), None, None)
    np.testing.assert_array_equal(pixels, planes(upright(GRAY)))  # type: ignore[operator]


def test_the_centre_is_cut_out_of_a_wide_image() -> None:
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 40:] = 255
    pixels = decode(saved(Image.fromarray(wide), "PNG"), (20, 20), None)[0].astype(int)
    assert (pixels[:, :8] == 0).all() and (pixels[:, 12:] == 255).all()
    np.testing.assert_array_equal(pixels + pixels[:, ::-1], 255)


def test_height_comes_before_width_and_the_middle_band_is_kept() -> None:
    bands = np.repeat(np.array([10, 200, 90], np.uint8), 30)[:, None].repeat(90, axis=1)
    pixels = decode(saved(Image.fromarray(bands), "PNG"), (6, 30), None)
    assert pixels.shape == (1, 6, 30)
    np.testing.assert_array_equal(pixels, 200)


@pytest.mark.parametrize("ground", ["white", "black", "#7b2d08"])
def test_a_padded_image_is_whole_on_the_ground(ground: str) -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 40:] = [0, 255, 0]
    pixels = decode(saved(Image.fromarray(wide), "PNG"), (20, 24), None, "pad", ground).astype(int)
    assert pixels.shape == (3, 20, 24)
    beside = np.concatenate([pixels[:, :4], pixels[:, 16:]], axis=1)
    assert (beside == np.array(Image.new("RGB", (1, 1), ground)).reshape(3, 1, 1)).all()
    assert (pixels[:, 4:16, :10] == 0).all() and (pixels[:, 4:16, 14:].mean((1, 2)) == [0, 255, 0]).all()
    high = decode(saved(Image.fromarray(wide.swapaxes(0, 1)), "PNG"), (24, 20), None, "pad", ground)
    np.testing.assert_array_equal(high, pixels.swapaxes(1, 2))


def test_where_transparency_is_kept_padding_is_clear_and_else_a_checkerboard_may_be_it() -> None:
    data = saved(Image.new("RGB", (80, 40), (9, 8, 7)), "PNG")
    pixels = decode(data, (32, 32), 4, "pad", "#102030")
    np.testing.assert_array_equal(pixels[3, :, 0], np.repeat([0, 255, 0], [8, 16, 8]))
    assert pixels[:, 0, 0].tolist() == [16, 32, 48, 0] and pixels[:, 16, 16].tolist() == [9, 8, 7, 255]
    pixels = decode(data, (32, 32), 3, "pad", "checker")
    np.testing.assert_array_equal(pixels[1, 0], np.tile(np.repeat([255, 204], 8), 2))
    assert (pixels[1, 8:24] == 8).all()


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000)])
def test_a_line_is_padded_too(size: tuple[int, int]) -> None:
    pixels = decode(saved(Image.new("L", size, 3), "PNG"), (32, 32), None, "pad")[0]
    assert (pixels == 3).sum() == 32 and (pixels[:, 15] == 3).all() != (pixels[15] == 3).all()


def test_an_image_is_enlarged_to_cover() -> None:
    pixels = decode(saved(Image.fromarray(np.array([[0, 0, 255, 255]] * 2, np.uint8)), "PNG"), (16, 16), None)
    assert pixels.shape == (1, 16, 16)
    assert (pixels[:, :, :3] == 0).all() and (pixels[:, :, -3:] == 255).all()


def test_shrinking_averages_instead_of_picking() -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = decode(saved(Image.fromarray(checks), "PNG"), (8, 8), None).astype(int)
    assert np.abs(pixels - 127.5).max() <= 8


def test_transparent_pixels_do_not_bleed_when_shrunk() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, :4] = [250, 100, 0, 255]  # opaque orange beside transparent black
    pixels = decode(saved(Image.fromarray(image), "PNG"), (4, 4), 4).astype(int)
    opaque = pixels[:, pixels[3] > 128]
    assert np.abs(opaque[:3] - np.array([[250], [100], [0]])).max() <= 5  # premultiplied eight bits


def test_arrays_pass_through_or_are_resized() -> None:
    seven = RANDOM.integers(0, 256, (7, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(decode(seven, None, None), seven)
    halves = np.zeros((1, 8, 8), np.uint8)
    halves[:, 4:] = 255
    pixels = decode(halves, (16, 16), 3)
    assert pixels.shape == (3, 16, 16) and (pixels[:, :6] == 0).all() and (pixels[:, 10:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_the_head_gives_the_shape_that_decoding_gives(mode: str) -> None:
    image = Image.new(mode, (5, 7))
    data = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    assert shape_of(data) == decode(data, None, None).shape
    assert shape_of(RANDOM.integers(0, 256, (7, 4, 5), dtype=np.uint8)) == (7, 4, 5)


@pytest.mark.parametrize("cut", [0, 20, 60, 100])
def test_damaged_bytes_raise(cut: int) -> None:
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode(saved(Image.fromarray(COLOUR), "PNG")[:cut], None, None)
