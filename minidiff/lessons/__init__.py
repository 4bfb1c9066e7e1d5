"""What belongs to one lesson alone, a room each: `lessonNN.exercises`, `.solutions`, `.widgets`, `.claims`."""
