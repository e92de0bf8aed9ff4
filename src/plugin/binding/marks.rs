//! Which plugin was being called when a process ended. The next process of the member reads this at its start.
//!
//! Each thread that calls guests owns a word in a mapped file, and writes there which version it calls: two stores a
//! call, no system call. The kernel keeps the page when the process ends. A call has ended the process if a fatal
//! signal hit the call's thread (an abort, bad code, a wild pointer), or if a panic unwound through the call. A call
//! that runs while somebody kills the process, or while the machine loses power, is not to blame.
//!
//! ```text
//! <data-dir>/plugins-cache/calls-<run>, in words of 8 bytes, in this machine's byte order
//! word     what
//! 0        "WKCALLS1"
//! 1        0, or: the signal that ended the process, times 2^32, plus the number of the thread's word (0: it has none)
//! 2 - 511  a thread's: 0, or the fingerprint of the version being called; the lowest bit: a panic went through
//! ```
//!
//! A file with a call to report stays until the report is in the replicated log, over any number of runs.

use crate::limits;
use crate::plugin::guest::engine;
use crate::plugin::manifest::tree::sha256;
use parking_lot::Mutex;
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"WKCALLS1";
const FILE: &str = "calls-";
const WORDS: usize = 512;
const BYTES: usize = WORDS * 8;
const ENDED: usize = 1;
const FIRST: usize = 2;
/// The lowest bit of a mark: a panic unwound through the call.
const UNWOUND: u64 = 1;

/// The signals that a process gets for what it does itself: SIGABRT, SIGILL, SIGBUS, SIGFPE, SIGSEGV.
const ABORT: i32 = 6;
const FATAL: [i32; 5] = [ABORT, 4, 7, 8, 11];

/// The number that stands for a version of a plugin in the file. It is even and not 0.
pub(crate) fn fingerprint(key: &str, version: u32, component: &str) -> u64 {
    let digest = sha256(format!("{key} {version} {component}").as_bytes());
    let number = u64::from_str_radix(&digest[..16], 16).expect("hexadecimal digits");
    number & !UNWOUND | 2
}

/// The marks of this process, and the calls that ended earlier processes.
#[derive(Default)]
pub(crate) struct Marks {
    /// The words of the mapped file. None if nothing is marked: in tests, in the simulation, with plugins off.
    words: Option<&'static [AtomicU64]>,
    left: Mutex<Vec<Left>>,
    /// Whether `left` has entries, so that a call need not take the lock.
    some_left: AtomicBool,
}

/// A call that ended a process, and whose report may not be in the replicated log yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Left {
    pub(crate) fingerprint: u64,
    /// The run of the process: eight hexadecimal digits.
    pub(crate) run: String,
    file: PathBuf,
}

impl Marks {
    /// Opens a file for this run, and reads the files of earlier runs. The error is a sentence.
    pub(crate) fn open(folder: &Path, run: u32) -> Result<Marks, String> {
        let failed = |what: &str, path: &Path, e: &dyn std::fmt::Display| format!("{what} {}: {e}", path.display());
        let mut left = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| failed("read the folder", folder, &e))? {
            let file = entry.map_err(|e| failed("read the folder", folder, &e))?.path();
            let Some(run) = file.file_name().and_then(|name| name.to_str()?.strip_prefix(FILE)).map(String::from)
            else {
                continue;
            };
            match culprits(&file).map_err(|e| failed("read", &file, &e))?.as_slice() {
                // A file with nothing to report is removed. If that fails, the next start tries again.
                [] => drop(fs::remove_file(&file)),
                culprits => left.extend(culprits.iter().map(|&fingerprint| Left {
                    fingerprint,
                    run: run.clone(),
                    file: file.clone(),
                })),
            }
        }
        let path = folder.join(format!("{FILE}{run:08x}"));
        let words = map(&path).map_err(|e| failed("map", &path, &e))?;
        let some_left = AtomicBool::new(!left.is_empty());
        Ok(Marks { words: Some(words), left: Mutex::new(left), some_left })
    }

    /// From now on, a fatal signal leaves the number of its thread's word in the file. wasmtime's handlers must see
    /// each signal first, so they must be installed after these. Does nothing if an engine has started.
    pub(crate) fn watch_signals(&self) {
        static WATCHED: OnceLock<()> = OnceLock::new();
        let Some(words) = self.words else { return };
        engine::before_engines(|| {
            WATCHED.get_or_init(|| {
                for signal in FATAL {
                    if let Err(error) = watch(signal, &words[ENDED]) {
                        tracing::warn!(
                            "signal {signal} cannot be watched, so a call that it ends will not be reported: {error}"
                        );
                    }
                }
            });
        });
    }

    /// Marks a call until the mark is dropped.
    #[inline]
    pub(crate) fn mark(&self, fingerprint: u64) -> Mark {
        assert!(fingerprint != 0 && fingerprint & UNWOUND == 0, "{fingerprint:x} is no fingerprint");
        let word = self.words.and_then(|words| words.get(own_word()?));
        let before = word.map_or(0, |word| word.load(Ordering::Relaxed));
        if let Some(word) = word {
            word.store(fingerprint, Ordering::Release);
        }
        Mark { word, before, fingerprint }
    }

    /// Whether a call of this version has ended a process of this member, and the report is not in the replicated log
    /// yet.
    #[inline]
    pub(crate) fn suspects(&self, fingerprint: u64) -> bool {
        self.some_left.load(Ordering::Acquire) && self.left.lock().iter().any(|left| left.fingerprint == fingerprint)
    }

    /// The calls to report.
    pub(crate) fn left(&self) -> Vec<Left> {
        self.left.lock().clone()
    }

    /// Forgets the calls whose report is in the replicated log.
    pub(crate) fn forget(&self, is_reported: impl Fn(&Left) -> bool) {
        if !self.some_left.load(Ordering::Acquire) {
            return;
        }
        let mut left = self.left.lock();
        let (done, rest) = left.drain(..).partition::<Vec<_>, _>(is_reported);
        *left = rest;
        for Left { file, .. } in done {
            if !left.iter().any(|left| left.file == file) {
                // If the file stays, the call is reported again after the next start, which changes nothing.
                let _ = fs::remove_file(file);
            }
        }
        self.some_left.store(!left.is_empty(), Ordering::Release);
    }
}

/// The mark of a running call. Invariant: calls of a thread nest, so at its end the word has this call's fingerprint.
pub(crate) struct Mark {
    word: Option<&'static AtomicU64>,
    /// The mark of the enclosing call, if this call was made within another one.
    before: u64,
    fingerprint: u64,
}

impl Drop for Mark {
    #[inline]
    fn drop(&mut self) {
        let Some(word) = self.word else { return };
        if std::thread::panicking() {
            word.store(self.fingerprint | UNWOUND, Ordering::Release);
            return;
        }
        let marked = word.load(Ordering::Relaxed);
        assert!(marked == self.fingerprint, "the word of a call has the mark {marked:x} of another call");
        word.store(self.before, Ordering::Release);
    }
}

thread_local! {
    /// The number of the thread's word. 0 if the thread has none. A plain number, so that a signal handler may read it.
    static WORD: Cell<u32> = const { Cell::new(0) };
    /// Returns the word when the thread ends.
    static LEASE: Lease = const { Lease };
}

struct Lease;

/// The words that ended threads have returned.
static FREE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static NEVER_USED: AtomicU64 = AtomicU64::new(FIRST as u64);

impl Drop for Lease {
    fn drop(&mut self) {
        let word = WORD.get();
        if word != 0 {
            WORD.set(0);
            FREE.lock().push(word);
        }
    }
}

/// The thread's word. None if all words are taken, by more threads than ever call guests at once. The call is not
/// marked then.
#[inline]
fn own_word() -> Option<usize> {
    match WORD.get() {
        0 => take_word(),
        word => Some(word as usize),
    }
}

#[cold]
fn take_word() -> Option<usize> {
    // A thread that is ending has no lease any more.
    LEASE.try_with(|_| ()).ok()?;
    let given_back = FREE.lock().pop();
    let word = given_back.or_else(|| {
        let taken = NEVER_USED
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| (next < WORDS as u64).then_some(next + 1));
        taken.ok().and_then(|taken| u32::try_from(taken).ok())
    })?;
    // Invariant: a thread's word is none of the two in front, which the header has.
    assert!((FIRST..WORDS).contains(&(word as usize)), "{word} is not the word of a thread");
    WORD.set(word);
    Some(word as usize)
}

/// The fingerprints of the calls that ended the process of this file.
fn culprits(file: &Path) -> std::io::Result<Vec<u64>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(BYTES as u64).read_to_end(&mut bytes)?;
    let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    if !bytes.starts_with(MAGIC) || words.len() != WORDS {
        return Ok(Vec::new());
    }
    let ended = words[ENDED];
    let (signal, thread) = (ended >> 32, ended as u32 as usize);
    let met = words.get(thread).filter(|_| signal != 0 && thread >= FIRST).copied();
    let unwound = words[FIRST..].iter().copied().filter(|word| word & UNWOUND != 0);
    let mut culprits: Vec<u64> = met.into_iter().chain(unwound).map(|word| word & !UNWOUND).collect();
    culprits.retain(|word| *word != 0);
    culprits.sort_unstable();
    culprits.dedup();
    culprits.truncate(limits::PLUGIN_INSTANCES_MAX as usize);
    Ok(culprits)
}

fn map(path: &Path) -> std::io::Result<&'static [AtomicU64]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_len(BYTES as u64)?;
    // SAFETY: a new mapping at an address that the kernel chooses does not touch our memory. It is never unmapped, so
    // references to it stay valid, and a page is aligned for words. Only this process writes the file, and every access
    // is atomic. Cutting the file short would end the process by SIGBUS, but the data directory belongs to this process
    // alone (`DirectoryLock`).
    let words = unsafe {
        let address =
            mmap(std::ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)?;
        std::slice::from_raw_parts(address.cast::<AtomicU64>(), WORDS)
    };
    words[0].store(u64::from_ne_bytes(*MAGIC), Ordering::Release);
    Ok(words)
}

fn watch(signal: i32, ended: &'static AtomicU64) -> std::io::Result<()> {
    let note = move || {
        ended.store((signal as u64) << 32 | u64::from(WORD.get()), Ordering::Release);
        if signal != ABORT {
            // Returning would run into the same signal for ever.
            #[expect(clippy::disallowed_methods, reason = "only this is safe in a signal handler")]
            std::process::abort();
        }
    };
    // SAFETY: the action may run at any point of any thread. It stores a word, reads a thread-local number that needs
    // no initialisation, and aborts, all of which is safe there. The function is called `unchecked` because it accepts
    // these signals: a handler that returned from one would loop, hence the abort.
    let registered = unsafe { signal_hook_registry::register_signal_unchecked(signal, note) };
    registered.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_ended_a_process_is_known_until_it_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (fingerprint("a", 1, "x"), fingerprint("a", 2, "x"));
        assert!(one != two && one & UNWOUND == 0);
        let first = Marks::open(folder.path(), 1).unwrap();
        // As a signal handler stores it during a call.
        let mark = first.mark(one);
        first.words.unwrap()[ENDED].store(6 << 32 | u64::from(WORD.get()), Ordering::Release);
        let second = Marks::open(folder.path(), 2).unwrap();
        assert_eq!(second.left().iter().map(|left| left.fingerprint).collect::<Vec<_>>(), [one]);
        assert!(second.suspects(one) && !second.suspects(two));
        drop(mark);

        // A run in between changes nothing. Its own call did not end it.
        let mark = second.mark(two);
        let third = Marks::open(folder.path(), 3).unwrap();
        drop(mark);
        assert_eq!(third.left().len(), 0, "the mark was taken away meanwhile, and the file with it");
    }

    #[test]
    fn a_process_that_was_killed_in_a_call_blames_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let killed = Marks::open(folder.path(), 1).unwrap();
        let _mark = killed.mark(fingerprint("a", 1, "x"));
        assert_eq!(Marks::open(folder.path(), 2).unwrap().left(), []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what is done with is gone");
    }

    #[test]
    fn a_panic_leaves_its_call_marked_and_a_call_within_a_call_gives_the_word_back() {
        let folder = tempfile::tempdir().unwrap();
        let (outer, inner) = (fingerprint("a", 1, "x"), fingerprint("b", 1, "x"));
        let marks = Marks::open(folder.path(), 1).unwrap();
        let word = || marks.words.unwrap()[own_word().unwrap()].load(Ordering::Acquire);
        let mark = marks.mark(outer);
        drop(marks.mark(inner));
        assert_eq!(word(), outer);
        drop(mark);
        assert_eq!(word(), 0);
        let thread = std::thread::scope(|scope| {
            let panics = || {
                let _mark = marks.mark(inner);
                panic!("within the call")
            };
            scope.spawn(panics).join()
        });
        assert!(thread.is_err());
        let next = Marks::open(folder.path(), 2).unwrap();
        assert_eq!(
            next.left().iter().map(|left| (left.fingerprint, &*left.run)).collect::<Vec<_>>(),
            [(inner, "00000001")]
        );
        next.forget(|left| left.fingerprint == inner);
        assert!(!next.suspects(inner) && next.left().is_empty());
        assert!(!folder.path().join("calls-00000001").exists());
    }

    #[test]
    fn a_file_that_is_none_of_ours_blames_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"WKCALLS1", &[0xff; BYTES]] {
            fs::write(folder.path().join("calls-0000000f"), bytes).unwrap();
            assert_eq!(Marks::open(folder.path(), 1).unwrap().left(), []);
        }
    }
}
