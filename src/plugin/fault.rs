//! How a call of a guest can fail.
//!
//! A `Fault` says whose doing it was: a guest's is SYSTEMERROR under `on_failure: reject`, the server's is
//! OPERATIONTIMEOUT, which clients retry.

/// How a call can fail. The names are stable: counters and texts carry them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The fuel is used up.
    Fuel,
    /// The fuse blew: too much CPU time.
    Cpu,
    /// More memory or table than allowed.
    Memory,
    /// The stack is used up.
    Stack,
    /// It looked at or changed too much of the tree, or handed over too many bytes.
    Host,
    /// `unreachable`: in Rust a panic, whose text is in the plugin's log.
    Panic,
    /// Any other trap.
    Trap(String),
    /// An answer that means nothing: a code clients must not get.
    Output(String),
    /// The guest refused its settings, which it took when it was deployed.
    Settings(String),
    /// The component could not be compiled or loaded here: the server's doing, but lasting.
    Code(String),
    /// The server's doing: the machine was too busy.
    Wall,
    /// The server's doing: all instances are in use.
    Pool(String),
    /// The server's doing: the component is still being compiled.
    NotReady,
    /// Others' doing: the plugins of the transaction have together used up what they may.
    Shared,
    /// It was not called: it is under quarantine, for that reason.
    Quarantine(String),
}

impl Fault {
    pub const CLASSES: [&str; 15] = [
        "fuel",
        "cpu",
        "memory",
        "stack",
        "host",
        "panic",
        "trap",
        "output",
        "settings",
        "code",
        "wall",
        "pool",
        "not-ready",
        "shared",
        "quarantine",
    ];

    /// Index into `CLASSES`.
    pub fn class(&self) -> usize {
        match self {
            Fault::Fuel => 0,
            Fault::Cpu => 1,
            Fault::Memory => 2,
            Fault::Stack => 3,
            Fault::Host => 4,
            Fault::Panic => 5,
            Fault::Trap(_) => 6,
            Fault::Output(_) => 7,
            Fault::Settings(_) => 8,
            Fault::Code(_) => 9,
            Fault::Wall => 10,
            Fault::Pool(_) => 11,
            Fault::NotReady => 12,
            Fault::Shared => 13,
            Fault::Quarantine(_) => 14,
        }
    }

    pub fn name(&self) -> &'static str {
        Fault::CLASSES[self.class()]
    }

    /// Whether a client that tries again may have more luck.
    pub fn by_server(&self) -> bool {
        matches!(self, Fault::Wall | Fault::Pool(_) | Fault::NotReady | Fault::Shared)
    }

    /// Whether it is the guest's doing, by what it did when it was called.
    pub fn by_guest(&self) -> bool {
        !self.by_server() && !matches!(self, Fault::Code(_) | Fault::Quarantine(_))
    }

    /// What happened, for people.
    pub fn text(&self) -> String {
        match self {
            Fault::Fuel => "it used up its fuel".into(),
            Fault::Cpu => "it used up its CPU time".into(),
            Fault::Memory => "it needs more memory than it may have".into(),
            Fault::Stack => "it used up its stack".into(),
            Fault::Host => "it asked more of the server than it may".into(),
            Fault::Panic => "it panicked".into(),
            Fault::Trap(what) => format!("it trapped: {what}"),
            Fault::Output(what) => format!("its answer makes no sense: {what}"),
            Fault::Settings(what) => format!("it refused its settings: {what}"),
            Fault::Code(what) => format!("its code cannot be run here: {what}"),
            Fault::Wall => "the server was too busy to let it finish".into(),
            Fault::Pool(what) => format!("no instance is free: {what}"),
            Fault::NotReady => "its code is not ready here yet".into(),
            Fault::Shared => "the plugins of this transaction have used up their common fuel".into(),
            Fault::Quarantine(why) => format!("it is under quarantine: {why}"),
        }
    }
}

/// What a failed call has left behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// The guest's stack, innermost frame first, with the names that its component has.
    pub backtrace: Vec<String>,
    /// The last lines of its log in that call, a panic's text among them.
    pub log: Vec<String>,
}
