//! How a call of a guest can fail, and who caused the failure.
//!
//! Under `on_failure: reject`, a client gets SYSTEMERROR for a fault that the guest caused. For a fault that the server
//! caused, the client gets OPERATIONTIMEOUT, which clients retry.

/// How a call can fail. Names and classes are stable, because counters and error texts contain them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The call used up its own fuel.
    Fuel,
    /// The call used up its CPU time.
    Cpu,
    /// The instance asked for more memory or table elements than allowed.
    Memory,
    /// The guest used up its stack.
    Stack,
    /// The call read or changed more of the tree than one call may.
    Host,
    /// The guest executed `unreachable`, as a Rust guest does when it panics. The text of the panic is in the plugin's
    /// log.
    Panic,
    /// Any other trap, or a value that could not be passed between guest and host.
    Trap(String),
    /// The answer means nothing, such as an error code that clients must not get.
    Output(String),
    /// The guest refused its settings, although it accepted them when the plugin was deployed.
    Settings(String),
    /// The component cannot be compiled or loaded on this server. Trying again does not help.
    Code(String),
    /// The server's doing: the call took too much wall time, because the machine was busy.
    Wall,
    /// The server's doing: all instances are in use.
    Pool(String),
    /// The server's doing: the component is still being compiled.
    NotReady,
    /// The plugins of the transaction have together used up the fuel of the transaction.
    Shared,
    /// The plugin was not called, because it is under quarantine. The text is the reason.
    Quarantine(String),
}

impl Fault {
    pub(crate) const CLASSES: [&str; 15] = [
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

    /// The index of the fault's name in `CLASSES`.
    pub(crate) fn class(&self) -> usize {
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

    pub(crate) fn name(&self) -> &'static str {
        Fault::CLASSES[self.class()]
    }

    /// Whether the server caused the fault, so that a client may succeed when it tries again.
    pub(crate) fn by_server(&self) -> bool {
        matches!(self, Fault::Wall | Fault::Pool(_) | Fault::NotReady | Fault::Shared)
    }

    /// Whether the guest caused the fault by what it did in the call. Only these faults count towards a quarantine.
    pub(crate) fn by_guest(&self) -> bool {
        !self.by_server() && !matches!(self, Fault::Code(_) | Fault::Quarantine(_))
    }

    /// What happened, as a sentence for people.
    pub(crate) fn text(&self) -> String {
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

/// What a failed call leaves behind for the plugin's author.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Evidence {
    /// The guest's stack, innermost frame first. The frames have the names that the component contains.
    pub(crate) backtrace: Vec<String>,
    /// The last log lines of the call, oldest first. The text of a panic is among them.
    pub(crate) log: Vec<String>,
}
