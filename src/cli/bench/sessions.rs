//! connect, idle and watch: opening and closing sessions, holding many, and events that all of them get at once.

use super::connection::{Arrival, Connection};
use super::{Args, Report, duration, each_second, histogram, record};
use crate::client::codec as wire;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch as channel};
use tokio::task::spawn_local;

/// How many sessions are opened at once: fewer than the backlog of a listening socket.
const OPENING_AT_ONCE: usize = 64;

/// connect: each client opens a session, closes it, and begins again.
pub(crate) async fn connect(args: Rc<Args>) -> Result<Report> {
    let latency = Rc::new(RefCell::new(histogram()));
    let start = Instant::now() + Duration::from_secs(args.warmup);
    let end = start + Duration::from_secs(args.seconds);
    let clients: Vec<_> =
        (0..args.clients).map(|n| spawn_local(open_and_close(args.clone(), n, latency.clone(), start, end))).collect();
    let progress = spawn_local({
        let latency = latency.clone();
        each_second(args.clone(), move || latency.borrow().len(), "cycles")
    });
    for client in clients {
        client.await.context("a client's task ended")??;
    }
    progress.abort();
    let latency = latency.borrow().clone();
    let elapsed = Duration::from_secs(args.seconds);
    Ok(Report { args, operations: latency.len(), elapsed, latency, errors: BTreeMap::new(), facts: Vec::new() })
}

/// Counts the cycles that end within the measured time.
async fn open_and_close(
    args: Rc<Args>,
    number: u32,
    latency: Rc<RefCell<Histogram<u64>>>,
    start: Instant,
    end: Instant,
) -> Result<()> {
    while Instant::now() < end {
        let since = Instant::now();
        Connection::open(&args, number).await?.close().await?;
        let now = Instant::now();
        if (start..end).contains(&now) {
            record(&mut latency.borrow_mut(), now - since);
        }
    }
    Ok(())
}

/// Opens all sessions, `HANDSHAKES_AT_ONCE` at a time.
async fn open_all(args: &Rc<Args>) -> Result<Vec<Connection>> {
    let places = Rc::new(Semaphore::new(OPENING_AT_ONCE));
    let opening: Vec<_> = (0..args.clients)
        .map(|number| {
            let (args, places) = (args.clone(), places.clone());
            spawn_local(async move {
                let _place = places.acquire().await;
                Connection::open(&args, number).await
            })
        })
        .collect();
    let mut connections = Vec::with_capacity(opening.len());
    for connection in opening {
        connections.push(connection.await.context("a client's task ended")??);
    }
    Ok(connections)
}

/// idle: opens sessions and keeps them with pings for `--seconds`.
pub(crate) async fn idle(args: Rc<Args>) -> Result<Report> {
    let start = Instant::now();
    let connections = open_all(&args).await?;
    let opened = start.elapsed();
    if !args.json {
        eprintln!("{} sessions open after {:.2} s", connections.len(), opened.as_secs_f64());
    }
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let total = connections.len() as u32;
    let holding: Vec<_> =
        (0..).zip(connections).map(|(n, connection)| spawn_local(hold(connection, n, total, end))).collect();
    let (mut latency, mut lost) = (histogram(), 0u64);
    for client in holding {
        match client.await.context("a client's task ended")? {
            Ok(pings) => latency.add(pings).context("add up latencies")?,
            Err(_) => lost += 1,
        }
    }
    let facts = vec![("open_all_ms", opened.as_secs_f64() * 1e3), ("sessions_lost", lost as f64)];
    Ok(Report {
        operations: u64::from(args.clients) - lost,
        args,
        elapsed: opened,
        latency,
        errors: BTreeMap::new(),
        facts,
    })
}

/// Holds one session with a ping each third of its timeout. The pings of all sessions are spread over that time.
async fn hold(mut connection: Connection, number: u32, total: u32, end: Instant) -> Result<Histogram<u64>> {
    let mut pings = histogram();
    let every = (connection.session_timeout / 3).max(Duration::from_millis(100));
    let mut next = Instant::now() + every * number / total.max(1);
    while next < end {
        tokio::time::sleep_until(next.into()).await;
        record(&mut pings, connection.ping().await?);
        next += every;
    }
    tokio::time::sleep_until(end.into()).await;
    connection.close().await?;
    Ok(pings)
}

/// What the sessions of `watch` share.
struct Audience {
    path: String,
    /// How many sessions have set their watch in this round, and how many have had the event.
    ready: Cell<u32>,
    heard: Cell<u32>,
    last_heard: Cell<Option<Instant>>,
    all: u32,
    /// Notified when all sessions are ready, and when all have had the event.
    complete: Notify,
}

impl Audience {
    fn step(&self, count: &Cell<u32>) {
        count.set(count.get() + 1);
        if count.get() == self.all {
            self.complete.notify_one();
        }
    }
}

/// watch: all sessions watch one node. Measures the time from sending a change until the last session has the event.
pub(crate) async fn watch(args: Rc<Args>) -> Result<Report> {
    let mut control = Connection::open(&args, 0).await?;
    let path = args.folder();
    create_parents(&mut control, &path).await?;
    let audience = Rc::new(Audience {
        path: path.clone(),
        ready: Cell::new(0),
        heard: Cell::new(0),
        last_heard: Cell::new(None),
        all: args.clients,
        complete: Notify::new(),
    });
    let (rounds, round) = channel::channel(0u32);
    let listeners: Vec<_> = open_all(&args)
        .await?
        .into_iter()
        .map(|connection| spawn_local(listen(audience.clone(), connection, round.clone(), args.rounds)))
        .collect();
    let (mut latency, mut writes) = (histogram(), histogram());
    let (payload, start) = (args.payload(), Instant::now());
    for number in 1..=args.rounds {
        audience.ready.set(0);
        audience.heard.set(0);
        rounds.send(number).context("start a round")?;
        within(&args, "all watches are set", audience.complete.notified()).await?;
        let since = Instant::now();
        let error = control.ask(|out, xid| wire::set_data(out, xid, &path, &payload, -1)).await?;
        if error != 0 {
            bail!("set {path}: the server answered {error}");
        }
        record(&mut writes, since.elapsed());
        within(&args, "all have heard", audience.complete.notified()).await?;
        let all_heard = audience.last_heard.get().map_or(Duration::ZERO, |last| last.duration_since(since));
        record(&mut latency, all_heard);
        if !args.json {
            eprintln!("{number:4}  all {} heard after {}", args.clients, duration(all_heard.as_secs_f64() * 1e6));
        }
    }
    let elapsed = start.elapsed();
    for listener in listeners {
        listener.await.context("a client's task ended")??.close().await?;
    }
    if !args.keep {
        control.ask(|out, xid| wire::delete(out, xid, &path, -1)).await?;
        // Other runs may work below the same base, so a failure does not matter.
        control.ask(|out, xid| wire::delete(out, xid, &args.base, -1)).await?;
    }
    control.close().await?;
    let facts = vec![("set_p50_us", writes.value_at_quantile(0.5) as f64 / super::NANOS_PER_MICRO)];
    Ok(Report { operations: u64::from(args.rounds), args, elapsed, latency, errors: BTreeMap::new(), facts })
}

async fn create_parents(control: &mut Connection, path: &str) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|&at| at > 0).chain([path.len()]);
    for end in ends {
        // A parent may be there already. Any other error shows at the next step.
        control.ask(|out, xid| wire::create(out, xid, &path[..end], b"", 0)).await?;
    }
    Ok(())
}

async fn within(args: &Args, what: &str, event: impl Future<Output = ()>) -> Result<()> {
    match tokio::time::timeout(args.timeout(), event).await {
        Ok(()) => Ok(()),
        Err(_) => bail!("waited {:?} in vain until {what}", args.timeout()),
    }
}

/// One session of `watch`: in each round sets its watch, then waits for the event.
async fn listen(
    audience: Rc<Audience>,
    mut connection: Connection,
    mut round: channel::Receiver<u32>,
    rounds: u32,
) -> Result<Connection> {
    connection.sync(&audience.path).await?;
    for number in 1..=rounds {
        round.wait_for(|&current| current >= number).await.context("wait for the round")?;
        connection.put(|out, xid| wire::get_data(out, xid, &audience.path, true));
        connection.flush().await?;
        let mut heard = false;
        while !heard {
            connection
                .receive(|arrival| match arrival {
                    Arrival::Reply { .. } => audience.step(&audience.ready),
                    Arrival::Event => {
                        heard = true;
                        audience.last_heard.set(Some(Instant::now()));
                        audience.step(&audience.heard);
                    }
                    Arrival::Pong => {}
                })
                .await?;
        }
    }
    Ok(connection)
}
