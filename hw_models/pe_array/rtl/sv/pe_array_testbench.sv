// Runs one kernel: memories from files, registers from plusargs, results into files.
//
// The counters watch only the array's ports. A word that a port did not request reads as ones, so that a lane
// that should be masked and is not shows in the results.

// addresses and plusargs are wider than a memory or a register needs:
// verilator lint_off WIDTH

module pe_array_testbench
  import array_pkg::*;
#(
    parameter int M = 2,
    parameter int N = 2,
    parameter int S = 2,
    parameter int V = 2,
    parameter int OPERAND_BITS = 1,
    parameter bit OPERAND_SIGNED = 0,
    parameter int WEIGHT_BITS = 8,
    parameter int ACC_BITS = 32,
    parameter int DEPTH = 65536  // words of each memory
) ();

  logic clock = 0;
  logic reset = 1;
  logic start = 0;
  pass_t pass = '0;
  logic busy, done;

  logic [M-1:0][V-1:0] weight_enable;
  address_t weight_address;
  logic [M-1:0][V-1:0][WEIGHT_BITS-1:0] weight;
  logic [N-1:0][S-1:0][V-1:0] input_enable;
  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] input_address;
  logic [N-1:0][S-1:0][V-1:0][OPERAND_BITS-1:0] operand;
  logic [M-1:0][N-1:0][S-1:0] parameter_enable;
  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] parameter_address;
  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] bias, threshold, initial_potential;
  logic [M-1:0][N-1:0][S-1:0] sum_read_enable, sum_write_enable;
  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] sum_read_address, sum_write_address;
  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] sum_read_data, sum_write_data;
  logic [M-1:0][N-1:0] membrane_read_enable, membrane_write_enable;
  logic [N-1:0][ADDRESS_BITS-1:0] membrane_read_address, membrane_write_address;
  logic [M-1:0][N-1:0][ACC_BITS-1:0] membrane_read_data, membrane_write_data;
  logic [M-1:0][N-1:0][S-1:0] spike_enable, spike;
  logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] spike_address;
  logic [M-1:0][N-1:0][S-1:0][ACC_BITS-1:0] potential;

  pe_array #(
      .M(M), .N(N), .S(S), .V(V), .OPERAND_BITS(OPERAND_BITS), .OPERAND_SIGNED(OPERAND_SIGNED),
      .WEIGHT_BITS(WEIGHT_BITS), .ACC_BITS(ACC_BITS)
  ) array (.*);

  initial forever #5 clock = !clock;

  // ---- memories -------------------------------------------------------------------------------------

  logic [M*V*WEIGHT_BITS-1:0] weight_memory[0:DEPTH-1];
  logic [V*OPERAND_BITS-1:0] input_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] bias_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] threshold_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] initial_potential_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] sum_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] membrane_memory[0:DEPTH-1];
  logic [M-1:0] spike_memory[0:DEPTH-1];
  logic [M*ACC_BITS-1:0] potential_memory[0:DEPTH-1];

  always @(posedge clock)
    if (|weight_enable && weight_address >= DEPTH) $fatal(1, "weight address %0d", weight_address);

  for (genvar m = 0; m < M; m++) begin : g_weight
    for (genvar v = 0; v < V; v++) begin : g_lane
      always @(posedge clock)
        weight[m][v] <= weight_enable[m][v]
            ? weight_memory[weight_address][(m*V+v)*WEIGHT_BITS+:WEIGHT_BITS] : '1;
    end
  end

  for (genvar n = 0; n < N; n++) begin : g_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      always @(posedge clock) begin
        if (|input_enable[n][s] && input_address[n][s] >= DEPTH)
          $fatal(1, "input address %0d", input_address[n][s]);
      end
      for (genvar v = 0; v < V; v++) begin : g_operand
        always @(posedge clock)
          operand[n][s][v] <= input_enable[n][s][v]
              ? input_memory[input_address[n][s]][v*OPERAND_BITS+:OPERAND_BITS] : '1;
      end
      for (genvar m = 0; m < M; m++) begin : g_neuron
        always @(posedge clock) begin
          if (|parameter_enable) begin  // otherwise the last answer is held
            bias[m][n][s] <= parameter_enable[m][n][s]
                ? bias_memory[parameter_address[n][s]][m*ACC_BITS+:ACC_BITS] : '1;
            threshold[m][n][s] <= parameter_enable[m][n][s]
                ? threshold_memory[parameter_address[n][s]][m*ACC_BITS+:ACC_BITS] : '1;
            initial_potential[m][n][s] <= parameter_enable[m][n][s]
                ? initial_potential_memory[parameter_address[n][s]][m*ACC_BITS+:ACC_BITS] : '1;
          end
          sum_read_data[m][n][s] <= sum_read_enable[m][n][s]
              ? sum_memory[sum_read_address[n][s]][m*ACC_BITS+:ACC_BITS] : '1;
          if (sum_write_enable[m][n][s])
            sum_memory[sum_write_address[n][s]][m*ACC_BITS+:ACC_BITS] <= sum_write_data[m][n][s];
          if (spike_enable[m][n][s] && spike_address[n][s] >= DEPTH)
            $fatal(1, "spike address %0d", spike_address[n][s]);
          if (sum_write_enable[m][n][s] && sum_write_address[n][s] >= DEPTH)
            $fatal(1, "sum address %0d", sum_write_address[n][s]);
          if (spike_enable[m][n][s]) begin
            spike_memory[spike_address[n][s]][m] <= spike[m][n][s];
            potential_memory[spike_address[n][s]][m*ACC_BITS+:ACC_BITS] <= potential[m][n][s];
          end
        end
      end
    end
    for (genvar m = 0; m < M; m++) begin : g_membrane
      always @(posedge clock) begin
        membrane_read_data[m][n] <= membrane_read_enable[m][n]
            ? membrane_memory[membrane_read_address[n]][m*ACC_BITS+:ACC_BITS] : '1;
        if (membrane_write_enable[m][n])
          membrane_memory[membrane_write_address[n]][m*ACC_BITS+:ACC_BITS] <=
              membrane_write_data[m][n];
      end
    end
  end

  // ---- counters -------------------------------------------------------------------------------------

  longint total_cycles, weight_reads, input_reads, parameter_reads, sum_reads, sum_writes;
  longint membrane_reads, membrane_writes, output_writes;

  always @(posedge clock)
    if (start) begin
      total_cycles <= 0;
      weight_reads <= 0;
      input_reads <= 0;
      parameter_reads <= 0;
      sum_reads <= 0;
      sum_writes <= 0;
      membrane_reads <= 0;
      membrane_writes <= 0;
      output_writes <= 0;
    end else if (busy) begin
      total_cycles <= total_cycles + 1;
      weight_reads <= weight_reads + 64'($countones(weight_enable));
      input_reads <= input_reads + 64'($countones(input_enable));
      parameter_reads <= parameter_reads + 64'($countones(parameter_enable));
      sum_reads <= sum_reads + 64'($countones(sum_read_enable));
      sum_writes <= sum_writes + 64'($countones(sum_write_enable));
      membrane_reads <= membrane_reads + 64'($countones(membrane_read_enable));
      membrane_writes <= membrane_writes + 64'($countones(membrane_write_enable));
      output_writes <= output_writes + 64'($countones(spike_enable));
    end

  // ---- the run --------------------------------------------------------------------------------------

  `define REGISTER(name) \
    if (!$value$plusargs(`"name=%d`", value)) $fatal(1, `"+name=... is missing`"); \
    pass.name = value;
  `define LOAD(name) \
    if ($value$plusargs(`"num_``name=%d`", value) && value > 0) begin \
      $readmemh({folder, `"/name.hex`"}, name``_memory, 0, value - 1); \
      $writememh({folder, `"/name.read_back.hex`"}, name``_memory, 0, value - 1); \
    end
  `define CLEAR(name) \
    if ($value$plusargs(`"save_``name=%d`", value)) \
      for (int i = 0; i < value; i++) name``_memory[i] = '1;
  `define SAVE(name) \
    if ($value$plusargs(`"save_``name=%d`", value) && value > 0) \
      $writememh({folder, `"/name.out.hex`"}, name``_memory, 0, value - 1);

  string folder;
  int value;
  longint max_cycles;

  initial begin
    if (!$value$plusargs("folder=%s", folder)) $fatal(1, "+folder=... is missing");
    if (!$value$plusargs("max_cycles=%d", max_cycles)) $fatal(1, "+max_cycles=... is missing");
    `REGISTER(groups)
    `REGISTER(output_channels)
    `REGISTER(input_channels)
    `REGISTER(rows)
    `REGISTER(columns)
    `REGISTER(kernel_rows)
    `REGISTER(kernel_columns)
    `REGISTER(frames)
    `REGISTER(timesteps)
    `REGISTER(time_outermost)
    `REGISTER(sum_frames)
    `REGISTER(signed_frames)
    `REGISTER(lanes_per_column)
    `REGISTER(columns_per_tile)
    `REGISTER(first_frame)
    `REGISTER(frame_tile)
    `REGISTER(exponent)
    `REGISTER(adds_sums)
    `REGISTER(adds_bias)
    `REGISTER(fires)
    `REGISTER(unit_weights)
    `REGISTER(parameters_per_neuron)
    `REGISTER(input_rows)
    `REGISTER(input_columns)
    `REGISTER(row_dilation)
    `REGISTER(column_dilation)
    `REGISTER(row_stride)
    `REGISTER(column_stride)
    `REGISTER(row_padding)
    `REGISTER(column_padding)
    `REGISTER(column_tile_stride)
    `REGISTER(input_origin)
    `REGISTER(input_frame)
    `REGISTER(input_frame_tile)
    `REGISTER(input_group)
    `REGISTER(input_kernel_row)
    `REGISTER(input_row_step)
    `REGISTER(input_kernel_column)
    `REGISTER(input_column_step)
    `REGISTER(input_column_tile)
    `REGISTER(weight_group)
    `REGISTER(weight_channel_tile)
    `REGISTER(weight_kernel_row)
    `REGISTER(weight_kernel_column)
    `REGISTER(neuron_row)
    `REGISTER(neuron_column)
    `REGISTER(neuron_column_tile)
    `REGISTER(neuron_frame)
    `REGISTER(neuron_frame_tile)
    `REGISTER(channel_tiles)
    `LOAD(weight)
    `LOAD(input)
    `LOAD(bias)
    `LOAD(threshold)
    `LOAD(initial_potential)
    `CLEAR(sum)
    `CLEAR(spike)
    `CLEAR(potential)
    `LOAD(sum)

    repeat (2) @(negedge clock);
    reset = 0;
    start = 1;
    @(negedge clock);
    start = 0;
    while (!done && total_cycles < max_cycles) @(negedge clock);
    if (!done) $fatal(1, "not done after %0d cycles", max_cycles);
    @(negedge clock);
    if (busy) $fatal(1, "still busy after done");

    $display("total_cycles=%0d", total_cycles);
    $display("weight_reads=%0d", weight_reads);
    $display("input_reads=%0d", input_reads);
    $display("parameter_reads=%0d", parameter_reads);
    $display("psum_reads=%0d", sum_reads);
    $display("psum_writes=%0d", sum_writes);
    $display("membrane_reads=%0d", membrane_reads);
    $display("membrane_writes=%0d", membrane_writes);
    $display("output_writes=%0d", output_writes);
    `SAVE(sum)
    `SAVE(spike)
    `SAVE(potential)
    $finish;
  end

endmodule
