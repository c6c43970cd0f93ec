"""Runs the SystemVerilog of the array in a simulator and compares it with the Python model."""
