"""HTTP of restricted subscribers answered before the stack: the XDP program, its maps, its attachment."""
