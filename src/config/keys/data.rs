//! Settings of the section `Data`: folders, and the number of this server.

use super::values::number;
use super::{Effect, Key, key};
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "dataDir",
        "storage.data_dir",
        "wasmkeeper-data",
        "Folder of the checkpoints and, unless `dataLogDir` is set, of the log; also `--data-dir`. Created when missing. \
         A zoo.cfg must set it. Files of a ZooKeeper in it are left alone and not read.",
        |draft, _, value| {
            draft.config.storage.data_dir = PathBuf::from(value);
            Ok(())
        },
    ),
    key(
        "dataLogDir",
        "storage.log_dir",
        "dataDir",
        "Folder of the log. On a disk of its own, a checkpoint does not slow writes down.",
        |draft, _, value| {
            draft.log_dir = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    Key {
        name: "",
        toml: "server_id",
        default: "1",
        effect: Effect::Set(|draft, _, value| {
            let mut id = 0;
            number(value, 1..=254, &mut id)?;
            draft.server_id = Some(id);
            Ok(())
        }),
        meaning: "This server's number, 1 to 254: its place in the ensemble, and the top byte of its session ids. Without \
                  it the file `myid` in `dataDir` says it, as in ZooKeeper; with more than one server listed there \
                  must be one. Otherwise the number of the one line, or 1.",
    },
];
