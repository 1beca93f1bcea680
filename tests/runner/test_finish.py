"""What is said at the end of a run."""

from druse.finish import what_is_lacking


def test_what_a_view_lacks_is_said_in_one_line_however_much_it_is() -> None:
    assert what_is_lacking(["a.bin"]) == "the view lacks 1 file whose bytes are gone: a.bin"
    names = [f"{n}.bin" for n in range(40)]
    assert (
        what_is_lacking(names)
        == "the view lacks 40 files whose bytes are gone: 0.bin, 1.bin, 2.bin, …"
    )
