"""Pure image operations: convolutions, pooling, resizing, filters, optical flow."""
