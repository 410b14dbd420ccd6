"""Study: new samples in every epoch beside the same few thousand again and again."""
