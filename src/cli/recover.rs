//! `wasmkeeper cluster recover`: the last resort if an ensemble has lost its majority for good. Makes one stopped
//! server the whole ensemble, and says what may be lost.

use crate::consensus::{Log, Membership};
use crate::limits;
use crate::model::Zxid;
use crate::model::ensemble::Member;
use crate::model::txn::{Batch, Outcome, Txn};
use crate::state::{Effects, State};
use crate::storage::disk::RealDisk;
use crate::storage::identity;
use crate::storage::start::{self as data_directory, LogExtent};
use crate::storage::wal::{self, DirectoryLock};
use crate::storage::{LOG_FOLDER, LogPosition};
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The data directory of the server that is left; the server must not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where its log is, if not in the data directory (dataLogDir)
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,

    /// The number of that server, which alone will be the ensemble
    #[arg(long, value_name = "N")]
    keep: u32,

    /// Do it without asking
    #[arg(long)]
    yes_i_know_what_may_be_lost: bool,
}

/// What the data directory holds.
struct Found {
    log: Log,
    state: State,
    position: Option<LogPosition>,
    member: Member,
    others: Vec<u64>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(arguments.data_dir.is_dir(), "{} is no directory", arguments.data_dir.display());
    let _lock = DirectoryLock::acquire(&arguments.data_dir)?;
    let disk = Arc::new(RealDisk::new(&arguments.data_dir));
    let Some(known) = identity::read(&*disk)? else {
        bail!("{} is not the data directory of a server", arguments.data_dir.display());
    };
    ensure!(
        known.member == u64::from(arguments.keep),
        "the data directory belongs to server {}, not {}: only the server whose directory this is can be kept. The \
         others join again with empty directories, by `wasmkeeper cluster add`",
        known.member,
        arguments.keep
    );
    let found = look(&arguments, disk.clone(), known.incarnation)?;
    print!("{}", warning(&found));
    if !arguments.yes_i_know_what_may_be_lost && !confirmed()? {
        bail!("nothing was changed; --yes-i-know-what-may-be-lost does it without asking");
    }
    let last = found.state.last_zxid();
    let first = Zxid::new(last.epoch() + limits::RECOVERY_EPOCHS, 1);
    let (wall_ms, ensemble_ms) = (found.state.wall_ms(), found.state.ensemble_ms());
    // Former members that come back belong to another ensemble from now on.
    let cluster = crate::environment::random_u64()?.max(1);
    data_directory::record_cluster(&*disk, cluster)?;
    let marker = Txn {
        zxid: first,
        wall_ms,
        ensemble_ms,
        origin: None,
        outcome: Outcome::Done(Vec::new()),
        changes: Vec::new(),
        made_by: Vec::new(),
    };
    let batch = |term| Batch { term, prev: last, digest: None, txns: Arc::new(vec![marker]) };
    found.log.force_sole_voter(&found.member, found.position, batch).context("write the log")?;
    println!(
        "server {} is the ensemble now. Start it; then add the others with empty data directories: `wasmkeeper cluster \
         add`",
        arguments.keep
    );
    Ok(())
}

fn look(arguments: &Arguments, disk: Arc<RealDisk>, incarnation: [u8; 16]) -> anyhow::Result<Found> {
    let log_dir = arguments.log_dir.as_ref().unwrap_or(&arguments.data_dir);
    let log = Log::open(Arc::new(RealDisk::new(log_dir)), wal::Options::new(LOG_FOLDER, incarnation))?;
    let extent = LogExtent { purged: log.purged(), is_new: log.is_new() };
    // A fixed seed is safe: the process is short, and no client chooses the names in its hash tables.
    let opened = data_directory::open(disk, extent, 0, || State::load(0))?;
    let mut state = opened.state.unwrap_or_else(|| State::new(0));
    let mut membership =
        opened.meta.membership.as_deref().map(Membership::stored).transpose().map_err(anyhow::Error::msg)?;
    let mut applied = Effects::default();
    let in_log = log.read_all(opened.meta.position, &mut |at, batch| {
        // The chain fence, as every replica checks it.
        if batch.term == at.term && batch.prev == state.last_zxid() {
            batch.txns.iter().for_each(|txn| state.apply(txn, &mut applied));
        }
    })?;
    membership = in_log.or(membership);
    let Some(mut membership) = membership else {
        bail!("this server has never been a member of an ensemble: start it as it is");
    };
    let id = u64::from(arguments.keep);
    let Some(mut member) = membership.members.remove(&id) else {
        bail!(
            "server {id} was removed from its ensemble: what it has is of before that, so it is none to recover from"
        );
    };
    member.incarnation = incarnation;
    member.server.role = crate::model::ensemble::ServerRole::Participant;
    let others = membership.members.into_keys().collect();
    Ok(Found { log, state, position: opened.meta.position, member, others })
}

fn warning(found: &Found) -> String {
    let last = found.state.last_zxid();
    let others: Vec<String> = found.others.iter().map(u64::to_string).collect();
    let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    format!(
        "Server {id} will go on alone from zxid 0x{last:x}, the last it has ({nodes} nodes, {sessions} sessions).\n\
         - Lost: every write that the others have acknowledged behind that zxid. Nobody can say whether there are any.\n\
         - Kept, though perhaps never acknowledged: writes that had only reached this server.\n\
         - Locks and leases may be held twice, if a client still believes in the lost servers.\n\
         - The members {others} are members no more. Their data directories must never be used with this ensemble again; \
         it will refuse them.\n\
         - Zxids go on in epoch {epoch}, above whatever a client has seen.\n",
        id = found.member.server.id,
        last = last.0,
        nodes = found.state.node_count(),
        sessions = found.state.session_count(),
        epoch = last.epoch() + limits::RECOVERY_EPOCHS,
    )
}

fn confirmed() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(false);
    }
    print!("Write `lost` to go on: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(line.trim() == "lost")
}
