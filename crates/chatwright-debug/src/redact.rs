//! Takes secrets out of what is written down.
