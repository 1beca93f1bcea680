"""The index: where everything lies, in LMDB. Derived data, which can be rebuilt from the packs."""
