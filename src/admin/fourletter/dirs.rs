//! `dirs`: bytes on disk.

use super::{Facts, Word};

pub(super) const DIRS: Word = Word::about_tree("dirs", dirs);

fn dirs(facts: &dyn Facts) -> String {
    let sizes = facts.directory_sizes();
    format!("datadir_size: {}\nlogdir_size: {}\n", sizes.data_bytes, sizes.log_bytes)
}
