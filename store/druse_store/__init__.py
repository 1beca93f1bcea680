"""A content-addressed artifact store: packs of zstd frames named by BLAKE3, indexed by LMDB."""
