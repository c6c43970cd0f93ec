/* Run the network on pixels of a file, of standard input (-), or on the samples of samples.h.
 *
 * Pixels are integers in the order channel, row, column, with white space between them. For each sample, the
 * counts of every spiking population and the logits of every output are printed, one line each. Without an
 * argument, the logits and the sum of the counts are compared with those that qac-deploy computed. */
#include "network.h"
#include "samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t pixels[NUM_PIXELS], counts[NUM_COUNTS], frames[NUM_FRAME_VALUES];
static int64_t work_maps[4][LARGEST_MAP], logits[NUM_LOGITS];
static int64_t *work[4] = {work_maps[0], work_maps[1], work_maps[2], work_maps[3]};

static void print_logits(const population_t *readout)
{
    shape_t shape = readout->shape;
    for (int o = 0; o < NUM_OUTPUTS; o++) {
        printf("logits %s:", outputs[o].name);
        for (int channel = outputs[o].start; channel < outputs[o].stop; channel++)
            for (int row = 0; row < outputs[o].rows; row++)
                for (int column = 0; column < outputs[o].columns; column++)
                    printf(" %lld",
                           (long long)logits[(channel * shape.rows + row) * shape.columns + column]);
        printf("\n");
    }
}

static void run_and_print(long sample)
{
    run_network(pixels, counts, frames, work, logits);
    printf("sample %ld\n", sample);
    for (int p = 0; p < num_populations; p++) {
        const population_t *population = &populations[p];
        int size = population->shape.channels * population->shape.rows * population->shape.columns;
        if (population->kind == READOUT)
            print_logits(population);
        if (population->kind != SPIKING)
            continue;
        printf("counts %s:", population->name);
        for (int i = 0; i < size; i++)
            printf(" %ld", (long)counts[population->first + i]);
        printf("\n");
    }
}

static int run_stored_samples(void)
{
    for (int s = 0; s < NUM_SAMPLES; s++) {
        memcpy(pixels, sample_pixels[s], sizeof pixels);
        run_and_print(s);
        int64_t total = 0;
        for (int i = NUM_PIXELS; i < NUM_COUNTS; i++)
            total += counts[i];
        if (total != sample_count_sums[s] || memcmp(logits, sample_logits[s], sizeof logits) != 0) {
            fprintf(stderr, "sample %d: counts or logits differ from those of qac-deploy\n", s);
            return 1;
        }
    }
    fprintf(stderr, "%d samples, all equal to qac-deploy\n", NUM_SAMPLES);
    return 0;
}

/* Returns 1 for a sample, 0 at the end of the file, -1 for anything else. */
static int read_pixels(FILE *file, long sample)
{
    for (int i = 0; i < NUM_PIXELS; i++) {
        long value;
        int found = fscanf(file, "%ld", &value);
        if (found == EOF && i == 0)
            return 0;
        if (found != 1 || value < 0 || value > MAX_PIXEL) {
            fprintf(stderr, "sample %ld, pixel %d: must be an integer from 0 to %d\n", sample, i, MAX_PIXEL);
            return -1;
        }
        pixels[i] = (int32_t)value;
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return run_stored_samples();
    FILE *file = strcmp(argv[1], "-") == 0 ? stdin : fopen(argv[1], "r");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", argv[1]);
        return 2;
    }
    int found;
    for (long sample = 0; (found = read_pixels(file, sample)) > 0; sample++)
        run_and_print(sample);
    if (file != stdin)
        fclose(file);
    return found < 0 ? 2 : 0;
}
