"""A thin, resumable experiment runner on top of `druse_store`."""
