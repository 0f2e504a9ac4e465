"""rtzr-bridge: taps PBX calls and turns each speaker's audio into live RTZR transcripts."""
