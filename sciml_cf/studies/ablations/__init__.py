"""Study: the paper's ablations on one resumable grid."""
