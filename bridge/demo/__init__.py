"""`rtzr-bridge demo`: a conversation through everything that is ours, on one machine."""
