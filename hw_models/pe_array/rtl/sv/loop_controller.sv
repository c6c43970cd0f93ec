// The loops of Algorithm 2, one iteration of the innermost loop per cycle, with the addresses it reads.
//
//     for g in groups: for o in C_o/M: for h in H_o: for w in W_o/N: for f in F/S:
//         for k_h: for k_w: for i in C_i/V
//
// With `time_outermost` the f loop is outside o. A group is the iterations that make one partial sum: the
// loops inside f, and also f itself with `sum_frames` and time innermost. The last cycle of a group waits
// until the node unit can take its sums; nothing after this module ever waits.

module loop_controller
  import array_pkg::*;
#(
    parameter int M = 1,
    parameter int N = 1,
    parameter int S = 1,
    parameter int V = 1
) (
    input  logic                                  clock,
    input  logic                                  reset,
    input  logic                                  start,
    // verilator lint_off UNUSEDSIGNAL
    input  pass_t                                 pass,  // the node unit reads the rest
    // verilator lint_on UNUSEDSIGNAL
    // one iteration of the innermost loop
    output logic                                  issue,
    output logic                                  group_first,
    output logic                                  tile_first,  // first cycle of a later tile of bit planes
    output logic                                  group_last,
    output logic                                  pass_last,
    // weight port
    output logic [M-1:0][V-1:0]                   weight_enable,
    output address_t                              weight_address,
    // input port
    output logic [N-1:0][S-1:0][V-1:0]            input_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] input_address,
    // the neurons of the group
    output logic [M-1:0]                          channel_valid,
    output logic [N-1:0][S-1:0]                   column_valid,
    output logic [N-1:0][S-1:0]                   frame_negative,
    output logic                                  group_begins_frames,
    output logic                                  group_ends_frames,
    output address_t                              frame_base,
    output address_t                              channel_tile,
    output address_t                              neuron_address,
    output address_t                              frame_address
);

  // ---- loops ----------------------------------------------------------------------------------------

  logic running, restart;
  assign restart = start && !running;

  index_t o_index, w_index, i_index;
  // verilator lint_off UNUSEDSIGNAL
  index_t g_index, h_index, f_index, k_h_index, k_w_index;
  logic g_first, o_first, h_first, w_first;
  // verilator lint_on UNUSEDSIGNAL
  logic f_first, k_h_first, k_w_first, i_first;
  logic g_last, o_last, h_last, w_last, f_last, k_h_last, k_w_last, i_last;
  logic g_advance, o_advance, h_advance, w_advance, f_advance, k_h_advance, k_w_advance;

  // progress of each loop, in rows and columns of the map and in addresses of each port
  address_t g_input, g_weight, g_tile;
  address_t o_weight, o_tile;
  address_t h_y, h_input, h_neuron;
  address_t w_x, w_input, w_neuron;
  address_t f_frame, f_input, f_neuron;
  address_t k_h_y, k_h_input, k_h_weight;
  address_t k_w_x, k_w_input, k_w_weight;
  address_t i_words;

  loop_counter #(.POINTERS(1)) input_channel_loop (
      .clock, .restart, .advance(issue),
      .bound(pass.input_channels), .step(index_t'(V)), .pointer_step(address_t'(1)),
      .index(i_index), .first(i_first), .last(i_last), .pointer(i_words)
  );
  loop_counter #(.POINTERS(3)) kernel_column_loop (
      .clock, .restart, .advance(k_w_advance),
      .bound(pass.kernel_columns), .step(index_t'(1)),
      .pointer_step({address_t'(pass.column_dilation), pass.input_kernel_column,
                     pass.weight_kernel_column}),
      .index(k_w_index), .first(k_w_first), .last(k_w_last),
      .pointer({k_w_x, k_w_input, k_w_weight})
  );
  loop_counter #(.POINTERS(3)) kernel_row_loop (
      .clock, .restart, .advance(k_h_advance),
      .bound(pass.kernel_rows), .step(index_t'(1)),
      .pointer_step({address_t'(pass.row_dilation), pass.input_kernel_row,
                     pass.weight_kernel_row}),
      .index(k_h_index), .first(k_h_first), .last(k_h_last),
      .pointer({k_h_y, k_h_input, k_h_weight})
  );
  loop_counter #(.POINTERS(3)) frame_loop (
      .clock, .restart, .advance(f_advance),
      .bound(pass.frames), .step(index_t'(S)),
      .pointer_step({pass.frame_tile, pass.input_frame_tile,
                     pass.neuron_frame_tile}),
      .index(f_index), .first(f_first), .last(f_last), .pointer({f_frame, f_input, f_neuron})
  );
  loop_counter #(.POINTERS(3)) column_loop (
      .clock, .restart, .advance(w_advance),
      .bound(pass.columns), .step(pass.columns_per_tile),
      .pointer_step({address_t'(pass.column_tile_stride), pass.input_column_tile,
                     pass.neuron_column_tile}),
      .index(w_index), .first(w_first), .last(w_last), .pointer({w_x, w_input, w_neuron})
  );
  loop_counter #(.POINTERS(3)) row_loop (
      .clock, .restart, .advance(h_advance),
      .bound(pass.rows), .step(index_t'(1)),
      .pointer_step({address_t'(pass.row_stride), pass.input_row_step, pass.neuron_row}),
      .index(h_index), .first(h_first), .last(h_last), .pointer({h_y, h_input, h_neuron})
  );
  loop_counter #(.POINTERS(2)) output_channel_loop (
      .clock, .restart, .advance(o_advance),
      .bound(pass.output_channels), .step(index_t'(M)),
      .pointer_step({pass.weight_channel_tile, address_t'(1)}),
      .index(o_index), .first(o_first), .last(o_last), .pointer({o_weight, o_tile})
  );
  loop_counter #(.POINTERS(3)) group_loop (
      .clock, .restart, .advance(g_advance),
      .bound(pass.groups), .step(index_t'(1)),
      .pointer_step({pass.input_group, pass.weight_group, pass.channel_tiles}),
      .index(g_index), .first(g_first), .last(g_last), .pointer({g_input, g_weight, g_tile})
  );

  logic window_done;
  assign k_w_advance = issue && i_last;
  assign k_h_advance = k_w_advance && k_w_last;
  assign window_done = k_h_advance && k_h_last;
  assign w_advance = window_done && (f_last || pass.time_outermost);
  assign h_advance = w_advance && w_last;
  assign o_advance = h_advance && h_last;
  assign f_advance = window_done && ((w_last && h_last && o_last) || !pass.time_outermost);
  assign g_advance = window_done && w_last && h_last && o_last && f_last;

  logic window_first, window_last;
  assign window_first = i_first && k_w_first && k_h_first;
  assign window_last = i_last && k_w_last && k_h_last;

  logic group_holds_frames;
  assign group_holds_frames = pass.sum_frames && !pass.time_outermost;
  assign group_first = window_first && (f_first || !group_holds_frames);
  assign tile_first = window_first && !f_first && group_holds_frames;
  assign group_last = window_last && (f_last || !group_holds_frames);
  assign group_begins_frames = f_first || group_holds_frames;
  assign group_ends_frames = f_last;
  assign pass_last = window_last && w_last && h_last && o_last && f_last && g_last;

  // ---- waiting for the node unit --------------------------------------------------------------------

  index_t steps_left;  // firing steps left of the group in the node unit
  assign issue = running && !(group_last && steps_left > pass.lanes_per_column);

  always_ff @(posedge clock)
    if (reset || restart) steps_left <= 0;
    else if (issue && group_last)
      steps_left <= pass.sum_frames && pass.fires && f_last ? pass.timesteps : 0;
    else if (steps_left > pass.lanes_per_column) steps_left <= steps_left - pass.lanes_per_column;

  always_ff @(posedge clock)
    if (reset) running <= 0;
    else if (restart) running <= 1;
    else if (issue && pass_last) running <= 0;

  // ---- masks: tails, and the padding, whose zeros are not read --------------------------------------

  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] lane_column, lane_frame, lane_x, lane_input;

  lane_offsets #(.N(N), .S(S)) columns (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(address_t'(1)), .frame_step(address_t'(0)),
      .offset(lane_column)
  );
  lane_offsets #(.N(N), .S(S)) frames (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(address_t'(0)), .frame_step(address_t'(1)),
      .offset(lane_frame)
  );
  lane_offsets #(.N(N), .S(S)) map_columns (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(address_t'(pass.column_stride)),
      .frame_step(address_t'(0)), .offset(lane_x)
  );
  lane_offsets #(.N(N), .S(S)) input_words (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(pass.input_column_step), .frame_step(pass.input_frame), .offset(lane_input)
  );

  address_t y, x;
  logic row_inside;
  assign frame_base = pass.first_frame + f_frame;
  assign y = h_y + k_h_y - address_t'(pass.row_padding);
  assign x = w_x + k_w_x - address_t'(pass.column_padding);
  assign row_inside = y < address_t'(pass.input_rows);  // a negative y is a large one

  logic [V-1:0] input_channel_valid;
  for (genvar v = 0; v < V; v++) begin : g_input_channel
    assign input_channel_valid[v] = i_index + index_t'(v) < pass.input_channels;
  end
  for (genvar m = 0; m < M; m++) begin : g_output_channel
    assign channel_valid[m] = o_index + index_t'(m) < pass.output_channels;
    assign weight_enable[m] =
        issue && channel_valid[m] && !pass.unit_weights ? input_channel_valid : '0;
  end
  for (genvar n = 0; n < N; n++) begin : g_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      address_t frame;
      logic frame_valid, column_inside;
      assign frame = frame_base + lane_frame[n][s];
      assign frame_valid = frame < address_t'(pass.frames);
      assign frame_negative[n][s] =
          pass.signed_frames && frame + address_t'(1) == address_t'(pass.frames);
      assign column_inside = x + lane_x[n][s] < address_t'(pass.input_columns);
      assign column_valid[n][s] = lane_column[n][s] < address_t'(pass.columns_per_tile) &&
          address_t'(w_index) + lane_column[n][s] < address_t'(pass.columns);
      assign input_enable[n][s] =
          issue && column_valid[n][s] && frame_valid && row_inside && column_inside
              ? input_channel_valid : '0;
      assign input_address[n][s] = pass.input_origin + g_input + h_input + w_input + f_input +
          k_h_input + k_w_input + i_words + lane_input[n][s];
    end
  end

  assign weight_address = g_weight + o_weight + k_h_weight + k_w_weight + i_words;
  assign channel_tile = g_tile + o_tile;
  assign neuron_address = h_neuron + w_neuron + channel_tile;
  assign frame_address = pass.sum_frames ? 0 : f_neuron;

endmodule
