"""Limits of what a user may ask for, which the command line and the checks of options share."""

MOST_SHOWN = 10_000
"""Most samples of a run that is shown, or checked neuron by neuron: its records grow with them."""

MOST_OF_A_RESOURCE = 1_000_000
"""Most slots of a buffer or replicas of a population that are counted: no target has as many."""

MOST_POPULATIONS = 500
"""Most populations of a network that is mapped. Its pipeline holds about as many samples as it is deep, so
the events of its cores grow with the square."""

MOST_SYNAPSES = 2_500
"""Most synapses of a network that is mapped: each is lowered, placed and shown for itself."""

MOST_NEURONS = 2**22
"""Most neurons of a population, or pixels of the input: 2,048 x 2,048 of one channel."""

MOST_SPIKES = 2**27
"""Most spikes of all neurons in one sample: the bytes of its spike trains."""

MOST_CHANNEL_PAIRS = 2**26
"""Most pairs of a source channel and a target channel of a synapse, which are marked in a table."""

MOST_AXIS_PATHS = 2**24
"""Most triples of a source row, a target row and a row of the kernel of a synapse; the same along columns."""

MOST_POPULATIONS_VARIED = 100
"""Most populations of a network whose report also compares alignments, suggests changes and varies the
assumed figures. Each of these compiles the network again."""

MOST_EVENT_COUNTS = 2**22
"""Most counts of one kind of event, one for each core and tick, from which times and energies follow."""
