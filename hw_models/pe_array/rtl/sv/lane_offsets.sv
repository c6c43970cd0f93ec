// Distance of each lane (n, s) from lane (0, 0), for a given distance of columns and of frames.
//
// A column takes L = `lanes_per_column` of the S lanes. If L is S, lane s is frame s of column n. If L is
// less, lanes s = L, 2L, ... begin further columns: n + N, n + 2N, ...

module lane_offsets
  import array_pkg::*;
#(
    parameter int N = 1,
    parameter int S = 1
) (
    input  index_t                                lanes_per_column,
    input  address_t                              column_step,
    input  address_t                              frame_step,
    output logic [N-1:0][S-1:0][ADDRESS_BITS-1:0] offset
);

  localparam int WIDTH = ADDRESS_BITS;

  // along s: frames of a column, then the next column
  logic [S*WIDTH-1:0] lane_offset;
  index_t lane;
  address_t next_column, frame;
  always_comb begin
    lane = 0;
    next_column = 0;
    frame = 0;
    for (int s = 0; s < S; s++) begin
      lane_offset[s*WIDTH+:WIDTH] = next_column + frame;
      lane = lane + 1;
      frame = frame + frame_step;
      if (lane == lanes_per_column) begin
        lane = 0;
        frame = 0;
        next_column = next_column + WIDTH'(N) * column_step;
      end
    end
  end

  // along n: neighbouring columns
  logic [N*WIDTH-1:0] column_offset;
  address_t column;
  always_comb begin
    column = 0;
    for (int n = 0; n < N; n++) begin
      column_offset[n*WIDTH+:WIDTH] = column;
      column = column + column_step;
    end
  end

  for (genvar n = 0; n < N; n++) begin : g_column
    for (genvar s = 0; s < S; s++) begin : g_lane
      assign offset[n][s] = column_offset[n*WIDTH+:WIDTH] + lane_offset[s*WIDTH+:WIDTH];
    end
  end

endmodule
