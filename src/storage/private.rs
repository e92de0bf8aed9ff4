//! The data directory belongs to the server's user alone: session passwords, access lists and plugins' settings lie in
//! it.

use rustix::fs::Mode;
use rustix::process::umask;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The permissions of the group and of others.
const OTHERS: u32 = 0o077;

/// The server's files and folders (docs/data-dir.md). Names that go on behind a dot are the server's, too:
/// `checkpoint.redb`, `image.received`, `identity.tmp`.
const OURS: &[&str] = &["LOCK", "identity", "log", "checkpoint", "image", "plugins-cache", "peer-secret"];

/// From now on this process makes folders with mode 0700 and files with mode 0600, whatever umask it was started with.
pub(crate) fn make_private_files_only() {
    umask(Mode::from_raw_mode(OTHERS));
}

/// What `tighten` has found.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Tightened {
    /// Files and folders in the data directory that the group or others could read or write. They no longer can.
    pub(crate) changed: usize,
    /// Files and folders that stay readable for others: they belong to another user.
    pub(crate) left: usize,
}

/// Takes all permissions of the group and of others from the server's files in `folder`. Takes them from the folder
/// itself, too, unless there is something else in it: nobody means to close `/var/lib` with a data directory of that
/// name. Links are not followed. What belongs to another user stays as it is and is counted: in a container, the folder
/// may belong to root.
pub(crate) fn tighten(folder: &Path) -> io::Result<Tightened> {
    let mut found = Tightened::default();
    let mut waiting = Vec::new();
    let mut has_only_ours = true;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(is_ours);
        has_only_ours &= is_ours || name == "myid";
        if is_ours {
            waiting.push(entry.path());
        }
    }
    if has_only_ours {
        // Not counted: an operator has made an empty folder, and all is well.
        Tightened::default().tighten(folder, &fs::symlink_metadata(folder)?)?;
    }
    while let Some(path) = waiting.pop() {
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if about.is_symlink() {
            continue;
        }
        found.tighten(&path, &about)?;
        if about.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(found)
}

fn is_ours(name: &str) -> bool {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    OURS.contains(&stem)
}

impl Tightened {
    fn tighten(&mut self, path: &Path, about: &fs::Metadata) -> io::Result<()> {
        if about.mode() & OTHERS == 0 {
            return Ok(());
        }
        match fs::set_permissions(path, fs::Permissions::from_mode(about.mode() & 0o7700)) {
            Ok(()) => self.changed += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.left += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_servers_files_become_private_and_no_others() {
        let outside = tempfile::tempdir().unwrap();
        let foreign = outside.path().join("foreign");
        fs::write(&foreign, "x").unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o644)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("log");
        fs::create_dir(&below).unwrap();
        let file = below.join("0001");
        fs::write(&file, "x").unwrap();
        for (path, mode) in [(folder.path(), 0o755), (&below, 0o750), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(&foreign, folder.path().join("image")).unwrap();
        assert_eq!(tighten(folder.path()).unwrap(), Tightened { changed: 2, left: 0 });
        assert_eq!((mode(folder.path()), mode(&below), mode(&file), mode(&foreign)), (0o700, 0o700, 0o600, 0o644));
        assert_eq!(tighten(folder.path()).unwrap(), Tightened::default());
        // `logs` is not `log`.
        let shared = folder.path().join("logs");
        fs::write(&shared, "x").unwrap();
        for (path, mode) in [(folder.path(), 0o755), (&shared, 0o644), (&file, 0o640)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(tighten(folder.path()).unwrap(), Tightened { changed: 1, left: 0 });
        assert_eq!((mode(folder.path()), mode(&shared), mode(&file)), (0o755, 0o644, 0o600));
        assert!(tighten(&folder.path().join("absent")).is_err());
    }
}
