"""Pooling: max, average and global."""
