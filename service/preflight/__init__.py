"""What a training run would meet, before anything heavy starts: rows, template, memory, steps, time."""
