//! Judging on outstanding changes must be the same as judging on the applied tree: random scripts are run once with each
//! transaction applied at once, and once with transactions left outstanding for random stretches. Every answer, every
//! transaction and the digests at the end must agree; and what the overlay says of a node must be what the state says once
//! it is applied.

use super::*;

/// xorshift64*: the tests need repeatable numbers, not good ones.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn path(&mut self) -> String {
        match self.below(4) {
            0 => format!("/{}", self.below(3)),
            1 => format!("/{}/{}", self.below(3), self.below(3)),
            2 => format!("/{}/{}/{}", self.below(2), self.below(2), self.below(3)),
            _ => format!("/q/{}", self.below(4)),
        }
    }

    fn version(&mut self) -> i64 {
        if self.below(3) == 0 { self.below(3) as i64 } else { -1 }
    }

    fn operation(&mut self) -> String {
        let path = self.path();
        let version = self.version();
        match self.below(12) {
            0..=3 => format!("create {path} flags={} data={}", self.below(5), "x".repeat(self.below(4) as usize + 1)),
            4 => format!("create {path} form=container"),
            5 => format!("create {path} form=ttl flags=5 ttl={}", self.below(20)),
            6 | 7 => format!("delete {path} {version}"),
            8 | 9 => format!("set {path} {} {version}", "y".repeat(self.below(6) as usize + 1)),
            10 => format!("check {path} {version}"),
            _ => format!("create {path} form=maybe"),
        }
    }

    fn command(&mut self) -> String {
        let client = self.below(3) + 1;
        match self.below(24) {
            0 => format!("close {client}"),
            1 => format!("expire {client}"),
            2 => format!("attach {client}"),
            3 => format!("stale {client}"),
            4 => format!("open {client}"),
            5 => format!("collect {}", self.path()),
            6 => format!("tick {}", self.below(30)),
            7 => format!("{client} acl {} {}:world:anyone {}", self.path(), 1 + self.below(31), self.version()),
            8..=12 => {
                let count = self.below(5) + 1;
                let operations: Vec<String> = (0..count).map(|_| self.operation()).collect();
                format!("{client} multi {}", operations.join(" ; "))
            }
            _ => format!("{client} {}", self.operation()),
        }
    }
}

const START: &str = "open 1
    open 2
    open 3
    1 create /q => /q
    1 create /0 => /0
    1 create /zookeeper/quota/q => /zookeeper/quota/q
    1 create /zookeeper/quota/q/zookeeper_limits data=count=-1,bytes=-1;countHardLimit=4;byteHardLimit=9 => /zookeeper/quota/q/zookeeper_limits
    1 create /zookeeper/quota/q/zookeeper_stats data=count=0,bytes=0 => /zookeeper/quota/q/zookeeper_stats
    apply";

fn world() -> World {
    let mut world = World::new(Rules { enforce_quota: true, container_never_used_ms: 40, ..rules() });
    world.play(START);
    world
}

#[test]
fn outstanding_is_as_good_as_applied() {
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let (mut at_once, mut later) = (world(), world());
        for step in 0..250 {
            let command = dice.command();
            let expected = at_once.run(&command);
            at_once.apply(usize::MAX);
            assert_eq!(later.run(&command), expected, "seed {seed}, step {step}: {command}");
            if dice.below(9) == 0 {
                let count = dice.below(30) as usize;
                later.apply(count);
            }
        }
        foretell(&mut later, seed);
        assert_eq!(at_once.history, later.history, "seed {seed}");
        assert_eq!(at_once.state.digest(), later.state.digest(), "seed {seed}");
    }
}

/// The overlay's word on every outstanding node must come true.
fn foretell(world: &mut World, seed: u64) {
    let mut paths: Vec<Arc<str>> = vec!["/".into(), "/q".into()];
    for txn in &world.outstanding {
        paths.extend(txn.changes.iter().filter_map(overlay::path_of).cloned());
    }
    let told: Vec<Option<NodeCopy>> = {
        let view = View { state: &world.state, overlay: world.evaluator.overlay() };
        paths.iter().map(|path| ReadView::node(&view, path)).collect()
    };
    let children: Vec<Vec<String>> = {
        let view = View { state: &world.state, overlay: world.evaluator.overlay() };
        paths.iter().map(|path| ReadView::children(&view, path, None, 1000)).collect()
    };
    world.evaluator.overlay().check_all();
    world.apply(usize::MAX);
    world.state.check_all();
    assert!(world.evaluator.is_idle(), "seed {seed}: everything is applied");
    let empty = overlay::Overlay::default();
    let view = View { state: &world.state, overlay: &empty };
    for ((path, told), children) in paths.iter().zip(told).zip(children) {
        assert_eq!(ReadView::node(&view, path), told, "seed {seed}: {path}");
        assert_eq!(ReadView::children(&view, path, None, 1000), children, "seed {seed}: {path}");
    }
}

#[test]
fn a_chain_that_breaks_again_and_again_stays_sound() {
    for seed in 100..=130 {
        let mut dice = Dice(seed);
        let mut world = world();
        for _ in 0..400 {
            let command = dice.command();
            world.run(&command);
            match dice.below(40) {
                0 => {
                    world.run("drop");
                }
                1..=6 => world.apply(dice.below(20) as usize),
                _ => {}
            }
        }
        foretell(&mut world, seed);
    }
}
