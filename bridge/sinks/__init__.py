"""Where events leave the daemon. A sink consumes events; it never holds a call up."""
