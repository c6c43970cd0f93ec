// One loop: an index that runs over [0, bound) in steps, and pointers that advance with it.

module loop_counter
  import array_pkg::*;
#(
    parameter int POINTERS = 1
) (
    input  logic                                  clock,
    input  logic                                  restart,
    input  logic                                  advance,
    input  index_t                                bound,
    input  index_t                                step,
    input  logic [POINTERS-1:0][ADDRESS_BITS-1:0] pointer_step,
    output index_t                                index,
    output logic                                  first,
    output logic                                  last,
    output logic [POINTERS-1:0][ADDRESS_BITS-1:0] pointer
);

  assign first = index == 0;
  assign last = {1'b0, index} + {1'b0, step} >= {1'b0, bound};

  always_ff @(posedge clock)
    if (restart || (advance && last)) index <= 0;
    else if (advance) index <= index + step;

  for (genvar p = 0; p < POINTERS; p++) begin : g_pointer
    always_ff @(posedge clock)
      if (restart || (advance && last)) pointer[p] <= 0;
      else if (advance) pointer[p] <= pointer[p] + pointer_step[p];
  end

endmodule
