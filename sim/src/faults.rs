//! The faults of a run. The seed chooses them; several can be active at once; each is healed after a while.

use crate::coverage::{Situation, met};
use crate::machine::{End, Machine, Passages};
use crate::net::{self, Net, Quality};
use crate::observer::MemberObserver;
use crate::trace::{now_us, say};
use crate::workload::{Chore, Plan};
use std::rc::Rc;
use wasmkeeper::storage::testing::Dice;

/// The network without faults.
pub(crate) const GOOD: Quality = Quality { delay_us: 500, jitter_us: 2_000, lost: 2 };

/// Microseconds that writing a batch of the log takes on a disk without faults, at least.
pub(crate) const DISK_US: u64 = 300;

pub(crate) struct Faults {
    dice: Dice,
    net: Net,
    observer: Rc<MemberObserver>,
    plan: Rc<Plan>,
    clients: u32,
    next_us: u64,
    /// Repairs that are due, each with the simulated time at which it is due.
    mending: Vec<(u64, Mend)>,
    pub(crate) count: u64,
}

#[derive(Clone, Debug)]
enum Mend {
    Start(net::Machine),
    GoOn(net::Machine),
    Heal(Vec<(net::Machine, net::Machine)>),
    Quality,
    Disk(net::Machine),
    Processor(net::Machine),
    Clock(net::Machine),
}

const SECOND: u64 = 1_000_000;

impl Faults {
    pub(crate) fn new(seed: u64, net: Net, observer: Rc<MemberObserver>, plan: Rc<Plan>, clients: u32) -> Faults {
        Faults { dice: Dice::new(seed), net, observer, plan, clients, next_us: 0, mending: Vec::new(), count: 0 }
    }

    /// Lets faults begin between one and three seconds after `from_us`.
    pub(crate) fn begin(&mut self, from_us: u64) {
        self.next_us = from_us + SECOND + self.dice.below(2 * SECOND);
    }

    /// Repairs every fault that is due for repair, and causes the next fault if its time has come.
    pub(crate) fn tick(&mut self, machines: &mut [Machine], leader: Option<net::Machine>) {
        self.mend_due(machines);
        if now_us() < self.next_us {
            return;
        }
        self.next_us = now_us() + 200_000 + self.dice.below(4 * SECOND);
        if self.dice.one_in(6) {
            // The next fault comes at nearly the same time.
            self.next_us = now_us() + self.dice.below(50_000);
        }
        self.count += 1;
        self.break_something(machines, leader);
    }

    /// Repairs every fault at once.
    pub(crate) fn mend_all(&mut self, machines: &mut [Machine]) {
        for (_, mend) in std::mem::take(&mut self.mending) {
            self.mend(machines, mend);
        }
        self.net.heal_all();
        self.net.set_quality(GOOD);
        for machine in machines {
            machine.set_disk_delay(DISK_US);
            machine.set_passages(Passages::default());
            machine.go_on();
            machine.power_on();
            if !machine.is_up() {
                machine.start();
            }
        }
    }

    fn mend_due(&mut self, machines: &mut [Machine]) {
        let (due, later) = std::mem::take(&mut self.mending).into_iter().partition(|&(at, _)| at <= now_us());
        self.mending = later;
        let due: Vec<(u64, Mend)> = due;
        for (_, mend) in due {
            self.mend(machines, mend);
        }
    }

    fn mend(&mut self, machines: &mut [Machine], mend: Mend) {
        match mend {
            Mend::Start(number) => {
                if let Some(machine) = find(machines, number).filter(|machine| !machine.is_up()) {
                    machine.power_on();
                    machine.start();
                }
            }
            Mend::GoOn(number) => {
                if let Some(machine) = find(machines, number) {
                    machine.go_on();
                }
            }
            Mend::Heal(cuts) => {
                say("net", || format!("heals {cuts:?}"));
                for (from, to) in cuts {
                    self.net.heal(from, to);
                }
            }
            Mend::Quality => {
                say("net", || "is good again");
                self.net.set_quality(GOOD);
            }
            Mend::Disk(number) => {
                if let Some(machine) = find(machines, number) {
                    machine.set_disk_delay(DISK_US);
                }
            }
            Mend::Processor(number) => {
                if let Some(machine) = find(machines, number) {
                    machine.set_passages(Passages::default());
                }
            }
            Mend::Clock(number) => {
                if let Some(machine) = find(machines, number) {
                    machine.set_wall_offset(0);
                }
            }
        }
    }

    fn later(&mut self, least_us: u64, most_us: u64, mend: Mend) {
        let at = now_us() + least_us + self.dice.below(most_us - least_us);
        self.mending.push((at, mend));
    }

    /// The index of the member that the next fault hits. The leader is chosen in more than half of all cases.
    fn victim(&mut self, machines: &[Machine], leader: Option<net::Machine>) -> usize {
        let any = self.dice.below(machines.len() as u64) as usize;
        let leader = leader.and_then(|leader| machines.iter().position(|machine| machine.number == leader));
        if self.dice.one_in(2) { leader.unwrap_or(any) } else { any }
    }

    fn break_something(&mut self, machines: &mut [Machine], leader: Option<net::Machine>) {
        let victim = self.victim(machines, leader);
        let number = machines[victim].number;
        match self.dice.below(25) {
            0..3 => self.end(&mut machines[victim], End::Killed),
            3..5 => self.end(&mut machines[victim], End::PowerLost),
            5 => {
                for machine in machines {
                    self.end(machine, End::PowerLost);
                }
            }
            6..9 => self.stop(&mut machines[victim]),
            9..13 if machines.len() > 1 => self.partition(machines, number),
            9..13 => self.cut_client(machines),
            13 => self.cut_client(machines),
            14 => {
                let quality = Quality {
                    delay_us: 1_000 << self.dice.below(8),
                    jitter_us: 1_000 << self.dice.below(9),
                    lost: self.dice.below(2_000),
                };
                say("net", || format!("is bad: {quality:?}"));
                self.net.set_quality(quality);
                self.later(SECOND, 6 * SECOND, Mend::Quality);
            }
            15 => self.break_connections(machines, number),
            16 | 17 => self.slow_disks(machines, victim),
            18 => {
                let ahead = self.dice.below(7_200_000) as i64 - 3_600_000;
                let ms = if self.dice.one_in(2) { ahead } else { ahead / 3600 };
                machines[victim].set_wall_offset(ms);
                met(Situation::ClockJump);
                self.later(SECOND, 10 * SECOND, Mend::Clock(number));
            }
            19..21 if machines.len() > 1 => self.change_members(&mut machines[victim]),
            21 | 22 => self.make_lease_unreliable(&machines[victim]),
            23 => self.ask_to_end(&mut machines[victim]),
            _ => self.end(&mut machines[victim], End::Killed),
        }
    }

    /// Makes a member leave the ensemble and join again, perhaps with an empty disk. Only one member at a time does so:
    /// the server does not promise to survive more.
    fn change_members(&mut self, machine: &mut Machine) {
        if !self.plan.is_in_order() {
            return;
        }
        let is_wiped = self.dice.one_in(2);
        if is_wiped && machine.is_up() {
            machine.end(End::Killed, 0);
            self.observer.forget(machine.number);
            machine.wipe();
            self.later(50_000, 2 * SECOND, Mend::Start(machine.number));
        }
        let chore = Chore { number: machine.number, line: machine.line(), is_wiped };
        self.plan.chores.borrow_mut().push_back(chore);
    }

    fn end(&mut self, machine: &mut Machine, how: End) {
        if !machine.is_up() {
            return;
        }
        if how == End::PowerLost {
            met(Situation::PowerLoss);
        }
        machine.end(how, self.dice.roll());
        self.observer.forget(machine.number);
        let most = if self.dice.one_in(3) { 6 * SECOND } else { SECOND };
        self.later(50_000, most, Mend::Start(machine.number));
    }

    /// Ends the member with SIGTERM, as an operator would.
    fn ask_to_end(&mut self, machine: &mut Machine) {
        if machine.is_up() && !machine.is_stopped() {
            met(Situation::CleanEnd);
            machine.ask_to_end();
        }
    }

    fn stop(&mut self, machine: &mut Machine) {
        if machine.is_up() && !machine.is_stopped() {
            machine.stop();
            let most = [300_000, SECOND, 3 * SECOND, 8 * SECOND][self.dice.below(4) as usize];
            self.later(30_000, most, Mend::GoOn(machine.number));
        }
    }

    fn cut(&mut self, cuts: Vec<(net::Machine, net::Machine)>) {
        say("net", || format!("is cut: {cuts:?}"));
        let cuts: Vec<_> = cuts.into_iter().filter(|&(from, to)| !self.net.is_cut(from, to)).collect();
        for &(from, to) in &cuts {
            self.net.cut(from, to);
        }
        let most = if self.dice.one_in(3) { 10 * SECOND } else { 2 * SECOND };
        self.later(100_000, most, Mend::Heal(cuts));
    }

    fn partition(&mut self, machines: &[Machine], victim: net::Machine) {
        met(Situation::Partition);
        let all: Vec<net::Machine> = machines.iter().map(|machine| machine.number).collect();
        let others: Vec<net::Machine> = all.iter().copied().filter(|&other| other != victim).collect();
        let both = |one: net::Machine, other: net::Machine| [(one, other), (other, one)];
        let mut cuts: Vec<(net::Machine, net::Machine)> = Vec::new();
        match self.dice.below(6) {
            // The victim is cut off from all others.
            0 | 1 => cuts.extend(others.iter().flat_map(|&other| both(victim, other))),
            // The victim can send and not receive, or receive and not send.
            2 => cuts.extend(others.iter().map(|&other| (victim, other))),
            3 => cuts.extend(others.iter().map(|&other| (other, victim))),
            // The other members form two halves, and the victim reaches both.
            4 => {
                let half = others.len() / 2;
                for &one in &others[..half] {
                    cuts.extend(others[half..].iter().flat_map(|&other| both(one, other)));
                }
            }
            // Some pairs, in some directions.
            _ => {
                for &one in &all {
                    let some = all.iter().filter(|&&other| other != one && self.dice.one_in(3));
                    cuts.extend(some.map(|&other| (one, other)));
                }
            }
        }
        if self.dice.one_in(3) {
            // Some clients lose the victim, too.
            for number in 0..self.clients {
                if self.dice.one_in(2) {
                    cuts.extend(both(net::client_machine(number), victim));
                }
            }
        }
        self.cut(cuts);
    }

    fn cut_client(&mut self, machines: &[Machine]) {
        let client = net::client_machine(self.dice.below(self.clients.into()) as u32);
        let cuts = machines.iter().filter(|_| self.dice.one_in(2)).flat_map(|machine| {
            let number = machine.number;
            [(client, number), (number, client)]
        });
        let cuts = cuts.collect();
        self.cut(cuts);
    }

    fn break_connections(&mut self, machines: &[Machine], victim: net::Machine) {
        let clients = (0..self.clients).map(net::client_machine);
        let others: Vec<net::Machine> = machines.iter().map(|machine| machine.number).chain(clients).collect();
        let half_open = self.dice.one_in(3);
        for other in others.into_iter().filter(|&other| other != victim) {
            let count = match half_open {
                true => self.net.half_open_some(victim, other),
                false => self.net.reset_some(victim, other),
            };
            say("net", || format!("breaks {count} connections of m{victim} and {other}; half open: {half_open}"));
        }
    }

    fn slow_disks(&mut self, machines: &mut [Machine], victim: usize) {
        met(Situation::SlowDisk);
        let us = 2_000 << self.dice.below(9);
        let all = self.dice.one_in(2);
        let chosen = if all { machines } else { &mut machines[victim..=victim] };
        for machine in chosen {
            say(format!("m{}", machine.number), || format!("its disk takes {} ms or more for a batch", us / 1000));
            machine.set_disk_delay(us);
            self.later(SECOND, 8 * SECOND, Mend::Disk(machine.number));
        }
    }

    /// Makes the member's lease unreliable and its batches slow. Batches then wait between the sequencer and consensus,
    /// and some are refused although batches behind them are accepted.
    fn make_lease_unreliable(&mut self, machine: &Machine) {
        met(Situation::LeaseGap);
        let wait_us = 5_000 << self.dice.below(5);
        say(format!("m{}", machine.number), || format!("its lease is unreliable; batches wait for up to {wait_us} us"));
        machine.set_passages(Passages { wait_us, refused: true });
        self.later(SECOND, 4 * SECOND, Mend::Processor(machine.number));
    }
}

fn find(machines: &mut [Machine], number: net::Machine) -> Option<&mut Machine> {
    machines.iter_mut().find(|machine| machine.number == number)
}
