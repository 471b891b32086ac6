"""Networks whose features the scores compare."""
