"""`rtzr-bridge check`: what is looked at, and the finding that each look gives."""
