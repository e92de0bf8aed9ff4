//! Settings of the section `Data`: folders, and the number of this server.

use super::values::number;
use super::{Effect, Key, key};
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "dataDir",
        "storage.data_dir",
        "wasmkeeper-data",
        "Folder of the checkpoints and, unless `dataLogDir` is set, of the log; also `--data-dir`. The server creates \
         it if it does not exist. A zoo.cfg must set it. Files of a ZooKeeper in this folder are not read and not \
         changed.",
        |draft, _, value| {
            draft.config.storage.data_dir = PathBuf::from(value);
            Ok(())
        },
    ),
    key(
        "dataLogDir",
        "storage.log_dir",
        "dataDir",
        "Folder of the log. If the log has a disk of its own, checkpoints do not slow writes down.",
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
        meaning: "This server's number in the ensemble, 1 to 254, and the top byte of its session ids. If it is not \
                  set, the file `myid` in `dataDir` has it, as in ZooKeeper. If more than one server is listed, one of \
                  the two must exist. Otherwise it is the number of the only server listed, or 1.",
    },
];
