"""Audio on the disk until its text was told, and RTZR's file API for what the stream lost."""
