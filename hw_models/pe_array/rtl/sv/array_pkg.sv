// The registers of one kernel (a pass over the array), which a driver writes before `start`.
//
// Loop bounds are those of the layer, not numbers of tiles: the array itself cuts them into tiles of M output
// channels, N output columns, S frames and V input channels. Addresses count words. A step is added to an
// address in each iteration of a loop, modulo 2^ADDRESS_BITS, so it may be negative.

package array_pkg;

  localparam int ADDRESS_BITS = 24;

  // literal widths: in a cast to the type, Icarus 11 would look for a constant in the wrong scope
  typedef logic [15:0] index_t;
  typedef logic [23:0] address_t;
  typedef logic [4:0] shift_t;

  typedef struct packed {
    // loop bounds; channels are per group
    index_t   groups;
    index_t   output_channels;        // C_o / groups
    index_t   input_channels;         // C_i / groups
    index_t   rows;                   // H_o
    index_t   columns;                // W_o
    index_t   kernel_rows;            // K_h
    index_t   kernel_columns;         // K_w
    index_t   frames;                 // F: distributed over the S lanes
    index_t   timesteps;              // T_l: firing steps of the node unit; equal to F without sum_frames

    // schedule
    logic     time_outermost;         // the frame loop is outside channels, rows and columns
    logic     sum_frames;             // frame f has weight 2^f and all frames make one sum (bit planes)
    logic     signed_frames;          // the highest frame has weight -2^(F-1): two's complement
    index_t   lanes_per_column;       // S, or F if F < S and lanes are folded
    index_t   columns_per_tile;       // N, or N * floor(S / F)
    address_t first_frame;            // lowest frame of the first tile
    address_t frame_tile;             // step from one frame tile to the next: S, or -S with sum_frames

    // use of the sums
    shift_t   exponent;               // x_e: number of bits that sums are shifted left
    logic     adds_sums;              // sums of an earlier kernel are added (residual join)
    logic     adds_bias;              // this is the last kernel into a population
    logic     fires;                  // the node unit fires; otherwise sums are written
    logic     unit_weights;           // every weight is 1 and none is read (sum pool)
    logic     parameters_per_neuron;  // otherwise per output channel

    // input feature map; rows and columns outside it are zeros that are not read
    index_t   input_rows;
    index_t   input_columns;
    index_t   row_dilation;           // step in input rows from one kernel row to the next
    index_t   column_dilation;
    index_t   row_stride;
    index_t   column_stride;
    index_t   row_padding;
    index_t   column_padding;
    index_t   column_tile_stride;     // step in input columns from one column tile to the next

    // input port: address step of one frame, one frame tile, ...
    address_t input_origin;           // address in first_frame, above and left of the map by the padding
    address_t input_frame;
    address_t input_frame_tile;
    address_t input_group;
    address_t input_kernel_row;       // one row of the kernel: row_dilation rows of the map
    address_t input_row_step;         // one output row
    address_t input_kernel_column;    // one column of the kernel
    address_t input_column_step;      // one output column
    address_t input_column_tile;

    // weight port: words are in loop order
    address_t weight_group;
    address_t weight_channel_tile;
    address_t weight_kernel_row;
    address_t weight_kernel_column;

    // ports of the neurons: sums, spikes, membrane potentials, parameters
    address_t neuron_row;
    address_t neuron_column;
    address_t neuron_column_tile;
    address_t neuron_frame;
    address_t neuron_frame_tile;
    address_t channel_tiles;          // in one group
  } pass_t;

endpackage
