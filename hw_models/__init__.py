"""Models of the hardware, its limits and its costs: chips, mapping, pipeline ticks, the PE array."""
