"""What programs may rely on, as documents that programs read: `rtzr-bridge schema events|asyncapi|config`.

The shapes of the events are in `shapes`, the ways they go in `asyncapi`, the YAML in `configuration`. Nothing
here is on the way of a call.
"""
