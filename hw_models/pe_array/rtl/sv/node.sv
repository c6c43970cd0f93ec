// One output channel and column of the node unit: combines the sums of its S lanes, then fires.

module node
  import array_pkg::*;
#(
    parameter int S = 1,
    parameter int ACC_BITS = 32
) (
    input  logic                       clock,
    input  logic [S-1:0]               begins_column,
    input  logic                       sum_frames,
    // combine
    input  logic                       combine_valid,
    input  shift_t                     shift,
    input  logic                       adds_earlier_sum,
    input  logic                       adds_bias,
    input  logic                       forwards_sum,  // the earlier sum is that of the previous group
    input  logic [S-1:0][ACC_BITS-1:0] partial_sum,
    input  logic [S-1:0][ACC_BITS-1:0] earlier_sum,
    input  logic [S-1:0][ACC_BITS-1:0] bias,
    input  logic [S-1:0][ACC_BITS-1:0] threshold,
    input  logic [S-1:0][ACC_BITS-1:0] initial_potential,
    output logic [S-1:0][ACC_BITS-1:0] sum,
    // fire
    input  logic                       fire_valid,
    input  logic                       starts_window,  // V begins at the initial potential
    input  logic                       takes_membrane,  // else at `membrane` if this is set, at the kept V if not
    input  logic [S-1:0]               step_valid,
    input  logic [ACC_BITS-1:0]        membrane,
    output logic [S-1:0]               spike,
    output logic [S-1:0][ACC_BITS-1:0] potential
);

  logic [S-1:0][ACC_BITS-1:0] current, theta, v0, kept, final_potential, start, earlier;

  assign earlier = forwards_sum ? current : earlier_sum;

  combine_sums #(.S(S), .ACC_BITS(ACC_BITS)) combine (
      .begins_column, .sum_frames, .shift, .adds_earlier_sum, .adds_bias,
      .partial_sum, .earlier_sum(earlier), .bias, .sum
  );

  always_ff @(posedge clock)
    if (combine_valid) begin
      current <= sum;
      theta <= threshold;
      v0 <= initial_potential;
    end

  assign start = starts_window ? v0 : takes_membrane ? {S{membrane}} : kept;

  firing_steps #(.S(S), .ACC_BITS(ACC_BITS)) steps (
      .begins_column, .active(step_valid), .start, .threshold(theta), .current,
      .spike, .potential, .final_potential
  );

  always_ff @(posedge clock) if (fire_valid) kept <= final_potential;

endmodule
