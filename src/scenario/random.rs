//! The `random` block of a scenario: many random steps, and what must hold after every transaction. Sessions end,
//! leaders change, and requests are repeated among them.
//!
//! ```text
//! random 300 steps, seeds 1 to 20
//!     clients 4
//!     8 create /locks/db/lock- ephemeral sequential
//!     4 delete {own /locks/db/*}
//!     1 retry
//!     1 expire
//!     1 leader change
//!     always at most 1 of /locks/db/* ~ held
//!     model lock at /locks/db
//! ```
//!
//! At the end, the answers must fit the models (`models`). Then all transactions are evaluated again, each alone, and
//! must come out the same (`Stage::one_by_one`).
//!
//! Each seed begins where the scenario stands, in a server of its own. So the block leaves nothing to the commands
//! after it. Transactions stay outstanding for some steps. A leader change loses the outstanding transactions, or the
//! new leader evaluates them again.

use super::Setup;
use super::invariant::{Invariant, Tree};
use super::models::Model;
use super::stage::Stage;
use crate::plugin::pattern::Pattern;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many transactions may be outstanding at once.
const OUTSTANDING_MAX: usize = 8;

/// If something does not hold, this many of the run's last lines are printed with it.
const LINES_TOLD: usize = 24;

/// The last command of a run: it gives timers time to fire before `finally` is checked.
const LAST_TICK: &str = "tick 60000";

pub(crate) struct Random {
    steps: u64,
    seeds: std::ops::RangeInclusive<u64>,
    clients: u64,
    actions: Vec<(u64, String)>,
    always: Vec<String>,
    finally: Vec<String>,
    models: Vec<Model>,
}

/// The scenario up to the block: where each seed begins.
pub(crate) struct Before<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) commands: &'a [String],
}

impl Random {
    pub(crate) fn is(command: &str) -> bool {
        command.starts_with("random ")
    }

    /// The error is a sentence.
    pub(crate) fn parse(command: &str) -> Result<Random, String> {
        let mut lines = command.lines();
        let header: Vec<&str> = lines.next().unwrap_or("").split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let sentence = "random N steps, seeds A to B is required";
        let number = |text: &str| text.parse::<u64>().map_err(|_| sentence.to_owned());
        let (steps, seeds) = match header.as_slice() {
            ["random", steps, "steps"] => (number(steps)?, 1..=1),
            ["random", steps, "steps", "seeds", first, "to", last] => (number(steps)?, number(first)?..=number(last)?),
            _ => return Err(sentence.into()),
        };
        let mut random =
            Random { steps, seeds, clients: 3, actions: vec![], always: vec![], finally: vec![], models: vec![] };
        for line in lines.map(str::trim) {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first {
                "clients" => {
                    random.clients =
                        rest.parse().ok().filter(|clients| (1..=64).contains(clients)).ok_or("clients: 1 to 64")?
                }
                "always" | "finally" => {
                    Invariant::parse(rest)?;
                    let list = if first == "always" { &mut random.always } else { &mut random.finally };
                    list.push(rest.into());
                }
                "model" => random.models.push(Model::parse(rest)?),
                weight => {
                    let weight = weight.parse().map_err(|_| {
                        format!("{line}: clients N, always ..., finally ..., model ... or a weight and an action is required")
                    })?;
                    random.actions.push((weight, rest.into()));
                }
            }
        }
        if random.actions.iter().map(|(weight, _)| weight).sum::<u64>() == 0 {
            return Err("an action with a weight is required, for example: 1 create /a/b".into());
        }
        Ok(random)
    }

    /// Runs all seeds, or only `only`, and returns what the block prints. `tell` is called with every line of the run.
    pub(crate) fn run(
        &self,
        before: &Before<'_>,
        only: Option<u64>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Vec<String>, String> {
        let seeds = only.map_or(self.seeds.clone(), |seed| seed..=seed);
        let count = seeds.clone().count();
        let mut answers = BTreeSet::new();
        let mut fitting = vec![0; self.models.len()];
        for seed in seeds {
            let mut run = Run::new(self, before, seed)?;
            let broken = run.all(tell)?.or_else(|| run.check_models(&mut fitting).err());
            answers.append(&mut run.answers);
            if let Some(broken) = broken {
                let told = format!("seed {seed}, step {}: {broken}", run.step);
                let mut lines: Vec<String> = told.lines().map(|line| format!("random <- {line}")).collect();
                lines.extend(run.last.iter().map(|line| format!("random <- {line}")));
                return Ok(lines);
            }
        }
        let answers: Vec<String> = answers.into_iter().collect();
        let mut lines = vec![
            format!("random <- ok, {count} seeds of {} steps", self.steps),
            format!("random <- answers were {}", answers.join(" ")),
        ];
        let models = self.models.iter().zip(fitting);
        lines.extend(models.map(|(model, answers)| format!("random <- {answers} answers fit: {}", model.text())));
        Ok(lines)
    }
}

/// The run of one seed.
struct Run<'a> {
    random: &'a Random,
    stage: Stage,
    dice: Dice,
    always: Vec<Invariant>,
    step: u64,
    /// The last lines that were printed.
    last: VecDeque<String>,
    /// The first words of all answers.
    answers: BTreeSet<String>,
}

impl<'a> Run<'a> {
    fn new(random: &'a Random, before: &Before<'_>, seed: u64) -> Result<Run<'a>, String> {
        let mut stage = Stage::new(before.setup.clone());
        stage.keep_history();
        for command in before.commands {
            stage.run(command)?;
        }
        stage.run("hold")?;
        let always = random.always.iter().map(|text| Invariant::parse(text)).collect::<Result<_, _>>()?;
        Ok(Run { random, stage, dice: Dice(seed), always, step: 0, last: VecDeque::new(), answers: BTreeSet::new() })
    }

    /// Runs all steps. Returns what did not hold, or None.
    fn all(&mut self, tell: &mut dyn FnMut(&str)) -> Result<Option<String>, String> {
        for step in 1..=self.random.steps {
            self.step = step;
            let outstanding = self.stage.outstanding() as u64;
            let most = outstanding.saturating_sub(OUTSTANDING_MAX as u64);
            let count = most.max(self.dice.below(outstanding + 1));
            if let Some(broken) = self.apply(count, tell) {
                return Ok(Some(broken));
            }
            let Some(command) = self.choose() else { continue };
            let said = self.stage.run(&command).map_err(|error| format!("{command}: {error}"))?;
            self.note(&command, said, tell);
        }
        let outstanding = self.stage.outstanding() as u64;
        let mut broken = self.apply(outstanding, tell);
        if broken.is_none() {
            let said = self.stage.run(LAST_TICK)?;
            self.note(LAST_TICK, said, tell);
            let outstanding = self.stage.outstanding() as u64;
            broken = self.apply(outstanding, tell);
        }
        let tree = self.stage.snapshot();
        for text in &self.random.finally {
            broken = broken.or_else(|| Invariant::parse(text).and_then(|mut finally| finally.check(&tree)).err());
        }
        Ok(broken.or_else(|| self.stage.one_by_one().err()))
    }

    /// Adds to `fitting` how many answers fit each model. The error names an answer that does not fit.
    fn check_models(&self, fitting: &mut [usize]) -> Result<(), String> {
        let Some(record) = self.stage.record() else { return Ok(()) };
        for (model, fitting) in self.random.models.iter().zip(fitting) {
            *fitting += model.check(record)?;
        }
        Ok(())
    }

    /// Applies `count` transactions and checks the invariants after each. Returns what did not hold, or None.
    fn apply(&mut self, count: u64, tell: &mut dyn FnMut(&str)) -> Option<String> {
        for _ in 0..count {
            let said = self.stage.apply_one()?;
            self.note("apply", said, tell);
            let tree = self.stage.snapshot();
            for invariant in &mut self.always {
                if let Err(broken) = invariant.check(&tree) {
                    return Some(broken);
                }
            }
        }
        None
    }

    fn note(&mut self, command: &str, said: Vec<String>, tell: &mut dyn FnMut(&str)) {
        for line in &said {
            let answer = line.split_once(" <- ").and_then(|(_, what)| what.split_whitespace().next());
            self.answers.extend(answer.map(String::from));
        }
        for line in std::iter::once(format!("{}: {command}", self.step)).chain(said) {
            tell(&line);
            if self.last.len() == LINES_TOLD {
                self.last.pop_front();
            }
            self.last.push_back(line);
        }
    }

    /// The next command. None if the action chosen finds nothing to act on.
    fn choose(&mut self) -> Option<String> {
        let all: u64 = self.random.actions.iter().map(|(weight, _)| weight).sum();
        let mut at = self.dice.below(all);
        let (_, action) = self.random.actions.iter().find(|(weight, _)| {
            let hit = at < *weight;
            at = at.saturating_sub(*weight);
            hit
        })?;
        let client = format!("c{}", 1 + self.dice.below(self.random.clients));
        match action.split_whitespace().next()? {
            "leader" => Some(if self.dice.below(2) == 0 { "leader change".into() } else { "leader lost".into() }),
            "expire" => self.stage.is_open(&client).then(|| format!("expire {client}")),
            "tick" | "collect" | "mode" => self.expand(action, &client),
            "close" => self.stage.is_open(&client).then(|| format!("client {client}: close")),
            "retry" => self.stage.has_written(&client).then(|| format!("client {client}: retry")),
            _ => Some(format!("client {client}: {}", self.expand(action, &client)?)),
        }
    }

    /// The action with `{...}` replaced: `{own GLOB}` and `{any GLOB}`, `{n}` (the step's number), `{1..9}`, `{a|b}`.
    fn expand(&mut self, action: &str, client: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = action;
        while let Some((before, behind)) = rest.split_once('{') {
            text.push_str(before);
            let inner =
                behind.split_once('}').filter(|(inner, _)| !inner.contains(['"', '{', ':']) && !inner.is_empty());
            let Some((inner, behind)) = inner else {
                text.push('{');
                rest = behind;
                continue;
            };
            rest = behind;
            match inner.split_once(' ') {
                Some(("own", pattern)) => text.push_str(&self.node(pattern, Some(client))?),
                Some(("any", pattern)) => text.push_str(&self.node(pattern, None)?),
                _ if inner == "n" => text.push_str(&self.step.to_string()),
                _ => text.push_str(&self.one_of(inner)),
            }
        }
        Some(text + rest)
    }

    fn node(&mut self, pattern: &str, owner: Option<&str>) -> Option<String> {
        let pattern = Pattern::parse(pattern).ok()?;
        let mut paths = self.stage.paths(owner);
        paths.retain(|path| pattern.matches(path));
        let at = self.dice.below((paths.len() as u64).max(1)) as usize;
        paths.into_iter().nth(at)
    }

    fn one_of(&mut self, choices: &str) -> String {
        let range = choices.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        if let Some((first, last)) = range {
            let span = u64::saturating_sub(last, first) + 1;
            return (first + self.dice.below(span)).to_string();
        }
        let choices: Vec<&str> = choices.split('|').collect();
        choices[self.dice.below(choices.len() as u64) as usize].to_owned()
    }
}

/// Random numbers: SplitMix64, which is small and the same on every machine.
struct Dice(u64);

impl Dice {
    /// A number from 0 to `bound - 1`. `bound` is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Stage {
    /// Every node except those below `/zookeeper`.
    fn snapshot(&self) -> Tree {
        let mut tree = BTreeMap::new();
        self.each_below("/", &mut |path, node| {
            drop(tree.insert(path.to_owned(), node.data().unwrap_or_default().to_vec()))
        });
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(block: &str, only: Option<u64>) -> Result<Vec<String>, String> {
        let setup = Setup::bare();
        let before = Before { setup: &setup, commands: &["client a: create /l".into()] };
        Random::parse(block)?.run(&before, only, &mut |_| {})
    }

    #[test]
    fn the_same_seed_makes_the_same_run() {
        let block = |most| {
            format!(
                "random 100 steps, seeds 1 to 3\n  clients 3\n  6 create /l/x- ephemeral sequential\n  2 delete {{own /l/*}}\n  \
                 1 expire\n  1 close\n  1 retry\n  1 leader change\n  always at most {most} of /l/*\n  finally at least 1 of /l"
            )
        };
        let fine = run(&block(1000), None).unwrap();
        assert_eq!(fine[0], "random <- ok, 3 seeds of 100 steps");
        assert!(fine[1].contains("ok") && fine[1].contains("connection"), "{fine:?}");
        let broken = run(&block(2), None).unwrap();
        assert!(broken[0].contains("at most 2 of /l/*: there are /l/x-"), "{broken:?}");
        assert_eq!(run(&block(2), None).unwrap(), broken);
        let seed: u64 = broken[0].split([' ', ',']).nth(3).unwrap().parse().unwrap();
        assert_eq!(run(&block(2), Some(seed)).unwrap(), broken);
    }

    #[test]
    fn a_block_that_cannot_be_read_is_an_error() {
        for block in
            ["random x steps", "random 5 steps", "random 5 steps\n  what", "random 5 steps\n  1 create /a\n  always x"]
        {
            assert!(run(block, None).is_err(), "{block}");
        }
    }
}
