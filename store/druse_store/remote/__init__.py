"""Sharing: places through which machines exchange packs and signed records."""
