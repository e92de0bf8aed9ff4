//! ZooKeeper's four letter words. A client sends four bytes instead of a ConnectRequest, gets a text, and the server
//! closes the connection.
//!
//! Texts that tools parse are ZooKeeper 3.9.5's byte for byte (server/command/*.java). The words print what [`Facts`]
//! tells them, so no file here needs a running server.
//!
//! To add a word, write a file that defines a `Word`, declare the file here, and add a line to [`WORDS`].
//! A new figure is a method of `Facts`, which the running server implements (`replica`).
//!
//! | file | holds |
//! |---|---|
//! | `facts` | what a running server tells: the trait `Facts` and its figures |
//! | `conf`, `cons`, `dirs`, `dump`, `envi`, `hash`, `isro`, `mntr`, `ruok` | the word of that name |
//! | `reset` | `crst`, `srst` |
//! | `stat` | `srvr`, `stat` |
//! | `trace` | `gtmk`, `stmk` |
//! | `watches` | `wchc`, `wchp`, `wchs` |
//! | `java` | addresses and dates in Java's form |

/// `writeln!` to a `String`, which cannot fail.
macro_rules! push_line {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).expect("a String takes everything")
    };
}

mod conf;
mod cons;
mod dirs;
mod dump;
mod envi;
mod facts;
mod hash;
mod isro;
mod java;
mod mntr;
mod reset;
mod ruok;
mod stat;
#[cfg(test)]
mod tests;
mod trace;
mod watches;

pub(crate) use cons::operation_name;
pub(crate) use facts::{
    Configuration, ConnectionFacts, DirectorySizes, EnsembleFigures, ExpirySets, Facts, Figures, GlobalSessions,
    LeaderFigures, Mode, PluginFacts, QuorumConfiguration, SessionFacts, TrackedSessions,
};
pub(crate) use mntr::mntr;
pub(crate) use trace::TRACE_MASK_DEFAULT;

/// Every word, by name. A word that is missing here is not answered.
const WORDS: &[Word] = &[
    conf::CONF,
    cons::CONS,
    reset::CRST,
    dirs::DIRS,
    dump::DUMP,
    envi::ENVI,
    trace::GTMK,
    hash::HASH,
    isro::ISRO,
    mntr::MNTR,
    ruok::RUOK,
    reset::SRST,
    stat::SRVR,
    stat::STAT,
    trace::STMK,
    watches::WCHC,
    watches::WCHP,
    watches::WCHS,
];

/// One four letter word.
pub(crate) struct Word {
    name: &'static str,
    answer: Answer,
    /// The answer while the server serves no requests. None: the usual answer.
    not_serving: Option<&'static str>,
}

/// How a word makes its text.
enum Answer {
    Text(fn(&dyn Facts) -> String),
    /// The word is followed by eight bytes. They are None if the client has not sent exactly eight.
    ToArgument(fn(&dyn Facts, Option<[u8; 8]>) -> String),
}

/// ZooKeeper's answer to most words while it serves no requests.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

impl Word {
    /// A word about the tree, the sessions or the connections. It is refused while the server serves no requests.
    const fn about_tree(name: &'static str, text: fn(&dyn Facts) -> String) -> Word {
        Word { name, answer: Answer::Text(text), not_serving: Some(NOT_SERVING) }
    }

    /// A word about the process. It is always answered.
    const fn about_process(name: &'static str, text: fn(&dyn Facts) -> String) -> Word {
        Word { name, answer: Answer::Text(text), not_serving: None }
    }

    /// The word with these bytes. None: the bytes are the length of a frame.
    pub(crate) fn from_bytes(bytes: [u8; 4]) -> Option<&'static Word> {
        WORDS.iter().find(|word| word.name.as_bytes() == bytes)
    }

    /// Whether eight more bytes belong to the word. Only `stmk` has them: the new mask.
    pub(crate) fn has_argument(&self) -> bool {
        matches!(self.answer, Answer::ToArgument(_))
    }
}

/// The words that are answered: the setting `4lw.commands.whitelist`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Whitelist(Vec<&'static str>);

impl Default for Whitelist {
    /// ZooKeeper's default: `srvr` alone.
    fn default() -> Whitelist {
        Whitelist(vec![stat::SRVR.name])
    }
}

impl Whitelist {
    /// Reads the setting: words separated by commas, or `*` for all. Unknown names are ignored, as in ZooKeeper.
    /// With `readonlymode.enabled`, `isro` is always answered: clients use it to look for a server that takes writes.
    pub(crate) fn parse(setting: &str, read_only_mode: bool) -> Whitelist {
        let chosen: Vec<&str> = setting.split(',').map(str::trim).collect();
        let all = chosen.contains(&"*");
        let names = WORDS.iter().map(|word| word.name);
        let allowed = |name: &&str| all || chosen.contains(name) || (read_only_mode && *name == isro::ISRO.name);
        Whitelist(names.filter(allowed).collect())
    }

    /// Whether the word with that name is answered.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

/// The version in ZooKeeper's form. Clients parse the text: kazoo reads the three numbers, go-zk matches the whole
/// line. Our own version comes from Cargo.toml, and the time from build.rs.
pub(crate) const VERSION: &str =
    concat!("3.9.5-wasmkeeper-", env!("CARGO_PKG_VERSION"), ", built on ", env!("WASMKEEPER_BUILT"));

/// The text that answers `word`. `argument`: the eight bytes that followed the word, if it has them.
pub(crate) fn answer(word: &Word, argument: Option<[u8; 8]>, whitelist: &Whitelist, facts: &dyn Facts) -> String {
    if !whitelist.allows(word.name) {
        return format!("{} is not executed because it is not in the whitelist.\n", word.name);
    }
    match (word.not_serving, &word.answer) {
        (Some(text), _) if !facts.serving() => text.to_owned(),
        (_, Answer::Text(text)) => text(facts),
        (_, Answer::ToArgument(text)) => text(facts, argument),
    }
}
