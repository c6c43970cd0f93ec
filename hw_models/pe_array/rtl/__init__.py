"""The PE array in SystemVerilog: ``sv/`` holds the design, ``driver/`` simulates it."""
