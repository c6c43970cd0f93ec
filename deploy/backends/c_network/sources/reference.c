/* The integer network, step by step, written to be read. See reference.h for the tables. */
#include "reference.h"

#include <stddef.h>
#include <string.h>

static int size_of(shape_t shape) { return shape.channels * shape.rows * shape.columns; }

/* The value at a place of a feature map with zeros around it. */
static int64_t at(const int64_t *values, shape_t shape, int channel, int row, int column)
{
    if (row < 0 || row >= shape.rows || column < 0 || column >= shape.columns)
        return 0;
    return values[(channel * shape.rows + row) * shape.columns + column];
}

static int64_t convolved(const map_t *map, shape_t in, const int64_t *values, int channel, int row, int column)
{
    int per_group = in.channels / map->groups;
    int first = channel / (map->out.channels / map->groups) * per_group;
    const int8_t *weight = map->weight + channel * per_group * map->kernel[0] * map->kernel[1];
    int64_t sum = 0;
    for (int input = first; input < first + per_group; input++)
        for (int k = 0; k < map->kernel[0]; k++)
            for (int l = 0; l < map->kernel[1]; l++)
                sum += *weight++ * at(values, in, input,
                                      row * map->stride[0] - map->padding[0] + k * map->dilation[0],
                                      column * map->stride[1] - map->padding[1] + l * map->dilation[1]);
    return sum;
}

static int64_t pooled(const map_t *map, shape_t in, const int64_t *values, int channel, int row, int column)
{
    int64_t sum = 0;
    for (int k = 0; k < map->kernel[0]; k++)
        for (int l = 0; l < map->kernel[1]; l++)
            sum += at(values, in, channel, row * map->stride[0] - map->padding[0] + k,
                      column * map->stride[1] - map->padding[1] + l);
    return sum;
}

static int64_t resampled(const map_t *map, shape_t in, const int64_t *values, int channel, int row, int column)
{
    int64_t sum = 0;
    for (int r = 0; r < in.rows; r++)
        for (int c = 0; c < in.columns; c++)
            sum += (int64_t)map->rows[row * in.rows + r] * map->columns[column * in.columns + c]
                   * at(values, in, channel, r, c);
    return sum;
}

static int64_t dense(const map_t *map, shape_t in, const int64_t *values, int target)
{
    int64_t sum = 0;
    for (int i = 0; i < size_of(in); i++)
        sum += map->weight[target * size_of(in) + i] * values[i];
    return sum;
}

static int64_t mapped(const map_t *map, shape_t in, const int64_t *values, int channel, int row, int column)
{
    switch (map->kind) {
    case CONVOLUTION: return convolved(map, in, values, channel, row, column);
    case DENSE: return dense(map, in, values, channel);
    case SCALE: return map->weight[channel] * at(values, in, channel, row, column);
    case SUM_POOL: return pooled(map, in, values, channel, row, column);
    case RESAMPLE: return resampled(map, in, values, channel, row, column);
    case SELECT_CHANNELS:
        return map->sources[channel] < 0 ? 0 : at(values, in, map->sources[channel], row, column);
    }
    return 0;
}

/* Add 2^x_e * op_e(W_e, values) to the currents of a population. */
static void transmit(const synapse_t *synapse, const int32_t *values, int64_t *work[2], int64_t *currents)
{
    shape_t shape = populations[synapse->source].shape;
    int64_t *before = work[0], *after = work[1];
    for (int i = 0; i < size_of(shape); i++)
        before[i] = values[i];
    for (int m = 0; m < synapse->num_maps; m++) {
        const map_t *map = &synapse->maps[m];
        int64_t *result = after;
        for (int channel = 0; channel < map->out.channels; channel++)
            for (int row = 0; row < map->out.rows; row++)
                for (int column = 0; column < map->out.columns; column++)
                    *result++ = mapped(map, shape, before, channel, row, column);
        shape = map->out;
        int64_t *swap = before;
        before = after;
        after = swap;
    }
    for (int i = 0; i < size_of(shape); i++)
        currents[i] += before[i] * ((int64_t)1 << synapse->exponent);
}

static int64_t value_of(parameter_t parameter, shape_t shape, int neuron)
{
    if (parameter.size == 1)
        return parameter.values[0];
    if (parameter.size == shape.channels)
        return parameter.values[neuron / (shape.rows * shape.columns)];
    return parameter.values[neuron];
}

/* The input current A_l of every neuron in one step. */
static void input_currents(const population_t *target, int step, const int32_t *counts, const int32_t *frames,
                           int64_t *work[4])
{
    int64_t *currents = work[2];
    for (int i = 0; i < size_of(target->shape); i++)
        currents[i] = value_of(target->bias, target->shape, i);
    for (int s = 0; s < target->num_synapses; s++) {
        const synapse_t *synapse = &target->synapses[s];
        const population_t *source = &populations[synapse->source];
        if (synapse->frames == NULL)
            transmit(synapse, counts + source->first, work, currents);
        else if (synapse->frames[step] >= 0)
            transmit(synapse, frames + source->first_frame + synapse->frames[step] * size_of(source->shape),
                     work, currents);
    }
}

/* The currents are the same in every step if all synapses read counts. */
static int is_constant(const population_t *population)
{
    for (int s = 0; s < population->num_synapses; s++)
        if (population->synapses[s].frames != NULL)
            return 0;
    return 1;
}

void run_network(const int32_t *pixels, int32_t *counts, int32_t *frames, int64_t *work[4], int64_t *logits)
{
    for (int p = 0; p < num_populations; p++) {
        const population_t *population = &populations[p];
        int size = size_of(population->shape);
        if (population->kind == INPUT) {
            memcpy(counts + population->first, pixels, (size_t)size * sizeof *pixels);
            memcpy(frames + population->first_frame, pixels, (size_t)size * sizeof *pixels);
            continue;
        }
        int64_t *currents = work[2], *potential = population->kind == READOUT ? logits : work[3];
        for (int i = 0; i < size; i++) {
            potential[i] = value_of(population->initial, population->shape, i);
            if (population->kind == SPIKING)
                counts[population->first + i] = 0;
        }
        for (int step = 0; step < population->timesteps; step++) {
            if (step == 0 || !is_constant(population))
                input_currents(population, step, counts, frames, work);
            for (int i = 0; i < size; i++) {
                potential[i] += currents[i];
                if (population->kind == READOUT)
                    continue;
                int64_t threshold = value_of(population->threshold, population->shape, i);
                int spike = potential[i] >= threshold;
                potential[i] -= spike * threshold;
                counts[population->first + i] += spike;
                frames[population->first_frame + step * size + i] = spike;
            }
        }
    }
}
