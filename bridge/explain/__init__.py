"""`rtzr-bridge explain`: why a call is heard or not, live or from a log."""
