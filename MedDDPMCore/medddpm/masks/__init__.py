"""Tools that move, reshape and create tumors inside a mask; functions on label arrays."""
