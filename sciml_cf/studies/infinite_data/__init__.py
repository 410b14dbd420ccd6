"""Study: new samples in every epoch against the same few thousand again and again."""
