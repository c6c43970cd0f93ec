"""Running the integer network: the stepped judge, the exact closed form, Lava, and their equality."""
