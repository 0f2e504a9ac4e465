"""One leg, from the ring that its audio falls into to the events of its end, and the desk that hears it."""
