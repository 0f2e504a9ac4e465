"""`rtzr-bridge simulate`: recordings as calls, over RTP by the bridge's own path, to see what is lost."""
