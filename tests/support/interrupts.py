"""Ctrl-C at a moment that is counted, not timed."""

import sys


class Interrupt:
    """Raises KeyboardInterrupt behind the n-th call of something in C by the store's code."""

    def __init__(self, number):
        self.left = number
        self.is_over = False

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, kind, *_):
        sys.setprofile(None)
        return kind is KeyboardInterrupt

    def __call__(self, frame, event, _):
        if event == "c_return" and "/druse_store/" in frame.f_code.co_filename:
            self.left -= 1
            if self.left == 0:
                self.is_over = True
                raise KeyboardInterrupt
