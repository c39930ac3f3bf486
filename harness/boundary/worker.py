"""The process that counts images for `harness.boundary.pool.BoundaryPool`.

It reads pickles from its standard input: the rule, then a pair (probability, gt) for every image. It answers
each image with its counts or with the exception it raised, and ends when its input does.
"""

import os
import pickle
import sys
import traceback

from harness.boundary.counting import count_image


def main() -> None:
    """Serve until the input ends."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not corrupt the replies
    rule = pickle.load(requests)  # noqa: S301 - written by our own parent process
    while True:
        try:
            probability, gt = pickle.load(requests)  # noqa: S301
        except EOFError:
            return
        try:
            reply: object = count_image(probability, gt, rule)
        except Exception as error:
            error.add_note(f"In a boundary worker process:\n{traceback.format_exc()}")
            reply = error
        pickle.dump(reply, replies)
        replies.flush()
