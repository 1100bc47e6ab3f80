"""Give every core's worth of neurons a place on the chip."""
