// The sum of each lane of one output channel and column: P_sum * 2^shift + earlier sum + bias.

module combine_sums
  import array_pkg::*;
#(
    parameter int S = 1,
    parameter int ACC_BITS = 32
) (
    input  logic [S-1:0]               begins_column,
    input  logic                       sum_frames,
    input  shift_t                     shift,
    input  logic                       adds_earlier_sum,
    input  logic                       adds_bias,
    input  logic [S-1:0][ACC_BITS-1:0] partial_sum,
    input  logic [S-1:0][ACC_BITS-1:0] earlier_sum,
    input  logic [S-1:0][ACC_BITS-1:0] bias,
    output logic [S*ACC_BITS-1:0]      sum
);

  logic [S:0] boundary;  // before lane s
  assign boundary = {1'b1, begins_column};

  // lane s of a column has weight 2^s: going from its last lane to its first, the sum so far is doubled
  logic [S*ACC_BITS-1:0] column_sum;
  logic [ACC_BITS-1:0] sum_so_far;
  always_comb begin
    sum_so_far = 0;
    for (int s = S - 1; s >= 0; s--) begin
      if (boundary[s+1]) sum_so_far = 0;
      sum_so_far = (sum_so_far << 1) + partial_sum[s];
      column_sum[s*ACC_BITS+:ACC_BITS] = sum_so_far;
    end
  end

  // all lanes of a column take the values of its first lane
  logic [ACC_BITS-1:0] column_total, column_earlier_sum, column_bias;
  always_comb begin
    column_total = 0;
    column_earlier_sum = 0;
    column_bias = 0;
    for (int s = 0; s < S; s++) begin
      if (begins_column[s]) begin
        column_total = column_sum[s*ACC_BITS+:ACC_BITS];
        column_bias = bias[s];
      end
      if (begins_column[s] || !sum_frames) column_earlier_sum = earlier_sum[s];
      sum[s*ACC_BITS+:ACC_BITS] = ((sum_frames ? column_total : partial_sum[s]) << shift) +
          (adds_earlier_sum ? column_earlier_sum : '0) + (adds_bias ? column_bias : '0);
    end
  end

endmodule
