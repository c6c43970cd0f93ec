// S steps of a soft-reset integrate-and-fire neuron, all in one cycle:
//
//     V += current;  spike = V >= threshold;  if (spike) V -= threshold
//
// The lanes are consecutive steps of one neuron; a lane that begins a column begins another neuron.

module firing_steps #(
    parameter int S = 1,
    parameter int ACC_BITS = 32
) (
    input  logic [S-1:0]               begins_column,
    input  logic [S-1:0]               active,  // an inactive lane does nothing
    input  logic [S-1:0][ACC_BITS-1:0] start,  // V; read in lanes that begin a column
    input  logic [S-1:0][ACC_BITS-1:0] threshold,  // likewise
    input  logic [S-1:0][ACC_BITS-1:0] current,
    output logic [S-1:0]               spike,
    output logic [S*ACC_BITS-1:0]      potential,  // V after each lane
    output logic [S*ACC_BITS-1:0]      final_potential  // V after the column's last lane, in the lane that begins it
);

  logic signed [ACC_BITS-1:0] v, theta;
  always_comb begin
    v = 0;
    theta = 0;
    for (int s = 0; s < S; s++) begin
      if (begins_column[s]) begin
        v = $signed(start[s]);
        theta = $signed(threshold[s]);
      end
      if (active[s]) v = v + $signed(current[s]);
      spike[s] = active[s] && v >= theta;
      if (spike[s]) v = v - theta;
      potential[s*ACC_BITS+:ACC_BITS] = v;
    end
  end

  logic [S:0] boundary;  // before lane s
  assign boundary = {1'b1, begins_column};

  logic [ACC_BITS-1:0] at_end;
  always_comb begin
    at_end = 0;
    for (int s = S - 1; s >= 0; s--) begin
      if (boundary[s+1]) at_end = potential[s*ACC_BITS+:ACC_BITS];
      final_potential[s*ACC_BITS+:ACC_BITS] = at_end;
    end
  end

endmodule
