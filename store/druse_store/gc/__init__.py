"""Collection: what no root needs goes, beside writers and readers, and nothing else ever does.

In order, each step in transactions of its own, so that it can be killed between any two:

1. plan       `roots`, `mark`: from one state of the index, what is needed, and what is not
2. runs       levels are lowered, runs removed; in the log, and into the trash
3. records    what no run names is marked as removed; in the log
4. tombstones on blobs, and then on the chunks of those that got one
5. sweep      what has been tombstoned for longer than the grace, and before the oldest hold:
              blobs, then chunks, out of the index
6. packs      those without a chunk are unlinked; wasteful ones are written anew, the worst first
7. log        written anew, where that saves something

What was freshened, named or leased since the state that the plan saw is left alone: each
transaction looks again (`spared`). A blob that came back to life gives its chunks theirs.
"""
