// Processes a group's partial sums, for all its neurons in parallel, in three stages:
//
//     finish   the array adds a group's last products; earlier sums and parameters are requested
//     combine  sum = P_sum * 2^x (+ earlier sum) (+ bias); it is written, or potentials are requested
//     fire     S steps per cycle with the sum as current; spikes are written
//
// With `sum_frames`, P_sum is the sum of a column's lanes, lane s times 2^s, and `fire` takes ceil(T_l / S)
// cycles; the loop controller sends no group too early. If time is outermost as well, sums leave and come
// back between frame tiles, and the last tile fires.
//
// Every memory answers in the next cycle. The parameter memory holds its answer until the next request.

module node_unit
  import array_pkg::*;
#(
    parameter int M = 1,
    parameter int N = 1,
    parameter int S = 1,
    parameter int ACC_BITS = 32
) (
    input  logic                                     clock,
    input  logic                                     reset,
    // verilator lint_off UNUSEDSIGNAL
    input  pass_t                                    pass,  // the loop controller reads the rest
    // verilator lint_on UNUSEDSIGNAL
    output logic                                     done,
    // finish
    input  logic                                     group_valid,
    input  logic                                     group_ends_pass,
    input  logic [M-1:0]                             group_channel_valid,
    input  logic [N-1:0][S-1:0]                      group_column_valid,
    input  logic                                     group_begins_frames,
    input  logic                                     group_ends_frames,
    input  address_t                                 group_frame_base,
    input  address_t                                 group_channel_tile,
    input  address_t                                 group_neuron_address,
    input  address_t                                 group_frame_address,
    // combine
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] partial_sum,
    // parameters of the neurons
    output logic [M-1:0][N-1:0][S-1:0]               parameter_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]    parameter_address,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] bias,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] threshold,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] initial_potential,
    // sums from and to other kernels
    output logic [M-1:0][N-1:0][S-1:0]               sum_read_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]    sum_read_address,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] sum_read_data,
    output logic [M-1:0][N-1:0][S-1:0]               sum_write_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]    sum_write_address,
    output logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] sum_write_data,
    // membrane potentials
    output logic [M-1:0][N-1:0]                      membrane_read_enable,
    output logic [N-1:0][ADDRESS_BITS-1:0]           membrane_read_address,
    input  logic [M-1:0][N-1:0][ACC_BITS-1:0]        membrane_read_data,
    output logic [M-1:0][N-1:0]                      membrane_write_enable,
    output logic [N-1:0][ADDRESS_BITS-1:0]           membrane_write_address,
    output logic [M-1:0][N-1:0][ACC_BITS-1:0]        membrane_write_data,
    // spikes, and the membrane potential after each step for observation
    output logic [M-1:0][N-1:0][S-1:0]               spike_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]    spike_address,
    output logic [M-1:0][N-1:0][S-1:0]               spike,
    output logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] potential
);

  // ---- lanes ----------------------------------------------------------------------------------------

  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] lane_address, lane_frame;
  logic [S-1:0] begins_column;

  lane_offsets #(.N(N), .S(S)) neuron_words (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(pass.neuron_column), .frame_step(pass.neuron_frame), .offset(lane_address)
  );
  lane_offsets #(.N(N), .S(S)) frames (
      .lanes_per_column(pass.lanes_per_column),
      .column_step(address_t'(0)), .frame_step(address_t'(1)),
      .offset(lane_frame)
  );
  for (genvar s = 0; s < S; s++) begin : g_begins_column
    assign begins_column[s] = lane_frame[0][s] == 0;
  end

  // ---- finish ---------------------------------------------------------------------------------------

  logic group_completes;  // its sums include all frames
  logic group_adds_sum;
  logic group_reads_sums, group_reads_parameters;
  logic [N-1:0][S-1:0] group_sum_valid;  // lanes that have a sum of their own

  assign group_completes = group_ends_frames || !pass.sum_frames;
  assign group_adds_sum = pass.adds_sums || (pass.sum_frames && !group_begins_frames);
  assign group_reads_sums = group_valid && group_adds_sum;
  assign group_reads_parameters = group_valid && pass.adds_bias && group_completes &&
      (group_begins_frames || pass.time_outermost);

  for (genvar n = 0; n < N; n++) begin : g_finish_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      assign group_sum_valid[n][s] = group_column_valid[n][s] &&
          (pass.sum_frames ? begins_column[s]
                           : group_frame_base + lane_frame[n][s] < address_t'(pass.frames));
      assign sum_read_address[n][s] =
          group_neuron_address + group_frame_address + lane_address[n][s];
      assign parameter_address[n][s] = pass.parameters_per_neuron
          ? group_neuron_address + lane_address[n][s] : group_channel_tile;
      for (genvar m = 0; m < M; m++) begin : g_channel
        assign sum_read_enable[m][n][s] =
            group_reads_sums && group_sum_valid[n][s] && group_channel_valid[m];
        assign parameter_enable[m][n][s] = group_reads_parameters && begins_column[s] &&
            group_column_valid[n][s] && group_channel_valid[m];
      end
    end
  end

  // ---- combine --------------------------------------------------------------------------------------

  logic combine_valid, combine_ends_pass, combine_begins_frames, combine_ends_frames;
  logic combine_completes, combine_adds_sum;
  logic forwards_sum;  // the requested sum was written in the same cycle
  logic [M-1:0] combine_channel_valid;
  logic [N-1:0][S-1:0] combine_column_valid, combine_sum_valid;
  address_t combine_frame_base, combine_neuron_address, combine_frame_address;

  logic combine_fires, combine_writes_sums, combine_reads_membranes;
  logic keeps_membranes;  // outside the array between frame tiles
  shift_t shift;

  assign combine_fires = pass.fires && combine_completes;
  assign combine_writes_sums = combine_valid && !combine_fires;
  assign keeps_membranes = pass.fires && pass.time_outermost && !pass.sum_frames;
  assign combine_reads_membranes = combine_valid && keeps_membranes && !combine_begins_frames;
  assign shift = pass.exponent +
      (pass.sum_frames ? shift_t'(combine_frame_base) : shift_t'(0));

  always_ff @(posedge clock)
    if (reset) combine_valid <= 0;
    else combine_valid <= group_valid;

  always_ff @(posedge clock) begin
    combine_ends_pass <= group_ends_pass;
    combine_begins_frames <= group_begins_frames;
    combine_ends_frames <= group_ends_frames;
    combine_completes <= group_completes;
    combine_adds_sum <= group_adds_sum;
    combine_channel_valid <= group_channel_valid;
    combine_column_valid <= group_column_valid;
    combine_sum_valid <= group_sum_valid;
    combine_frame_base <= group_frame_base;
    combine_neuron_address <= group_neuron_address;
    combine_frame_address <= group_frame_address;
    forwards_sum <= combine_writes_sums && group_neuron_address + group_frame_address ==
        combine_neuron_address + combine_frame_address;
  end

  for (genvar n = 0; n < N; n++) begin : g_combine_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      assign sum_write_address[n][s] =
          combine_neuron_address + combine_frame_address + lane_address[n][s];
      for (genvar m = 0; m < M; m++) begin : g_channel
        assign sum_write_enable[m][n][s] =
            combine_writes_sums && combine_sum_valid[n][s] && combine_channel_valid[m];
      end
    end
    assign membrane_read_address[n] = combine_neuron_address + lane_address[n][0];
    for (genvar m = 0; m < M; m++) begin : g_channel
      assign membrane_read_enable[m][n] =
          combine_reads_membranes && combine_column_valid[n][0] && combine_channel_valid[m];
    end
  end

  // ---- fire -----------------------------------------------------------------------------------------

  logic fire_valid, fire_ends_pass, fire_ends_frames, fire_spikes;
  logic fire_last;  // last cycle of a group in this stage
  logic [M-1:0] fire_channel_valid;
  logic [N-1:0][S-1:0] fire_column_valid;
  address_t fire_neuron_address;

  address_t step_base, next_step_base;  // step of the first lane
  address_t step_address;
  logic writes_membranes;
  logic forwards_membrane;  // the requested potential was written in the same cycle

  assign next_step_base = step_base + address_t'(pass.lanes_per_column);
  assign fire_last = !(fire_spikes && pass.sum_frames &&
      next_step_base < address_t'(pass.timesteps));
  assign writes_membranes = fire_valid && keeps_membranes && !fire_ends_frames;
  assign done = fire_valid && fire_last && fire_ends_pass;

  always_ff @(posedge clock)
    if (reset) fire_valid <= 0;
    else if (combine_valid) fire_valid <= 1;
    else if (fire_last) fire_valid <= 0;

  always_ff @(posedge clock)
    if (combine_valid) begin
      fire_ends_pass <= combine_ends_pass;
      fire_ends_frames <= combine_ends_frames;
      fire_spikes <= combine_fires;
      fire_channel_valid <= combine_channel_valid;
      fire_column_valid <= combine_column_valid;
      fire_neuron_address <= combine_neuron_address;
      step_base <= pass.sum_frames ? 0 : combine_frame_base;
      step_address <= combine_frame_address;
      forwards_membrane <= writes_membranes && fire_neuron_address == combine_neuron_address;
    end else begin
      step_base <= next_step_base;
      step_address <= step_address + pass.neuron_frame_tile;
    end

  logic [N-1:0][S-1:0] step_valid;
  for (genvar n = 0; n < N; n++) begin : g_fire_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      assign step_valid[n][s] =
          step_base + lane_frame[n][s] < address_t'(pass.timesteps);
      assign spike_address[n][s] = fire_neuron_address + step_address + lane_address[n][s];
      for (genvar m = 0; m < M; m++) begin : g_channel
        assign spike_enable[m][n][s] = fire_valid && fire_spikes && step_valid[n][s] &&
            fire_column_valid[n][s] && fire_channel_valid[m];
      end
    end
    assign membrane_write_address[n] = fire_neuron_address + lane_address[n][0];
    for (genvar m = 0; m < M; m++) begin : g_channel
      assign membrane_write_enable[m][n] =
          writes_membranes && fire_column_valid[n][0] && fire_channel_valid[m];
    end
  end

  // ---- nodes ----------------------------------------------------------------------------------------

  for (genvar m = 0; m < M; m++) begin : g_node_channel
    for (genvar n = 0; n < N; n++) begin : g_column
      node #(.S(S), .ACC_BITS(ACC_BITS)) neurons (
          .clock, .begins_column, .sum_frames(pass.sum_frames),
          .combine_valid, .shift, .adds_earlier_sum(combine_adds_sum),
          .adds_bias(pass.adds_bias && combine_completes), .forwards_sum,
          .partial_sum(partial_sum[m][n]), .earlier_sum(sum_read_data[m][n]), .bias(bias[m][n]),
          .threshold(threshold[m][n]), .initial_potential(initial_potential[m][n]),
          .sum(sum_write_data[m][n]),
          .fire_valid, .starts_window(step_base == 0),
          .takes_membrane(keeps_membranes && !forwards_membrane), .step_valid(step_valid[n]),
          .membrane(membrane_read_data[m][n]), .spike(spike[m][n]), .potential(potential[m][n])
      );
      assign membrane_write_data[m][n] = potential[m][n][S-1];
    end
  end

endmodule
