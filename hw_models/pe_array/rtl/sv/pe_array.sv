// A PE array that runs Algorithm 2, with its node unit: M output channels x N output columns x S timesteps
// x V input channels per cycle.
//
//                  weight port      input port            parameter, sum, membrane ports
//                       |               |                            |
//   issue     loop_controller ----------+                            |
//   finish         M x N x S processing elements  -- P_sum -->       |
//   combine                                              node_unit --+
//   fire                                                      |
//                                                        spike port, sum port
//
// A kernel starts at the clock edge that sees `start` and ends at the one that sees `done`. Every memory
// answers a read in the next cycle. See docs/pe-array-rtl.md.

module pe_array
  import array_pkg::*;
#(
    parameter int M = 2,
    parameter int N = 2,
    parameter int S = 2,
    parameter int V = 2,
    parameter int OPERAND_BITS = 1,
    parameter bit OPERAND_SIGNED = 0,
    parameter int WEIGHT_BITS = 8,
    parameter int ACC_BITS = 32
) (
    input  logic                                         clock,
    input  logic                                         reset,
    input  logic                                         start,
    input  pass_t                                        pass,  // constant from start to done
    output logic                                         busy,
    output logic                                         done,
    // weights, one word of M x V per cycle
    output logic [M-1:0][V-1:0]                          weight_enable,
    output address_t                                     weight_address,
    input  logic [M-1:0][V-1:0][WEIGHT_BITS-1:0]         weight,
    // input operands, one word of V per lane and cycle
    output logic [N-1:0][S-1:0][V-1:0]                   input_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]        input_address,
    input  logic [N-1:0][S-1:0][V-1:0][OPERAND_BITS-1:0] operand,
    // parameters of the neurons; from here on one word of M per lane
    output logic [M-1:0][N-1:0][S-1:0]                   parameter_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]        parameter_address,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     bias,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     threshold,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     initial_potential,
    // sums from and to other kernels
    output logic [M-1:0][N-1:0][S-1:0]                   sum_read_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]        sum_read_address,
    input  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     sum_read_data,
    output logic [M-1:0][N-1:0][S-1:0]                   sum_write_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]        sum_write_address,
    output logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     sum_write_data,
    // membrane potentials
    output logic [M-1:0][N-1:0]                          membrane_read_enable,
    output logic [N-1:0][ADDRESS_BITS-1:0]               membrane_read_address,
    input  logic [M-1:0][N-1:0][ACC_BITS-1:0]            membrane_read_data,
    output logic [M-1:0][N-1:0]                          membrane_write_enable,
    output logic [N-1:0][ADDRESS_BITS-1:0]               membrane_write_address,
    output logic [M-1:0][N-1:0][ACC_BITS-1:0]            membrane_write_data,
    // spikes, and the membrane potential after each step for observation
    output logic [M-1:0][N-1:0][S-1:0]                   spike_enable,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0]        spike_address,
    output logic [M-1:0][N-1:0][S-1:0]                   spike,
    output logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0]     potential
);

  // ---- issue ----------------------------------------------------------------------------------------

  logic issue, group_first, tile_first, group_last, pass_last;
  logic [M-1:0] channel_valid;
  logic [N-1:0][S-1:0] column_valid, frame_negative;
  logic begins_frames, ends_frames;
  address_t frame_base, channel_tile, neuron_address, frame_address;

  loop_controller #(.M(M), .N(N), .S(S), .V(V)) controller (
      .clock, .reset, .start(start && !busy), .pass,
      .issue, .group_first, .tile_first, .group_last, .pass_last,
      .weight_enable, .weight_address, .input_enable, .input_address,
      .channel_valid, .column_valid, .frame_negative,
      .group_begins_frames(begins_frames), .group_ends_frames(ends_frames), .frame_base,
      .channel_tile, .neuron_address, .frame_address
  );

  // ---- finish ---------------------------------------------------------------------------------------

  logic accumulate, clear, weigh, last, ends_pass;
  logic [N-1:0][S-1:0][V-1:0] operand_valid;
  logic [M-1:0] group_channel_valid;
  logic [N-1:0][S-1:0] group_column_valid, negative;
  logic group_begins_frames, group_ends_frames;
  address_t group_frame_base, group_channel_tile, group_neuron_address, group_frame_address;

  always_ff @(posedge clock)
    if (reset) accumulate <= 0;
    else accumulate <= issue;

  always_ff @(posedge clock) begin
    clear <= group_first;
    weigh <= tile_first;
    last <= group_last;
    ends_pass <= pass_last;
    operand_valid <= input_enable;
    group_channel_valid <= channel_valid;
    group_column_valid <= column_valid;
    negative <= frame_negative;
    group_begins_frames <= begins_frames;
    group_ends_frames <= ends_frames;
    group_frame_base <= frame_base;
    group_channel_tile <= channel_tile;
    group_neuron_address <= neuron_address;
    group_frame_address <= frame_address;
  end

  logic [M-1:0][V-1:0][WEIGHT_BITS-1:0] factor;
  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] partial_sum;

  for (genvar m = 0; m < M; m++) begin : g_channel
    for (genvar v = 0; v < V; v++) begin : g_weight
      assign factor[m][v] = pass.unit_weights ? WEIGHT_BITS'(1) : weight[m][v];
    end
    for (genvar n = 0; n < N; n++) begin : g_column
      for (genvar s = 0; s < S; s++) begin : g_frame
        processing_element #(
            .V(V), .S(S), .OPERAND_BITS(OPERAND_BITS), .OPERAND_SIGNED(OPERAND_SIGNED),
            .WEIGHT_BITS(WEIGHT_BITS), .ACC_BITS(ACC_BITS)
        ) element (
            .clock, .weight(factor[m]), .operand(operand[n][s]),
            .operand_valid(operand_valid[n][s]),
            .accumulate, .clear, .weigh, .negative(negative[n][s]), .last,
            .partial_sum(partial_sum[m][n][s])
        );
      end
    end
  end

  // ---- combine, fire --------------------------------------------------------------------------------

  node_unit #(.M(M), .N(N), .S(S), .ACC_BITS(ACC_BITS)) nodes (
      .clock, .reset, .pass, .done,
      .group_valid(accumulate && last), .group_ends_pass(ends_pass),
      .group_channel_valid, .group_column_valid,
      .group_begins_frames, .group_ends_frames, .group_frame_base,
      .group_channel_tile, .group_neuron_address, .group_frame_address, .partial_sum,
      .parameter_enable, .parameter_address, .bias, .threshold, .initial_potential,
      .sum_read_enable, .sum_read_address, .sum_read_data,
      .sum_write_enable, .sum_write_address, .sum_write_data,
      .membrane_read_enable, .membrane_read_address, .membrane_read_data,
      .membrane_write_enable, .membrane_write_address, .membrane_write_data,
      .spike_enable, .spike_address, .spike, .potential
  );

  always_ff @(posedge clock)
    if (reset) busy <= 0;
    else if (start) busy <= 1;
    else if (done) busy <= 0;

endmodule
