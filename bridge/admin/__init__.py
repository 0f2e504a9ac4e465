"""What is asked of the running daemon: the control channel on a Unix socket, and the live feed."""
