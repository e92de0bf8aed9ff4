//! What members say to each other; versioned by `Hello::protocol`. Variants and fields are only ever added at the end.

pub mod requests;
