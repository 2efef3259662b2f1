"""`python -m bench.worst_minute`: what the others wait for, in a row for each thing that one client sends."""

import io
import zlib

from PIL import Image

from bench.bombs import deep_png, empty_block, empty_blocks_png


def test_each_row_says_how_long_the_others_waited(start_benchmark, store):
    attack = "hundreds of digits, to /classify"
    benchmark = start_benchmark("bench.worst_minute", store, attack, "--seconds", "1")

    printed, errors = benchmark.communicate()

    assert benchmark.returncode == 0, errors
    (row,) = (line for line in printed.splitlines() if line.startswith("│"))
    name, failed, *waits, memory = (cell.strip() for cell in row.strip("│").split("│"))
    assert (name, failed) == (attack, "0")
    assert all(wait.endswith(" ms") for wait in waits)
    assert memory.endswith(" MB")


def test_without_a_model_it_says_what_to_run(start_benchmark, tmp_path):
    benchmark = start_benchmark("bench.worst_minute", tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "Run `python -m train mnist" in errors


def test_its_pictures_are_whole_and_far_smaller_than_what_they_unpack_to():
    deep = deep_png(101)
    image = Image.open(io.BytesIO(deep))
    image.load()

    assert (image.mode, image.size, image.info["interlace"]) == ("RGBA", (101, 101), 1)
    assert len(deep) < 101 * 101 * 8 / 50


def test_blocks_without_content_unpack_to_nothing():
    unpacker = zlib.decompressobj(wbits=-15)

    assert unpacker.decompress(empty_block() * 10) == b""
    assert not unpacker.eof
    Image.open(io.BytesIO(empty_blocks_png(5000))).load()
