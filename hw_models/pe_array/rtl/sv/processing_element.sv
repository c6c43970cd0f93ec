// V accumulations per cycle into one partial sum: output channel m, column n, frame s.
//
// The accumulator is free for the next group one cycle after `last`; the finished sum stays in
// `partial_sum` until the next group ends.

module processing_element #(
    parameter int V = 1,
    parameter int S = 1,
    parameter int OPERAND_BITS = 1,
    parameter bit OPERAND_SIGNED = 0,
    parameter int WEIGHT_BITS = 8,
    parameter int ACC_BITS = 32
) (
    input  logic                           clock,
    input  logic [V-1:0][ WEIGHT_BITS-1:0] weight,
    input  logic [V-1:0][OPERAND_BITS-1:0] operand,
    input  logic [V-1:0]                   operand_valid,  // a masked lane adds nothing
    input  logic                           accumulate,
    input  logic                           clear,  // first cycle of a group
    input  logic                           weigh,  // first cycle of a later tile of bit planes: P_sum * 2^S
    input  logic                           negative,  // bit plane of the sign
    input  logic                           last,  // last cycle of a group
    output logic signed [ACC_BITS-1:0]     partial_sum
);

  logic signed [V-1:0][ACC_BITS-1:0] product;

  for (genvar v = 0; v < V; v++) begin : g_product
    logic signed [WEIGHT_BITS-1:0] signed_weight;
    assign signed_weight = weight[v];
    if (OPERAND_BITS == 1 && !OPERAND_SIGNED) begin : g_gate
      assign product[v] = operand[v] && operand_valid[v] ? ACC_BITS'(signed_weight) : '0;
    end else begin : g_multiplier
      logic signed [OPERAND_BITS:0] factor;
      assign factor = {OPERAND_SIGNED && operand[v][OPERAND_BITS-1], operand[v]};
      assign product[v] = operand_valid[v] ? ACC_BITS'(factor) * ACC_BITS'(signed_weight) : '0;
    end
  end

  logic signed [ACC_BITS-1:0] accumulator;
  logic signed [ACC_BITS-1:0] carried;
  logic signed [ACC_BITS-1:0] dot_product;
  logic signed [ACC_BITS-1:0] next;

  always_comb begin
    dot_product = 0;
    for (int v = 0; v < V; v++) dot_product = dot_product + $signed(product[v]);
    if (clear) carried = 0;
    else if (weigh) carried = accumulator <<< S;
    else carried = accumulator;
    next = negative ? carried - dot_product : carried + dot_product;
  end

  always_ff @(posedge clock)
    if (accumulate) begin
      accumulator <= next;
      if (last) partial_sum <= next;
    end

endmodule
