/* The tables of an integer network, and the function that computes it.
 *
 * For population l with sources j over synapses e:
 *
 *     A_l = sum_e 2^x_e * op_e(W_e, N_j) + B_l       one integer per neuron
 *     each of the T_l steps:  V += A_l;  if V >= Theta_l: spike, V -= Theta_l
 *
 * N_j is the spike count of source j in its whole window (of the input: its pixels). Where a synapse has
 * frames, the current of a step comes from the spikes of one step of the source, and not from its count.
 * Feature maps are arrays in the order channel, row, column. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdint.h>

typedef struct { int channels, rows, columns; } shape_t;

typedef enum { CONVOLUTION, DENSE, SCALE, SUM_POOL, RESAMPLE, SELECT_CHANNELS } map_kind_t;

typedef struct {
    map_kind_t kind;
    shape_t out;            /* shape of its result */
    const int8_t *weight;   /* CONVOLUTION (out, in / groups, rows, columns), DENSE (out, in), SCALE (channels) */
    int kernel[2], stride[2], padding[2], dilation[2], groups; /* CONVOLUTION and SUM_POOL: rows, columns */
    const int32_t *rows;    /* RESAMPLE: (out rows, in rows), how often a target adds a source */
    const int32_t *columns; /* RESAMPLE: (out columns, in columns) */
    const int32_t *sources; /* SELECT_CHANNELS: source channel of each channel, -1 for zeros */
} map_t;

typedef struct {
    int source;             /* index of a population */
    int exponent;           /* x_e */
    int num_maps;
    const map_t *maps;      /* applied in order; one of them has a weight */
    const int32_t *frames;  /* step of the source that each step reads, -1 for none; NULL: its count */
} synapse_t;

typedef struct {
    int size;               /* 1 for all neurons, one value per channel, or one per neuron */
    const int32_t *values;
} parameter_t;

typedef enum { INPUT, SPIKING, READOUT } population_kind_t;

typedef struct {
    population_kind_t kind;
    const char *name;
    shape_t shape;
    int timesteps;          /* T_l */
    parameter_t bias, threshold, initial; /* B_l, Theta_l, V(0) */
    int num_synapses;
    const synapse_t *synapses;
    int first;              /* place of its counts in an array of all counts */
    int first_frame;        /* place of its spikes in an array of all spikes */
} population_t;

typedef struct {            /* some of the logits; most networks have one output */
    const char *name;
    int start, stop;        /* channels */
    int rows, columns;
} output_t;

extern const population_t populations[];
extern const int num_populations;

/* Compute one sample.
 *   pixels: integers of the input population
 *   counts: one per neuron, of the input and of every spiking population, from `first` on
 *   frames: the spikes of every step, (timesteps, neurons) from `first_frame` on
 *   work:   four feature maps of the largest size
 *   logits: one per neuron of the readout */
void run_network(const int32_t *pixels, int32_t *counts, int32_t *frames, int64_t *work[4],
                 int64_t *logits);

#endif
