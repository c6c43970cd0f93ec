"""Post-training lowering on images: integers chosen by what a layer computes, not by its weights alone.

``lower_to_integers`` chooses units, thresholds and exponents without data. These steps keep them, and choose
weights and biases anew so that currents and counts on training images are those of the float network.
"""
