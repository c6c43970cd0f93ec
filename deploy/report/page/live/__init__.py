"""Views that a script makes interactive: each is a figure that is readable as it is."""
