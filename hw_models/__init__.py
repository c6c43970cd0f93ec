"""What a target can do and what it costs: chips, mapping, pipeline ticks, the PE array."""
