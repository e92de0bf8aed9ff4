//! What a scenario prints of the server: nodes, and what its plugins have done.

use super::show;
use super::stage::Stage;
use crate::model::path;
use crate::pipeline::ReadView;
use crate::pipeline::view::View;
use crate::plugin::audit;

impl Stage {
    /// Prints the node and all below.
    pub(super) fn tree(&mut self, root: &str) {
        let mut lines = Vec::new();
        self.each_below(root, &mut |path, node| {
            let kind = show::kind(node.owner(), &|session| self.clients.session_name(session));
            let data = match node.data() {
                Some([]) => String::new(),
                data => format!(" {}", show::data(data)),
            };
            lines.push(format!("tree <- {path}{}{data}", kind.map_or_else(String::new, |kind| format!(" ({kind})"))));
        });
        if lines.is_empty() {
            lines.push("tree <- nothing".into());
        }
        self.said.extend(lines);
    }

    /// Prints the node as the next write will find it: with all that is outstanding.
    pub(super) fn view(&mut self, path: &str) {
        let view = View { state: &self.world.state, overlay: self.world.evaluator.overlay() };
        let text = match view.node(path).zip(ReadView::node(&view, path)) {
            None => format!("{path} is not there"),
            Some((seen, node)) => {
                let stat = node.stat;
                let kind = show::kind(seen.owner(), &|session| self.clients.session_name(session));
                format!(
                    "{path}{} version {} cversion {} children {} data {}",
                    kind.map_or_else(String::new, |kind| format!(" ({kind})")),
                    stat.version,
                    stat.cversion,
                    stat.num_children,
                    show::data(node.data.as_deref()),
                )
            }
        };
        self.say("view", &text);
    }

    /// Visits the node and all below, in the order of their paths.
    pub(crate) fn each_below(&self, root: &str, visit: &mut dyn FnMut(&str, crate::state::Node<'_>)) {
        let Some(node) = self.world.state.node(root) else { return };
        visit(root, node);
        let mut names: Vec<&str> = node.children().collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| root != "/" || *name != "zookeeper") {
            self.each_below(&path::join(root, name), visit);
        }
    }

    /// Prints what the plugin has logged since it was last asked.
    pub(super) fn log(&mut self, name: &str) -> Result<(), String> {
        let last = self.log_shown.get(name).copied().unwrap_or(0);
        let registry = self.setup.plugins.registry();
        let binding = registry.named(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        for line in binding.counters.log.behind(last) {
            self.said.push(format!("{name} <- {} {}", line.level.name(), show::one_line(&line.text)));
            self.log_shown.insert(name.to_owned(), line.number);
        }
        Ok(())
    }

    /// Prints what a validator says of the nodes that are there.
    pub(super) fn audit(&mut self, name: &str) -> Result<(), String> {
        let registry = self.setup.plugins.registry();
        let binding = registry.named(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let (mut behind, mut asked) = (None, 0);
        loop {
            let slice = audit::slice(binding, true, &self.world.state, behind.as_deref());
            if let Some(error) = slice.error {
                return Err(error);
            }
            asked += slice.asked;
            self.said.extend(
                slice.refused.iter().map(|one| format!("{name} <- {} {}", one.path, show::one_line(&one.text))),
            );
            behind = slice.next;
            if behind.is_none() {
                break;
            }
        }
        self.say(name, &format!("asked about {asked} nodes"));
        Ok(())
    }

    /// Prints the plugin's counters that are not 0.
    pub(super) fn counters(&mut self, name: &str) -> Result<(), String> {
        let json = self.setup.plugins.counters_json(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let counters: serde_json::Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let mut texts = Vec::new();
        for key in ["calls", "refusals", "would_refuse", "let_pass"] {
            if let Some(count) = counters[key].as_u64().filter(|count| *count > 0) {
                texts.push(format!("{key} {count}"));
            }
        }
        for (class, count) in counters["faults"].as_object().into_iter().flatten() {
            if count.as_u64() != Some(0) {
                texts.push(format!("fault {class} {count}"));
            }
        }
        let text = if texts.is_empty() { "nothing".into() } else { texts.join(", ") };
        self.say(name, &text);
        Ok(())
    }
}
