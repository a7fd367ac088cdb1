"""Files: one atomic writer, one reader, the journal of a measurement, locks, weights, where it all lies."""
