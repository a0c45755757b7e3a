"""The names that weights have in the authors' checkpoints, and ours."""

AUTHORS_NAMES = {
    'base': 'backbone',
    'global_clasifier': 'global_classifier',
    'dw_gen.off_conv': 'meta_filter.offset_conv',
    'dw_gen.kernel_conv': 'meta_filter.filter_conv',
}
