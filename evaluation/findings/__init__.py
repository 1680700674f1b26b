"""Error analysis: what is wrong with answers, whatever their scores are, and where it is worst."""
